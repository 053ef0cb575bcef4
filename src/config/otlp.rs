//! `OTEL_EXPORTER_OTLP_*`: where one signal goes, and how
//! (<https://opentelemetry.io/docs/specs/otel/protocol/exporter/>).

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use http::header::{HeaderName, HeaderValue};
use http::uri::{PathAndQuery, Uri};

use super::read::{ConfigError, Variables, hidden, wrong};

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

    /// The address without user and password, and without its query.
    pub fn shown_uri(&self) -> String {
        let host = self
            .uri
            .authority()
            .map_or("", |authority| authority.as_str().rsplit_once('@').map_or(authority.as_str(), |(_, host)| host));
        format!("{}://{host}{}", self.uri.scheme_str().unwrap_or("http"), self.uri.path())
    }

    /// What the variables say for one signal.
    ///
    /// Where no protocol is set, port 4317 means gRPC: an address copied from a server's gRPC set-up then works as
    /// it stands. Otherwise the default is the specification's, `http/protobuf`.
    ///
    /// # Errors
    /// The first variable that cannot be used.
    pub fn resolve(signal: Signal, variables: &Variables<'_>) -> Result<Self, ConfigError> {
        let own = |setting: &str| format!("OTEL_EXPORTER_OTLP_{}_{setting}", signal.word());
        let general = |setting: &str| format!("OTEL_EXPORTER_OTLP_{setting}");
        let either = |setting: &str| match variables.text(&own(setting)) {
            Some(value) => Some((own(setting), value)),
            None => variables.text(&general(setting)).map(|value| (general(setting), value)),
        };
        let named =
            |setting: &str| if variables.text(&own(setting)).is_some() { own(setting) } else { general(setting) };

        let address = either("ENDPOINT");
        let protocol = match either("PROTOCOL") {
            Some((variable, value)) => {
                protocol(&value).ok_or_else(|| wrong(&variable, &value, "grpc or http/protobuf"))?
            }
            None => match &address {
                Some((_, value)) if looks_like_grpc(value) => Protocol::Grpc,
                _ => Protocol::HttpProtobuf,
            },
        };
        let insecure = variables.flag(&named("INSECURE"))?.unwrap_or(false);
        let uri = match &address {
            None if protocol == Protocol::Grpc => Uri::from_static("http://localhost:4317"),
            None => joined("http://localhost:4318", signal.path()).unwrap_or_default(),
            Some((variable, value)) => {
                let read = match protocol {
                    Protocol::Grpc => grpc_uri(value, insecure),
                    Protocol::HttpProtobuf if *variable == own("ENDPOINT") => http_uri(value),
                    Protocol::HttpProtobuf => http_uri(value).and_then(|_| joined(value, signal.path())),
                };
                read.ok_or_else(|| {
                    let accepted = match protocol {
                        Protocol::Grpc => "http://host:port, https://host:port or host:port",
                        Protocol::HttpProtobuf => "an address such as http://host:4318",
                    };
                    // A user and a password, or a token in the query.
                    if value.contains(['@', '?']) {
                        hidden(variable, accepted)
                    } else {
                        wrong(variable, value, accepted)
                    }
                })?
            }
        };
        let compression = match either("COMPRESSION") {
            None => None,
            Some((variable, value)) => match (value.to_ascii_lowercase().as_str(), protocol) {
                ("none", _) => None,
                ("gzip", _) => Some(Compression::Gzip),
                ("zstd", Protocol::Grpc) => Some(Compression::Zstd),
                _ => return Err(wrong(&variable, &value, "none or gzip (zstd too with grpc)")),
            },
        };
        let file = |setting: &str| either(setting).map(|(variable, value)| readable(&variable, &value)).transpose();
        let tls = TlsFiles {
            certificate: file("CERTIFICATE")?,
            client_key: file("CLIENT_KEY")?,
            client_certificate: file("CLIENT_CERTIFICATE")?,
        };
        if tls.client_key.is_some() != tls.client_certificate.is_some() {
            let set = if tls.client_key.is_some() { "CLIENT_KEY" } else { "CLIENT_CERTIFICATE" };
            let (variable, value) = either(set).unwrap_or_default();
            return Err(wrong(&variable, &value, "a client key and a client certificate together"));
        }
        Ok(Endpoint {
            protocol,
            uri,
            headers: headers(&named("HEADERS"), variables)?,
            timeout: variables.timeout(&named("TIMEOUT"))?.unwrap_or(Self::TIMEOUT),
            compression,
            tls,
        })
    }
}

fn protocol(value: &str) -> Option<Protocol> {
    match value.to_ascii_lowercase().as_str() {
        "grpc" => Some(Protocol::Grpc),
        "http/protobuf" => Some(Protocol::HttpProtobuf),
        _ => None,
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

fn headers(variable: &str, variables: &Variables<'_>) -> Result<Vec<(HeaderName, HeaderValue)>, ConfigError> {
    let pairs = variables.pairs(variable)?;
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
        .ok_or_else(|| hidden(variable, "names and values that HTTP allows in a header"))
}

/// A file that is not there now would fail every export later, so it stops here.
fn readable(variable: &str, path: &str) -> Result<PathBuf, ConfigError> {
    match crate::process::file::open(path.as_ref()).and_then(|file| file.metadata()) {
        Ok(found) if !found.is_dir() => Ok(PathBuf::from(path)),
        Ok(_) => Err(wrong(variable, path, "a PEM file, not a folder")),
        Err(error) => Err(wrong(variable, path, format!("a PEM file that can be read ({error})"))),
    }
}
