//! The exporter of both examples. The program makes one for its own spans, and jitspan makes one for its.

use std::error::Error;
use std::fs;

use opentelemetry_otlp::tonic_types::metadata::MetadataMap;
use opentelemetry_otlp::tonic_types::transport::{Certificate, ClientTlsConfig};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithTonicConfig};

/// Where the collector is, and how it is spoken to. Left out is what the variables `OTEL_EXPORTER_OTLP_*` say.
#[derive(Debug, Clone, Default)]
pub struct Collector {
    pub endpoint: Option<String>,
    /// Files: a bearer token, and the authority to trust.
    pub token: Option<String>,
    pub authority: Option<String>,
}

pub fn exporter(collector: &Collector) -> Result<SpanExporter, Box<dyn Error>> {
    let mut builder = SpanExporter::builder().with_tonic();
    if let Some(endpoint) = &collector.endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    if let Some(token) = &collector.token {
        let mut metadata = MetadataMap::new();
        metadata.insert("authorization", format!("Bearer {}", fs::read_to_string(token)?.trim()).parse()?);
        builder = builder.with_metadata(metadata);
    }
    if let Some(authority) = &collector.authority {
        let certificate = Certificate::from_pem(fs::read(authority)?);
        builder = builder.with_tls_config(ClientTlsConfig::new().ca_certificate(certificate));
    }
    Ok(builder.build()?)
}
