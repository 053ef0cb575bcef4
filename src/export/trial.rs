//! Sends one span, and says what the collector made of it: for `jitspan doctor`.
//!
//! It goes the way that all spans go. Where it does not arrive, the reason is looked for step by step: the name, the
//! port, and whether another protocol or scheme would be answered there. Those attempts carry no header of the user's.

use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use http::Uri;
use opentelemetry::trace::{SpanContext, TraceFlags, TraceState};

use crate::clock::{Source, System};
use crate::config::{Batch, Config, Endpoint, Protocol};
use crate::export::otlp::OtlpSink;
use crate::export::resource::SharedResource;
use crate::export::{Sink, deadline};
use crate::model::attribute::Attributes;
use crate::model::span::{Span, Status};
use crate::semconv;
use crate::stats::{Ledger, Stats};

/// How long the collector may take. The server would wait longer, for one that is being restarted.
const PATIENCE: Duration = Duration::from_secs(4);

/// How long each look for the reason may take.
const LOOK: Duration = Duration::from_secs(2);

/// What became of the span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    /// Where to, without credentials.
    pub address: String,
    /// How.
    pub protocol: Protocol,
    /// From the start to the answer, or to giving up.
    pub took: Duration,
    /// Why it did not arrive; none: the collector took it.
    pub failure: Option<Failure>,
}

/// Why a span did not arrive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// In one word, for programs.
    pub kind: Kind,
    /// What was seen.
    pub detail: String,
    /// What to do.
    pub advice: String,
}

/// Why a span did not arrive, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The name has no address.
    UnknownName,
    /// The port is closed.
    NothingListens,
    /// Nobody answered in time.
    NoAnswer,
    /// What listens there speaks another protocol, or with TLS, or without.
    WrongProtocol,
    /// TLS could not be set up.
    Tls,
    /// It wants to know who we are, or that somebody else is.
    Credentials,
    /// It answered that it does not want the span.
    Refused,
}

impl Kind {
    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            Kind::UnknownName => "unknown_name",
            Kind::NothingListens => "nothing_listens",
            Kind::NoAnswer => "no_answer",
            Kind::WrongProtocol => "wrong_protocol",
            Kind::Tls => "tls",
            Kind::Credentials => "credentials",
            Kind::Refused => "refused",
        }
    }
}

/// Sends a span to where `config` sends spans. None: they do not leave over OTLP.
pub fn run(config: &Config) -> Option<Trial> {
    let endpoint = config.traces.otlp.as_ref()?;
    let began = Instant::now();
    let attempt = attempt(endpoint, config, PATIENCE);
    let took = began.elapsed();
    let failure = attempt.err().map(|detail| find_reason(endpoint, config, detail));
    Some(Trial { address: endpoint.shown_uri(), protocol: endpoint.protocol, took, failure })
}

/// # Errors
/// What was said of it.
fn attempt(endpoint: &Endpoint, config: &Config, patience: Duration) -> Result<(), String> {
    let stats = Arc::new(Stats::default());
    let resource = Arc::new(SharedResource::new(config.resource.clone(), &[]));
    let batch = Batch { delay: Duration::ZERO, ..config.batch.clone() };
    let sink = OtlpSink::spans(endpoint.clone(), batch, resource, Arc::clone(&stats));
    sink.export(vec![span()]);
    let settled = sink.flush().wait(deadline(patience));
    if !settled {
        // Its thread ends with the process at the latest.
        drop(sink.shutdown());
        sink.abandon();
    }
    if stats.get(Ledger::SPANS.exported) > 0 {
        return Ok(());
    }
    Err(stats.export_error().unwrap_or_else(|| format!("no answer within {} s", patience.as_secs())))
}

fn span() -> Span {
    let (trace_id, span_id) = System.root_ids();
    let now = System.now();
    Span {
        context: SpanContext::new(trace_id, span_id, TraceFlags::SAMPLED, false, TraceState::default()),
        parent: None,
        name: semconv::DOCTOR_SPAN.into(),
        started: now,
        ended: now,
        attributes: Attributes::new(),
        events: Arc::default(),
        dropped_events: 0,
        status: Status::Unset,
    }
}

fn find_reason(endpoint: &Endpoint, config: &Config, detail: String) -> Failure {
    let host = endpoint.uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let port = endpoint.uri.port_u16().unwrap_or(if endpoint.is_secure() { 443 } else { 80 });
    let place = format!("{host}:{port}");
    if is_about_credentials(&detail) {
        let advice = "check OTEL_EXPORTER_OTLP_HEADERS: the collector wants other credentials";
        return Failure { kind: Kind::Credentials, detail, advice: advice.to_owned() };
    }
    match reach(host.clone(), port) {
        Reached::UnknownName(error) => {
            let advice = format!("check the name {host:?} in the address, and this machine's DNS");
            return Failure { kind: Kind::UnknownName, detail: format!("{host}: {error}"), advice };
        }
        Reached::Refused(error) => {
            let advice = format!("start a collector there, or set {} to where one is", crate::config::OTLP_ENDPOINT);
            return Failure {
                kind: Kind::NothingListens,
                detail: format!("nothing listens at {place}: {error}"),
                advice,
            };
        }
        Reached::Silent => {
            let advice = "check the address, and what stands between: a firewall, a network policy".to_owned();
            return Failure { kind: Kind::NoAnswer, detail: format!("no connection to {place} in time"), advice };
        }
        Reached::Connected => {}
    }
    let other = others(endpoint).into_iter().find(|other| {
        let answer = attempt(other, config, LOOK);
        answer.is_ok() || answer.is_err_and(|detail| is_about_credentials(&detail))
    });
    if let Some(other) = other {
        return Failure { kind: Kind::WrongProtocol, detail, advice: advice_for(endpoint, &other) };
    }
    if is_about_tls(&detail) {
        let advice =
            "check OTEL_EXPORTER_OTLP_CERTIFICATE: the authority that signed the collector's certificate, in PEM";
        return Failure { kind: Kind::Tls, detail, advice: advice.to_owned() };
    }
    if detail.contains("no answer within") || detail.contains("timed out") {
        let advice = format!("{place} takes connections and does not answer: it is overloaded, or no collector");
        return Failure { kind: Kind::NoAnswer, detail, advice };
    }
    let advice =
        format!("{place} answers, but does not take spans: is it an OTLP receiver with a pipeline for traces?");
    Failure { kind: Kind::Refused, detail, advice }
}

enum Reached {
    Connected,
    UnknownName(std::io::Error),
    Refused(std::io::Error),
    Silent,
}

/// The system's resolver has no deadline, so it is asked by a thread that is left behind.
fn reach(host: String, port: u16) -> Reached {
    let (sender, answer) = mpsc::channel();
    let asked = std::thread::Builder::new().name("jitspan-doctor".to_owned()).spawn(move || {
        let _ = sender.send((host.as_str(), port).to_socket_addrs().map(Iterator::collect::<Vec<_>>));
    });
    if asked.is_err() {
        return Reached::Silent;
    }
    let addresses = match answer.recv_timeout(LOOK) {
        Ok(Ok(addresses)) => addresses,
        Ok(Err(error)) => return Reached::UnknownName(error),
        Err(_) => return Reached::UnknownName(std::io::Error::other("the name server did not answer in time")),
    };
    let mut refused = None;
    for address in &addresses {
        match TcpStream::connect_timeout(address, LOOK) {
            Ok(_) => return Reached::Connected,
            Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {}
            Err(error) => refused = Some(error),
        }
    }
    refused.map_or(Reached::Silent, Reached::Refused)
}

/// The same place in other ways, without the user's headers: what they hold is not for whoever listens there.
fn others(endpoint: &Endpoint) -> Vec<Endpoint> {
    let scheme = |secure: bool| if secure { "https" } else { "http" };
    let (secure, protocol) = (endpoint.is_secure(), endpoint.protocol);
    let other_protocol = if protocol == Protocol::Grpc { Protocol::HttpProtobuf } else { Protocol::Grpc };
    let ways = [(secure, other_protocol), (!secure, protocol), (!secure, other_protocol)];
    let host = endpoint.uri.authority().map_or("", |authority| authority.as_str());
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    let way = |(secure, protocol)| {
        let path = if protocol == Protocol::Grpc { "/" } else { "/v1/traces" };
        let uri: Uri = format!("{}://{host}{path}", scheme(secure)).parse().ok()?;
        Some(Endpoint { protocol, uri, headers: Vec::new(), ..endpoint.clone() })
    };
    ways.into_iter().filter_map(way).collect()
}

fn advice_for(endpoint: &Endpoint, other: &Endpoint) -> String {
    let protocol = match other.protocol {
        Protocol::Grpc => "grpc",
        Protocol::HttpProtobuf => "http/protobuf",
    };
    let mut advice = Vec::new();
    if other.protocol != endpoint.protocol {
        advice.push(format!(
            "set OTEL_EXPORTER_OTLP_PROTOCOL={protocol}, which is spoken there (gRPC is usual on 4317, HTTP on 4318)"
        ));
    }
    if other.is_secure() != endpoint.is_secure() {
        advice.push(format!("begin the address with {}://", other.uri.scheme_str().unwrap_or("http")));
    }
    advice.join(", and ")
}

fn is_about_credentials(detail: &str) -> bool {
    let lower = detail.to_ascii_lowercase();
    ["401", "403", "407", "unauthenticated", "unauthorized", "permission", "forbidden"]
        .into_iter()
        .any(|word| lower.contains(word))
}

fn is_about_tls(detail: &str) -> bool {
    let lower = detail.to_ascii_lowercase();
    ["certificate", "tls", "unknownissuer", "handshake"].into_iter().any(|word| lower.contains(word))
}
