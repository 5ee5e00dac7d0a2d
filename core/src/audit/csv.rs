//! The trail as CSV (RFC 4180).

use galera::record::audit::AuditEntry;

const HEADER: &str = "sequence,at,actor,event,cluster,subject,detail,previous,hash\r\n";

/// Formats `entries` as CSV with a header line.
#[must_use]
pub fn to_csv(entries: &[AuditEntry]) -> String {
    let mut table = HEADER.to_owned();
    for entry in entries {
        let record = &entry.record;
        let cluster = record.cluster.as_ref().map(ToString::to_string);
        let detail = serde_json::to_string(&record.detail).unwrap_or_default();
        let cells = [
            &entry.sequence.to_string(),
            &record.at.to_string(),
            &record.actor,
            record.event.as_str(),
            &cluster.unwrap_or_default(),
            record.subject.as_deref().unwrap_or_default(),
            &detail,
            &entry.previous,
            &entry.hash,
        ]
        .map(csv_cell);
        table.push_str(&cells.join(","));
        table.push_str("\r\n");
    }
    table
}

/// Quotes a cell, and keeps spreadsheets from interpreting it as a formula.
pub fn csv_cell(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let text = if formula {
        format!("'{text}")
    } else {
        text.to_owned()
    };
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_and_never_formulas() {
        assert_eq!(csv_cell("plain"), "plain");
        assert_eq!(csv_cell("a,\"b\"\n"), "\"a,\"\"b\"\"\n\"");
        assert_eq!(csv_cell("=HYPERLINK(1)"), "'=HYPERLINK(1)");
    }
}
