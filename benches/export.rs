//! What exporting costs: CPU for 100,000 spans of 3 events, and memory in a storm. A collector that only answers runs in
//! a process of its own, so that its work is not counted as ours.
//!
//! `cargo bench --bench export`; `benches/export.py` has opentelemetry-python do the same beside us.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::http::{HeaderName, HeaderValue};
use http_body_util::{BodyExt as _, Full};
use jitspan::live::Place;
use jitspan::model::attribute::Attributes;
use jitspan::scope::{Request, Scope, ScopeOptions};
use jitspan::{CacheResult, Cause, CompileEvent, Config, Kernel, Kind, Monitor, Settings, Stage};

const SPANS: usize = 100_000;

/// A number on the command line: only so many spans are exported, for callgrind to count.
fn spans() -> Option<usize> {
    std::env::args().find_map(|argument| argument.parse().ok())
}

fn main() {
    if std::env::args().any(|argument| argument == "receive") {
        return receive();
    }
    let receiver = std::env::current_exe().expect("a path");
    let mut receiver = Command::new(receiver).arg("receive").stdout(Stdio::piped()).spawn().expect("a child");
    let mut port = String::new();
    let output = receiver.stdout.take().expect("a pipe");
    std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut port).expect("a port");
    for protocol in ["grpc", "http/protobuf"] {
        export(port.trim(), protocol, spans().unwrap_or(SPANS));
    }
    if spans().is_none() {
        storm(port.trim());
    }
    let _ = receiver.kill();
    let _ = receiver.wait();
}

/// Spans of 3 events of about 8 attributes, as fast as the queue takes them.
fn export(port: &str, protocol: &str, spans: usize) {
    let monitor = monitor(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://127.0.0.1:{port}")),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
        ("OTEL_METRICS_EXPORTER", "none"),
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
        ("JITSPAN_COMPILE_SPANS", "false"),
    ]);
    let (cpu, began) = (cpu_seconds(), Instant::now());
    for _ in 0..spans {
        while monitor.queued() >= 2_000 {
            std::thread::sleep(Duration::from_millis(1));
        }
        stall(monitor, 3);
    }
    assert!(monitor.flush(Duration::from_secs(60)));
    let (cpu, wall) = (cpu_seconds() - cpu, began.elapsed().as_secs_f64());
    let exported = monitor.stats().snapshot()["spans.exported"];
    println!(
        "{protocol}: {exported} spans of 3 events: {cpu:.2} CPU-s, {wall:.2} s, {:.0} spans/s",
        spans as f64 / wall
    );
}

/// What is done, and its name.
type Scene<'a> = (&'a str, &'a dyn Fn(&Monitor));

/// 100,000 events, as fast as one thread can, while the collector answers: on one request, and each on its own.
fn storm(port: &str) {
    let endpoint = format!("http://127.0.0.1:{port}");
    let environment = [("OTEL_EXPORTER_OTLP_ENDPOINT", &*endpoint), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")];
    let scenes: [Scene<'_>; 3] = [
        ("100,000 events on one request", &|monitor| stall(monitor, SPANS)),
        ("100,000 events on a request each", &|monitor| (0..SPANS).for_each(|_| stall(monitor, 1))),
        ("1,000 events on batches of 128 requests", &|monitor| (0..10).for_each(|_| stall_batch(monitor, 128, 100))),
    ];
    for (name, scene) in scenes {
        let idle = resident_kilobytes();
        let monitor = monitor(&environment);
        let began = Instant::now();
        scene(monitor);
        let took = began.elapsed();
        let most = peak_kilobytes();
        assert!(monitor.flush(Duration::from_secs(60)));
        let stats = monitor.stats().snapshot();
        println!(
            "{name}: {:.2} us an event, {:.1} MB over idle at most; spans exported {}, dropped {}; events left out {}",
            took.as_secs_f64() * 1e6 / SPANS as f64,
            most.saturating_sub(idle) as f64 / 1024.0,
            stats["spans.exported"],
            stats["spans.dropped.queue_full"],
            stats["events.dropped.limit"],
        );
    }
}

fn monitor(environment: &[(&str, &str)]) -> &'static Monitor {
    let lookup = |name: &str| environment.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_string());
    jitspan::install(Config::resolve(&Settings::default(), &lookup).expect("a configuration"))
}

fn stall(monitor: &Monitor, events: usize) {
    stall_batch(monitor, 1, events);
}

fn stall_batch(monitor: &Monitor, requests: usize, events: usize) {
    let scope = Scope::new(
        ScopeOptions {
            name: "inference".into(),
            attributes: Attributes::new(),
            requests: vec![Request::default(); requests],
            started: monitor.now(),
        },
        requests,
    );
    for number in 0..events {
        let pending = monitor.begin(|| Place::Scope(scope.clone()), None);
        monitor.finish(&pending, event(number));
    }
    monitor.close(&scope);
}

fn event(number: usize) -> CompileEvent {
    let mut event = CompileEvent::new(Kind::Compile, "triton", Kernel::named(format!("kernel_{}", number % 50)));
    event.duration = Duration::from_millis(180);
    event.cache = CacheResult::Miss;
    event.cause = Some(Cause::NewSpecialization);
    event.changes = vec!["n: divisible by 16 -> not".to_owned()];
    event.stages = vec![Stage { name: "ttir".into(), duration: Duration::from_millis(90) }];
    event.options = vec![("num_warps".to_owned(), "4".to_owned())];
    event
}

/// User and system time of this process, all threads.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 = after_name.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    ticks as f64 / 100.0
}

fn status_kilobytes(field: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with(field)).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn resident_kilobytes() -> usize {
    // So that the peak from here on is told, not that of the scene before.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
    status_kilobytes("VmRSS")
}

fn peak_kilobytes() -> usize {
    status_kilobytes("VmHWM")
}

/// Answers OK to everything unread, over gRPC and HTTP on one port, until it is killed.
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
