//! Metrics of findings.

use galera::insight::findings::FindingsReport;
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

/// Registers `galera_finding`: one series for each cluster, code and severity that applies.
pub(crate) fn register(reports: impl Iterator<Item = FindingsReport>, registry: &mut Registry) {
    let findings = Family::<FindingLabels, FloatGauge>::default();
    for report in reports {
        for finding in &report.findings {
            let labels = FindingLabels {
                cluster: report.cluster.to_string(),
                code: finding.code.as_str(),
                severity: finding.severity.as_str(),
            };
            findings.get_or_create(&labels).inc();
        }
    }
    registry.register(
        "galera_finding",
        "Findings of this code about the cluster",
        findings,
    );
}
