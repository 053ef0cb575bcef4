//! A collector for tests, on a real socket, with or without TLS, gRPC and HTTP on one port; and spans to send to it.

#![allow(dead_code, reason = "each test file uses a part of it")]

pub mod certificates;
pub mod frames;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::post;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use jitspan::config::{Batch, Endpoint, Resource, Signal, Variables};
use jitspan::export::Sink;
use jitspan::export::otlp::OtlpSink;
use jitspan::export::resource::SharedResource;
use jitspan::model::attribute::Attributes;
use jitspan::model::span::{Span, Status};
use jitspan::stats::{Ledger, Stats};
use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

/// What the collector says to one message.
#[derive(Debug, Clone)]
pub enum Say {
    Ok,
    /// So many spans were not taken.
    Partial(i64),
    /// 503, UNAVAILABLE.
    Unavailable,
    /// 429 and `Retry-After`, RESOURCE_EXHAUSTED and `RetryInfo`.
    Busy(Duration),
    /// 400, INVALID_ARGUMENT.
    Invalid,
    /// 404, UNIMPLEMENTED.
    NoPipeline,
    /// Nothing, for so long.
    Silence(Duration),
}

/// A collector that notes what arrives and when.
#[derive(Clone)]
pub struct Collector {
    state: Arc<State>,
    pub address: SocketAddr,
}

#[derive(Default)]
struct State {
    answers: Mutex<VecDeque<Say>>,
    always: Mutex<Option<Say>>,
    messages: Mutex<Vec<(Instant, bool, ExportTraceServiceRequest)>>,
}

impl Collector {
    pub async fn start() -> Self {
        Self::on("127.0.0.1:0", None).await
    }

    pub async fn with_tls(config: ServerConfig) -> Self {
        Self::on("127.0.0.1:0", Some(config)).await
    }

    /// Listens here from now on, until the runtime ends.
    pub async fn on(address: &str, tls: Option<ServerConfig>) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let collector = Collector { state: Arc::default(), address: listener.local_addr().unwrap() };
        let acceptor = tls.map(|config| TlsAcceptor::from(Arc::new(config)));
        let grpc = TraceServiceServer::new(collector.clone());
        let for_http = collector.clone();
        let router = axum::Router::new()
            .route("/v1/traces", post(async move |body: Bytes| for_http.http(body).await))
            .route_service("/opentelemetry.proto.collector.trace.v1.TraceService/Export", grpc)
            .layer(axum::extract::DefaultBodyLimit::disable());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, service) = (acceptor.clone(), TowerToHyperService::new(router.clone()));
                tokio::spawn(async move {
                    let server = Builder::new(TokioExecutor::new());
                    match acceptor {
                        None => drop(server.serve_connection(TokioIo::new(stream), service).await),
                        Some(acceptor) => {
                            let Ok(stream) = acceptor.accept(stream).await else { return };
                            drop(server.serve_connection(TokioIo::new(stream), service).await);
                        }
                    }
                });
            }
        });
        collector
    }

    pub fn answer(&self, say: Say) {
        *self.state.always.lock().unwrap() = Some(say);
    }

    /// From now on, and forgets what was to come.
    pub fn answer_all(&self, say: Say) {
        self.state.answers.lock().unwrap().clear();
        self.answer(say);
    }

    pub fn answer_next(&self, say: impl IntoIterator<Item = Say>) {
        self.state.answers.lock().unwrap().extend(say);
    }

    /// Every message, taken or not.
    pub fn messages(&self) -> Vec<ExportTraceServiceRequest> {
        self.state.messages.lock().unwrap().iter().map(|(_, _, message)| message.clone()).collect()
    }

    /// When messages came.
    pub fn times(&self) -> Vec<Instant> {
        self.state.messages.lock().unwrap().iter().map(|(time, ..)| *time).collect()
    }

    /// Names of the spans that were taken, in the order they came.
    pub fn taken(&self) -> Vec<String> {
        let messages = self.state.messages.lock().unwrap();
        messages.iter().filter(|(_, taken, _)| *taken).flat_map(|(.., message)| names(message)).collect()
    }

    fn note(&self, message: ExportTraceServiceRequest) -> Say {
        let next = self.state.answers.lock().unwrap().pop_front();
        let say = next.or_else(|| self.state.always.lock().unwrap().clone()).unwrap_or(Say::Ok);
        let taken = matches!(say, Say::Ok | Say::Partial(_));
        self.state.messages.lock().unwrap().push((Instant::now(), taken, message));
        say
    }

    async fn http(&self, body: Bytes) -> axum::response::Response {
        let Ok(message) = ExportTraceServiceRequest::decode(body) else {
            return StatusCode::BAD_REQUEST.into_response();
        };
        let answer = |rejected| partial(rejected).encode_to_vec().into_response();
        match self.note(message) {
            Say::Ok => answer(0),
            Say::Partial(rejected) => answer(rejected),
            Say::Unavailable => StatusCode::SERVICE_UNAVAILABLE.into_response(),
            Say::Busy(after) => {
                (StatusCode::TOO_MANY_REQUESTS, [("retry-after", after.as_secs().to_string())]).into_response()
            }
            Say::Invalid => StatusCode::BAD_REQUEST.into_response(),
            Say::NoPipeline => StatusCode::NOT_FOUND.into_response(),
            Say::Silence(time) => {
                tokio::time::sleep(time).await;
                StatusCode::GATEWAY_TIMEOUT.into_response()
            }
        }
    }
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        use tonic::Status;
        use tonic_types::StatusExt;
        match self.note(request.into_inner()) {
            Say::Ok => Ok(tonic::Response::new(partial(0))),
            Say::Partial(rejected) => Ok(tonic::Response::new(partial(rejected))),
            Say::Unavailable => Err(Status::unavailable("data refused due to high memory usage")),
            Say::Busy(after) => {
                let mut details = tonic_types::ErrorDetails::new();
                details.set_retry_info(Some(after));
                Err(Status::with_error_details(tonic::Code::ResourceExhausted, "busy", details))
            }
            Say::Invalid => Err(Status::invalid_argument("bad")),
            Say::NoPipeline => Err(Status::unimplemented("unknown service")),
            Say::Silence(time) => {
                tokio::time::sleep(time).await;
                Err(Status::cancelled("late"))
            }
        }
    }
}

/// The Collector sends a partial success with every OK.
fn partial(rejected: i64) -> ExportTraceServiceResponse {
    let error_message = if rejected > 0 { "too old".to_owned() } else { String::new() };
    let partial_success = Some(ExportTracePartialSuccess { rejected_spans: rejected, error_message });
    ExportTraceServiceResponse { partial_success }
}

pub fn names(message: &ExportTraceServiceRequest) -> Vec<String> {
    let scopes = message.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
    scopes.flat_map(|scope| &scope.spans).map(|span| span.name.clone()).collect()
}

/// The exporter as these variables make it, and its books.
pub struct Exporter {
    pub sink: OtlpSink,
    pub stats: Arc<Stats>,
}

impl Exporter {
    pub fn new(environment: &[(&str, &str)]) -> Self {
        Self::batched(environment, batch())
    }

    pub fn batched(environment: &[(&str, &str)], batch: Batch) -> Self {
        let lookup =
            |name: &str| environment.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_string());
        let endpoint = Endpoint::resolve(Signal::Traces, &Variables::new(&lookup)).unwrap();
        let stats = Arc::new(Stats::default());
        let resource = Arc::new(SharedResource::new(Resource::default(), &[]));
        let sink = OtlpSink::spans(endpoint, batch, resource, Arc::clone(&stats));
        Exporter { sink, stats }
    }

    /// To this collector, over this protocol.
    pub fn to(collector: &Collector, protocol: &str) -> Self {
        let endpoint = format!("http://{}", collector.address);
        Self::new(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint), ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)])
    }

    pub fn send(&self, name: &str) {
        self.sink.export(vec![span(name)]);
    }

    /// False: not within `timeout`. Lets the collector of the test run meanwhile.
    pub async fn flush(&self, timeout: Duration) -> bool {
        let (flushing, deadline) = (self.sink.flush(), Instant::now() + timeout);
        tokio::task::spawn_blocking(move || flushing.wait(deadline)).await.unwrap()
    }

    pub async fn shutdown(&self, timeout: Duration) -> bool {
        let (flushing, deadline) = (self.sink.shutdown(), Instant::now() + timeout);
        let flushed = tokio::task::spawn_blocking(move || flushing.wait(deadline)).await.unwrap();
        if !flushed {
            self.sink.abandon();
        }
        flushed
    }

    pub fn get(&self, name: &str) -> u64 {
        self.stats.snapshot()[name]
    }

    /// recorded = exported + dropped (by reason) + queued.
    pub fn check_books(&self) {
        let ledger = Ledger::SPANS;
        let dropped: u64 = ledger.dropped().iter().map(|(_, counter)| self.stats.get(*counter)).sum();
        let (recorded, exported) = (self.stats.get(ledger.recorded), self.stats.get(ledger.exported));
        let queued = self.sink.queued() as u64;
        assert_eq!(recorded, exported + dropped + queued, "{:?}, queued {queued}", self.stats.snapshot());
    }
}

pub fn batch() -> Batch {
    Batch {
        delay: Duration::from_millis(20),
        queue: 2048,
        queue_bytes: 8 * 1024 * 1024,
        size: 512,
        timeout: Duration::from_secs(30),
    }
}

pub fn span(name: &str) -> Span {
    let id = |number: u8| {
        let (trace, span) = (TraceId::from_bytes([number; 16]), SpanId::from_bytes([number; 8]));
        SpanContext::new(trace, span, TraceFlags::SAMPLED, false, TraceState::default())
    };
    Span {
        context: id(1),
        parent: None,
        name: name.to_owned().into(),
        started: 1_700_000_000_000_000_000,
        ended: 1_700_000_001_000_000_000,
        attributes: Attributes::new(),
        events: Arc::default(),
        dropped_events: 0,
        status: Status::Unset,
    }
}
