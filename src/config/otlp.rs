//! `OTEL_EXPORTER_OTLP_*`: where one signal goes, and how
//! (<https://opentelemetry.io/docs/specs/otel/protocol/exporter/>).

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use http::header::{HeaderName, HeaderValue};
use http::uri::{PathAndQuery, Uri};

use super::read::{ConfigError, Said};
use super::redact;

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Spans.
    Traces,
    /// Metrics.
    Metrics,
    /// Log-based events.
    Logs,
}

impl Signal {
    /// The word in a variable's name.
    pub fn word(self) -> &'static str {
        match self {
            Signal::Traces => "TRACES",
            Signal::Metrics => "METRICS",
            Signal::Logs => "LOGS",
        }
    }

    fn path(self) -> &'static str {
        match self {
            Signal::Traces => "v1/traces",
            Signal::Metrics => "v1/metrics",
            Signal::Logs => "v1/logs",
        }
    }

    /// The gRPC method.
    pub fn grpc_path(self) -> &'static str {
        match self {
            Signal::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            Signal::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
            Signal::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        }
    }
}

/// How bytes travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// gRPC over HTTP/2.
    Grpc,
    /// Protobuf in a POST.
    HttpProtobuf,
}

/// How bytes are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Gzip, the specification's only one.
    Gzip,
    /// Zstandard, gRPC only; the Collector takes it.
    Zstd,
}

/// Files for TLS, read when a connection is made so that rotated ones are used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Authorities to trust, instead of the system's.
    pub certificate: Option<PathBuf>,
    /// Our private key.
    pub client_key: Option<PathBuf>,
    /// Our certificate chain.
    pub client_certificate: Option<PathBuf>,
}

/// Where one signal goes, and how.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// How bytes travel.
    pub protocol: Protocol,
    /// The whole address; for gRPC without a path. Its scheme says whether TLS is used.
    pub uri: Uri,
    /// Headers of each message; values may be credentials.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Time one attempt may take.
    pub timeout: Duration,
    /// How bytes are packed.
    pub compression: Option<Compression>,
    /// Files for TLS.
    pub tls: TlsFiles,
}

/// Without what a log must not hold: header values, and a password in the address.
impl fmt::Debug for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        formatter
            .debug_struct("Endpoint")
            .field("protocol", &self.protocol)
            .field("uri", &self.shown_uri())
            .field("headers", &headers)
            .field("timeout", &self.timeout)
            .field("compression", &self.compression)
            .field("tls", &self.tls)
            .finish()
    }
}

impl Endpoint {
    /// Time one attempt may take, unless a variable says otherwise.
    pub const TIMEOUT: Duration = Duration::from_secs(10);

    /// The address, as far as it holds no credential.
    pub fn shown_uri(&self) -> String {
        redact::uri(&self.uri)
    }

    /// Whether TLS is used.
    pub fn is_secure(&self) -> bool {
        self.uri.scheme_str() == Some("https")
    }
}

/// An endpoint whose variables are being read.
pub(super) struct Draft {
    /// The variable and its value.
    pub address: Option<(String, String)>,
    pub protocol: Protocol,
    pub insecure: bool,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub timeout: Duration,
    pub compression: Option<Compression>,
    pub tls: TlsFiles,
}

impl Default for Draft {
    fn default() -> Self {
        Draft {
            address: None,
            protocol: Protocol::HttpProtobuf,
            insecure: false,
            headers: Vec::new(),
            timeout: Endpoint::TIMEOUT,
            compression: None,
            tls: TlsFiles::default(),
        }
    }
}

impl Draft {
    /// The protocol where none is said.
    pub fn usual_protocol(&self) -> Protocol {
        match &self.address {
            Some((_, value)) if looks_like_grpc(value) => Protocol::Grpc,
            _ => Protocol::HttpProtobuf,
        }
    }

    pub fn finish(self, signal: Signal) -> Result<Endpoint, ConfigError> {
        let uri = self.uri(signal)?;
        let Draft { protocol, headers, timeout, compression, tls, .. } = self;
        if tls.client_key.is_some() != tls.client_certificate.is_some() {
            let (set, other) = match &tls.client_key {
                Some(_) => ("CLIENT_KEY", "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"),
                None => ("CLIENT_CERTIFICATE", "OTEL_EXPORTER_OTLP_CLIENT_KEY"),
            };
            let path = tls.client_key.or(tls.client_certificate).unwrap_or_default();
            let accepted = format!("{other} as well: a client key and its certificate go together");
            return Err(ConfigError::new(&format!("OTEL_EXPORTER_OTLP_{set}"), &redact::file(&path), accepted));
        }
        Ok(Endpoint { protocol, uri, headers, timeout, compression, tls })
    }

    fn uri(&self, signal: Signal) -> Result<Uri, ConfigError> {
        let Some((variable, value)) = &self.address else {
            return Ok(match self.protocol {
                Protocol::Grpc => Uri::from_static("http://localhost:4317"),
                Protocol::HttpProtobuf => joined("http://localhost:4318", signal.path()).unwrap_or_default(),
            });
        };
        let is_own = variable.contains(signal.word());
        let (read, accepted) = match self.protocol {
            Protocol::Grpc => (grpc_uri(value, self.insecure), "http://host:port, https://host:port or host:port"),
            Protocol::HttpProtobuf if is_own => (http_uri(value), "an address such as http://host:4318/v1/traces"),
            Protocol::HttpProtobuf => {
                let read = http_uri(value).and_then(|_| joined(value, signal.path()));
                (read, "an address such as http://host:4318")
            }
        };
        read.ok_or_else(|| ConfigError::new(variable, value, accepted))
    }
}

fn looks_like_grpc(address: &str) -> bool {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or_default();
    address.starts_with("grpc://") || authority.ends_with(":4317")
}

/// vLLM's documentation writes `grpc://host:4317`, which grpcio takes; so do we.
fn grpc_uri(address: &str, insecure: bool) -> Option<Uri> {
    let (scheme, rest) = match address.split_once("://") {
        Some(("grpc", rest)) => ("http", rest),
        Some((scheme, rest)) => (scheme, rest),
        None => (if insecure { "http" } else { "https" }, address),
    };
    let authority = rest.split('/').next().filter(|authority| !authority.is_empty())?;
    http_uri(&format!("{scheme}://{authority}"))
}

fn http_uri(address: &str) -> Option<Uri> {
    let uri: Uri = address.parse().ok()?;
    let known = matches!(uri.scheme_str(), Some("http" | "https"));
    let host = uri.authority()?.as_str().rsplit('@').next()?;
    // A port that is none (`:99999`, `:`) is kept as text by `Uri`, and every connection would fail.
    let port = !host.rsplit(']').next()?.contains(':') || uri.port_u16().is_some();
    (known && port && uri.host().is_some_and(|host| !host.is_empty())).then_some(uri)
}

/// The signal's path after the base address's own.
fn joined(base: &str, path: &str) -> Option<Uri> {
    let uri: Uri = base.parse().ok()?;
    let mut parts = uri.into_parts();
    let before = parts.path_and_query.as_ref().map_or("", PathAndQuery::path).trim_end_matches('/').to_owned();
    parts.path_and_query = Some(format!("{before}/{path}").parse().ok()?);
    Uri::from_parts(parts).ok()
}

/// What the protocol itself says of a message. Vendors' instructions name `content-type` too; sent twice, or with
/// another length than the message has, it would be refused.
const OF_THE_PROTOCOL: [&str; 6] =
    ["connection", "content-encoding", "content-length", "content-type", "te", "transfer-encoding"];

pub(super) fn headers(said: &Said<'_>) -> Result<Vec<(HeaderName, HeaderValue)>, ConfigError> {
    let Some((variable, pairs)) = said.pairs()? else { return Ok(Vec::new()) };
    pairs
        .into_iter()
        .filter(|(name, _)| !OF_THE_PROTOCOL.contains(&&*name.to_ascii_lowercase()))
        .map(|(name, value)| {
            let name = HeaderName::try_from(name.to_ascii_lowercase()).ok()?;
            let mut value = HeaderValue::try_from(value).ok()?;
            value.set_sensitive(true);
            Some((name, value))
        })
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| ConfigError::new(variable, "", "names and values that HTTP allows in a header"))
}

/// A file that is named.
pub(super) fn file(said: &Said<'_>) -> Result<Option<PathBuf>, ConfigError> {
    said.text().map(|(variable, path)| readable(variable, &path)).transpose()
}

/// A file that is not there now would fail every export later, so it stops here.
fn readable(variable: &str, path: &str) -> Result<PathBuf, ConfigError> {
    match crate::process::file::open(path.as_ref()).and_then(|file| file.metadata()) {
        Ok(found) if !found.is_dir() => Ok(PathBuf::from(path)),
        Ok(_) => Err(ConfigError::new(variable, path, "a PEM file, not a folder")),
        Err(error) => {
            Err(ConfigError::new(variable, path, format!("the path of a PEM file that can be read ({error})")))
        }
    }
}
