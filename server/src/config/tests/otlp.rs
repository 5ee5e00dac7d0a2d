//! The export by OTLP.

use super::*;
use crate::config::reader::ConfigReader;

#[test]
fn a_build_without_the_feature_refuses_its_settings() {
    for setting in ["endpoint = \"https://collector\"", "sampling = 0.5"] {
        let given = file(&format!("[otlp]\n{setting}")).inputs();
        let mut reader = ConfigReader::new(&given);
        reader.refuse_otlp();
        let [problem] = reader.problems.as_slice() else {
            panic!("{setting}: {:?}", reader.problems);
        };
        let text = problem.to_string();
        assert!(
            text.contains("otlp.") && text.contains("--features otlp"),
            "{text}"
        );
    }
    let none = InputsBuilder::default().inputs();
    let mut reader = ConfigReader::new(&none);
    reader.refuse_otlp();
    assert!(reader.problems.is_empty());
}

#[cfg(feature = "otlp")]
mod enabled {
    use std::time::Duration;

    use super::*;

    fn headers_file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, text).unwrap();
        file
    }

    #[test]
    fn the_export_has_headers_from_a_file_and_attributes_from_the_environment() {
        let headers = headers_file("Authorization: Bearer hunter2\n");
        let mut given = file(&format!(
            "[otlp]\nendpoint = \"https://collector.example.org/otlp\"\nheaders_file = \"{}\"\nsampling = 0.25\nmetrics_interval = \"0\"",
            headers.path().display()
        ));
        given.environment = vec![
            (
                "OTEL_RESOURCE_ATTRIBUTES",
                "deployment.environment.name=pre%2Dprod, service.name=ignored".to_owned(),
            ),
            ("OTEL_SERVICE_NAME", "console".to_owned()),
        ];
        let config = load(&given.inputs()).unwrap();
        assert!(!config.report().contains("hunter2"));
        let otlp = config.otlp.unwrap();
        assert_eq!(otlp.endpoint.as_str(), "https://collector.example.org/otlp");
        assert_eq!(otlp.headers["authorization"], "Bearer hunter2");
        assert_eq!(
            (otlp.sampling, otlp.timeout),
            (0.25, Duration::from_secs(10))
        );
        assert_eq!(otlp.metrics_interval, None);
        assert_eq!(
            otlp.resource.others,
            [
                (
                    "deployment.environment.name".to_owned(),
                    "pre-prod".to_owned()
                ),
                ("service.name".to_owned(), "console".to_owned()),
            ]
        );
    }

    #[test]
    fn contradictions_name_their_setting_and_no_secret() {
        let headers = headers_file("Authorization: Bearer hunter2\n");
        let invalid = headers_file("hunter2\n");
        let (headers, invalid) = (headers.path().display(), invalid.path().display());
        let endpoint = "endpoint = \"https://collector\"";
        for (section, named) in [
            ("sampling = 1".to_owned(), "--otlp-endpoint"),
            (format!("{endpoint}\nsampling = 1.5"), "sampling"),
            (format!("{endpoint}\nsampling = \"NaN\""), "sampling"),
            (format!("{endpoint}\ntimeout = \"11s\""), "timeout"),
            (
                format!("{endpoint}\nmetrics_interval = \"10ms\""),
                "metrics_interval",
            ),
            (
                format!("{endpoint}\nheaders_file = \"{invalid}\""),
                "line 1",
            ),
            ("endpoint = \"https://collector?a=b\"".to_owned(), "query"),
            ("endpoint = \"collector:4317\"".to_owned(), "endpoint"),
            (
                format!("endpoint = \"http://collector\"\nheaders_file = \"{headers}\""),
                "https",
            ),
        ] {
            let error = load(&file(&format!("[otlp]\n{section}")).inputs()).unwrap_err();
            let text = error.to_string();
            assert!(text.contains(named), "{section}: {text}");
            assert!(!text.contains("hunter2"), "{text}");
        }
        let plain = load(&file("[otlp]\nendpoint = \"http://collector\"").inputs()).unwrap();
        assert!(
            plain
                .warnings
                .iter()
                .any(|one| one.message.contains("unencrypted"))
        );
        let mut given = file(&format!("[otlp]\n{endpoint}"));
        given.environment = vec![("OTEL_RESOURCE_ATTRIBUTES", "no-value".to_owned())];
        let error = load(&given.inputs()).unwrap_err().to_string();
        assert!(error.contains("OTEL_RESOURCE_ATTRIBUTES"), "{error}");
    }
}
