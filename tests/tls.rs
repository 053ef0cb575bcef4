//! TLS to a real TLS server, over both protocols: own authority, unknown authority, client certificates, rotated files.

mod collector;

use std::path::Path;
use std::time::Duration;

use collector::certificates::Authority;
use collector::{Collector, Exporter};

const SOON: Duration = Duration::from_secs(10);

fn exporter(collector: &Collector, protocol: &str, files: &[(&str, &Path)]) -> Exporter {
    let endpoint = format!("https://localhost:{}", collector.address.port());
    let files: Vec<(String, &str)> =
        files.iter().map(|(setting, path)| (format!("OTEL_EXPORTER_OTLP_{setting}"), path.to_str().unwrap())).collect();
    let mut environment = vec![("OTEL_EXPORTER_OTLP_ENDPOINT", &*endpoint), ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)];
    environment.extend(files.iter().map(|(variable, value)| (variable.as_str(), *value)));
    Exporter::new(&environment)
}

#[tokio::test]
async fn a_collector_of_our_own_authority_gets_what_we_send() {
    for protocol in ["grpc", "http/protobuf"] {
        let folder = tempfile::tempdir().unwrap();
        let collector = Collector::with_tls(Authority::new(folder.path(), "own").server(None)).await;
        let exporter = exporter(&collector, protocol, &[("CERTIFICATE", &folder.path().join("own.pem"))]);
        exporter.send("hello");
        assert!(exporter.flush(SOON).await, "{protocol}: {:?}", exporter.stats.export_error());
        assert_eq!(collector.taken(), ["hello"], "{protocol}");
    }
}

#[tokio::test]
async fn a_collector_of_an_unknown_authority_gets_nothing_and_is_named_as_the_reason() {
    for protocol in ["grpc", "http/protobuf"] {
        let folder = tempfile::tempdir().unwrap();
        let collector = Collector::with_tls(Authority::new(folder.path(), "theirs").server(None)).await;
        Authority::new(folder.path(), "own");
        let exporter = exporter(&collector, protocol, &[("CERTIFICATE", &folder.path().join("own.pem"))]);
        exporter.send("hello");
        assert!(!exporter.shutdown(Duration::from_secs(1)).await, "{protocol}");
        assert!(collector.messages().is_empty(), "{protocol}");
        let reason = exporter.stats.export_error().unwrap_or_default();
        assert!(reason.contains("UnknownIssuer") || reason.contains("BadSignature"), "{protocol}: {reason}");
        assert_eq!(exporter.get("spans.dropped.shutdown"), 1, "{protocol}");
        exporter.check_books();
    }
}

#[tokio::test]
async fn a_collector_that_wants_a_client_certificate_gets_ours() {
    for protocol in ["grpc", "http/protobuf"] {
        let folder = tempfile::tempdir().unwrap();
        let (own, clients) = (Authority::new(folder.path(), "own"), Authority::new(folder.path(), "clients"));
        let collector = Collector::with_tls(own.server(Some(&clients))).await;
        let (certificate, key) = clients.issue("client");
        let authority = folder.path().join("own.pem");

        let without = exporter(&collector, protocol, &[("CERTIFICATE", &authority)]);
        without.send("without");
        assert!(!without.shutdown(Duration::from_secs(1)).await, "{protocol}");

        let files = [("CERTIFICATE", &*authority), ("CLIENT_CERTIFICATE", &*certificate), ("CLIENT_KEY", &*key)];
        let with = exporter(&collector, protocol, &files);
        with.send("with");
        assert!(with.flush(SOON).await, "{protocol}: {:?}", with.stats.export_error());
        assert_eq!(collector.taken(), ["with"], "{protocol}");
    }
}

#[tokio::test]
async fn files_that_were_rotated_are_read_again() {
    for protocol in ["grpc", "http/protobuf"] {
        let folder = tempfile::tempdir().unwrap();
        let (own, clients) = (Authority::new(folder.path(), "own"), Authority::new(folder.path(), "clients"));
        let collector = Collector::with_tls(own.server(Some(&clients))).await;
        // Issued by an authority that the collector does not know (any more).
        let (certificate, key) = own.issue("client");
        let authority = folder.path().join("own.pem");
        let files = [("CERTIFICATE", &*authority), ("CLIENT_CERTIFICATE", &*certificate), ("CLIENT_KEY", &*key)];
        let exporter = exporter(&collector, protocol, &files);
        exporter.send("kept");
        assert!(!exporter.flush(Duration::from_secs(1)).await, "{protocol}");
        clients.issue("client");
        assert!(exporter.flush(SOON).await, "{protocol}: {:?}", exporter.stats.export_error());
        assert_eq!(collector.taken(), ["kept"], "{protocol}");
        exporter.check_books();
    }
}
