//! What the Rust rows share: a monitor, a stall of 12 attributes, a collector that only answers, and how a row tells what
//! it has found.

#![allow(dead_code, clippy::allow_attributes, clippy::allow_attributes_without_reason, missing_docs)]

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderName, HeaderValue};
use http_body_util::{BodyExt as _, Full};
use jitspan::live::Place;
use jitspan::model::attribute::Attributes;
use jitspan::scope::{Request, Scope, ScopeOptions};
use jitspan::{CacheResult, Cause, CompileEvent, Config, Kernel, Kind, Monitor, Settings, Stage};

/// Where nobody listens.
pub const NOWHERE: &str = "http://127.0.0.1:9";

/// A monitor with this environment, sending traces alone.
pub fn monitor(endpoint: &str, environment: &[(&str, &str)]) -> &'static Monitor {
    let own = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint), ("OTEL_METRICS_EXPORTER", "none")];
    let lookup = |name: &str| {
        let mut known = environment.iter().chain(&own);
        known.find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    };
    jitspan::install(Config::resolve(&Settings::default(), &lookup).expect("a configuration"))
}

/// So many requests.
pub fn scope(monitor: &Monitor, requests: usize) -> Scope {
    let options = ScopeOptions {
        name: "inference".into(),
        attributes: Attributes::new(),
        requests: vec![Request::default(); requests],
        started: monitor.now(),
    };
    Scope::new(options, requests)
}

/// So many compiles in a step of so many requests, and the end of the step: what its thread does.
pub fn stalls(monitor: &Monitor, requests: usize, events: usize) {
    let scope = scope(monitor, requests);
    for number in 0..events {
        stall(monitor, &scope, number);
    }
    monitor.close(&scope);
}

/// One compile.
pub fn stall(monitor: &Monitor, scope: &Scope, number: usize) {
    let pending = monitor.begin(|| Place::Scope(scope.clone()), None);
    monitor.finish(&pending, event(number));
}

/// What a hook hands in: 12 attributes.
pub fn event(number: usize) -> CompileEvent {
    let mut event = CompileEvent::new(Kind::Compile, "triton", Kernel::named(format!("kernel_{}", number % 50)));
    event.runtime_version = Some("3.6.0".into());
    event.kernel.module = Some("server.kernels".into());
    event.duration = Duration::from_millis(180);
    event.cache = CacheResult::Miss;
    event.cause = Some(Cause::NewSpecialization);
    event.changes = vec!["n: divisible by 16 -> not".to_owned()];
    event.stages = vec![Stage { name: "ttir".into(), duration: Duration::from_millis(90) }];
    event.options = vec![("num_warps".to_owned(), "4".to_owned())];
    event
}

/// Tells `benches/run.py` what was found: `FIGURE name value unit`.
pub fn figure(name: &str, value: f64, unit: &str) {
    println!("FIGURE\t{name}\t{value}\t{unit}");
}

/// Whether each row is only to be gone through once, so that it cannot rot.
pub fn quick() -> bool {
    !std::env::args().any(|argument| argument == "--bench") || std::env::args().any(|argument| argument == "--test")
}

/// User and system time of this process, all threads, seconds.
pub fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 = after_name.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    ticks as f64 / 100.0
}

/// A figure of `/proc/<process>/status`, MB.
pub fn megabytes(process: &str, field: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|number| number.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}

/// A collector in a process of its own, so that its work is not counted as ours.
pub struct Receiver(Child);

impl Receiver {
    /// Starts it: this program again, which has to begin with [`Receiver::run_if_asked`].
    pub fn start() -> (Receiver, String) {
        let program = std::env::current_exe().expect("a path");
        let mut child = Command::new(program).arg("receive").stdout(Stdio::piped()).spawn().expect("a child");
        let mut port = String::new();
        let output = child.stdout.take().expect("a pipe");
        BufReader::new(output).read_line(&mut port).expect("a port");
        (Receiver(child), format!("http://127.0.0.1:{}", port.trim()))
    }

    /// Answers OK to everything unread, over gRPC and HTTP on one port, until it is killed.
    pub fn run_if_asked() {
        if std::env::args().any(|argument| argument == "receive") {
            receive();
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn receive() {
    use hyper_util::rt::{TokioExecutor, TokioIo};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        println!("{}", listener.local_addr().expect("an address").port());
        let http = axum::routing::post(|_body: Bytes| async { Vec::<u8>::new() });
        let grpc = axum::routing::post(|_body: Bytes| async { taken() });
        let router = axum::Router::new()
            .route("/v1/traces", http)
            .route("/opentelemetry.proto.collector.trace.v1.TraceService/Export", grpc)
            .layer(axum::extract::DefaultBodyLimit::disable());
        while let Ok((stream, _)) = listener.accept().await {
            let service = hyper_util::service::TowerToHyperService::new(router.clone());
            tokio::spawn(async move {
                let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
}

/// An empty message, and gRPC's status OK behind it.
fn taken() -> axum::response::Response {
    let status = std::iter::once((HeaderName::from_static("grpc-status"), HeaderValue::from_static("0")));
    let body = Full::new(Bytes::from_static(&[0; 5])).with_trailers(async { Some(Ok(status.collect())) });
    let mut response = axum::response::Response::new(axum::body::Body::new(body));
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    response
}
