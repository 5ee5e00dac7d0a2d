//! Metrics of findings.

use galera::insight::finding_record::FindingsView;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::FloatGauge;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct FindingLabels {
    cluster: String,
    code: &'static str,
    severity: &'static str,
}

/// Registers `galera_finding` and `galera_finding_acknowledged`: one series for each cluster, code and severity that applies.
pub fn register_findings(views: impl Iterator<Item = FindingsView>, registry: &mut Registry) {
    let findings = Family::<FindingLabels, FloatGauge>::default();
    let acknowledged = Family::<FindingLabels, FloatGauge>::default();
    for view in views {
        for shown in &view.findings {
            let labels = FindingLabels {
                cluster: view.cluster.to_string(),
                code: shown.finding.code.as_str(),
                severity: shown.finding.severity.as_str(),
            };
            findings.get_or_create(&labels).inc();
            let count = f64::from(u8::from(shown.acknowledged.is_some()));
            acknowledged.get_or_create(&labels).inc_by(count);
        }
    }
    registry.register(
        "galera_finding",
        "Findings of this code about the cluster",
        findings,
    );
    registry.register(
        "galera_finding_acknowledged",
        "Those of them that are acknowledged",
        acknowledged,
    );
}
