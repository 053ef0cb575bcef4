//! A stall, from the hook's words to the bytes at a receiver's socket, compared as a whole.

#[path = "support/fixed.rs"]
mod fixed;
#[path = "support/receiver.rs"]
mod receiver;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use fixed::{Fixed, NOW};
use jitspan::config::{Config, Mode, Settings};
use jitspan::export::Sink;
use jitspan::export::otlp::OtlpSink;
use jitspan::export::resource::SharedResource;
use jitspan::live::Place;
use jitspan::metrics::Data;
use jitspan::model::attribute::Attributes;
use jitspan::scope::{Request, Scope, ScopeOptions};
use jitspan::stats::{Counter, Stats};
use jitspan::{CacheResult, CompileEvent, Kernel, Kind, Monitor, Stage, parse_traceparent, semconv};
use receiver::Receiver;

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn config(mode: Mode, variables: &[(&str, String)]) -> Config {
    let settings = Settings { mode, ..Settings::default() };
    let lookup = |wanted: &str| variables.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value.clone());
    Config::resolve(&settings, &lookup).unwrap()
}

fn monitor(config: Config) -> Monitor {
    let stats = Arc::new(Stats::default());
    let endpoint = config.traces.otlp.clone().unwrap();
    let resource = Arc::new(SharedResource::empty());
    let sink = OtlpSink::spans(endpoint, config.batch.clone(), resource, Arc::clone(&stats));
    Monitor::new(Arc::new(config), Arc::new(Fixed::default()), vec![Box::new(sink) as Box<dyn Sink>], stats)
}

fn scope(requests: Vec<Request>) -> Scope {
    let mut attributes = Attributes::new();
    attributes.int("rank", 0);
    let started = NOW - 1_000_000_000;
    Scope::new(ScopeOptions { name: Cow::Borrowed("vllm.execute_model"), attributes, requests, started }, 128)
}

fn request(traceparent: &str) -> Request {
    let mut attributes = Attributes::new();
    attributes.text("gen_ai.request.id", "cmpl-1");
    Request { parent: parse_traceparent(traceparent, Some("vendor=1")).ok(), attributes }
}

fn event(name: &str, started: u64, milliseconds: u64) -> CompileEvent {
    let kernel = Kernel {
        name: name.to_owned(),
        module: Some("kernels".to_owned()),
        file: Some("kernels.py".to_owned()),
        line: Some(7),
    };
    let mut event = CompileEvent::new(Kind::Compile, "triton", kernel);
    event.started = Some(started);
    event.duration = Duration::from_millis(milliseconds);
    event.cache = CacheResult::Miss;
    event.stages = vec![Stage { name: Cow::Borrowed("cubin"), duration: Duration::from_millis(60) }];
    event
}

/// Serves one request with two compiles in it, and ends.
fn serve(monitor: &Monitor) {
    let scope = scope(vec![request(PARENT)]);
    for (name, started) in [("rms_norm", NOW - 900_000_000), ("add", NOW - 500_000_000)] {
        let pending = monitor.begin(|| Place::Scope(scope.clone()), None);
        monitor.finish(&pending, event(name, started, 200));
    }
    monitor.close(&scope);
    assert!(monitor.flush(Duration::from_secs(10)));
}

#[test]
fn a_stalled_request_leaves_as_one_message_over_grpc_and_the_same_over_http() {
    let receiver = Receiver::start();
    let grpc = format!("http://{}", receiver.grpc);
    let http = format!("http://{}", receiver.http);
    let by_grpc = [("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc".to_owned()), ("OTEL_EXPORTER_OTLP_ENDPOINT", grpc)];
    let by_http = [("OTEL_EXPORTER_OTLP_ENDPOINT", http), ("OTEL_EXPORTER_OTLP_COMPRESSION", "none".to_owned())];
    serve(&monitor(config(Mode::Warn, &by_grpc)));
    serve(&monitor(config(Mode::Warn, &by_http)));
    let requests = receiver.requests();
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[0], requests[1]);
    insta::assert_json_snapshot!(requests[0]);
}

#[test]
fn in_error_mode_the_failed_span_has_arrived_when_the_flush_returns() {
    let receiver = Receiver::start();
    let endpoint = [("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{}", receiver.http))];
    let monitor = monitor(config(Mode::Error, &endpoint));
    let scope = scope(vec![request(PARENT), Request::default()]);
    let pending = monitor.begin(|| Place::Scope(scope.clone()), None);
    let recorded = monitor.finish(&pending, event("add", NOW - 500_000_000, 200)).unwrap();
    assert!(
        recorded.error.unwrap().message.starts_with("triton kernel JIT compilation during inference: add, 0.200 s")
    );
    assert!(monitor.flush(Duration::from_secs(10)));
    insta::assert_json_snapshot!(receiver.requests());
}

#[test]
fn with_nobody_listening_nothing_blocks_and_the_books_are_right() {
    let endpoint = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1".to_owned()),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "10".to_owned()),
    ];
    let monitor = monitor(config(Mode::Warn, &endpoint));
    for _ in 0..20 {
        let scope = scope(vec![request(PARENT)]);
        let pending = monitor.begin(|| Place::Scope(scope.clone()), None);
        monitor.finish(&pending, event("add", NOW, 1));
        monitor.close(&scope);
    }
    let began = std::time::Instant::now();
    assert!(!monitor.flush(Duration::from_millis(300)));
    assert!(began.elapsed() < Duration::from_millis(600));
    let stats = monitor.stats();
    assert_eq!(stats.get(Counter::SpansRecorded), 40);
    assert_eq!(stats.get(Counter::DroppedQueueFull), 30);
    assert_eq!(monitor.queued(), 10);
    assert!(!monitor.shutdown(Duration::from_millis(300)));
}

#[test]
fn the_time_of_a_compile_inside_an_autotune_is_lost_once() {
    let monitor = monitor(config(Mode::Warn, &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1".to_owned())]));
    let scope = scope(vec![request(PARENT)]);
    let tuning = monitor.begin(|| Place::Scope(scope.clone()), None);
    let compiling = monitor.begin(|| Place::Scope(scope.clone()), Some(&tuning));
    monitor.finish(&compiling, event("matmul", NOW, 300));
    let mut tuned = event("matmul", NOW, 500);
    tuned.kind = Kind::Autotune;
    monitor.finish(&tuning, tuned);
    monitor.close(&scope);
    let snapshot = monitor.metrics().snapshot(monitor.stats());
    let lost = snapshot.metrics.iter().find(|metric| metric.name == semconv::metric::KERNEL_TIME).unwrap();
    let Data::Time(times) = &lost.data else { panic!() };
    assert_eq!(times.iter().map(|(_, seconds)| *seconds).collect::<Vec<_>>(), [0.5]);
    monitor.shutdown(Duration::ZERO);
}

#[test]
fn an_unsampled_request_sends_nothing_and_is_counted() {
    let receiver = Receiver::start();
    let endpoint = [("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{}", receiver.http))];
    let monitor = monitor(config(Mode::Warn, &endpoint));
    let scope = scope(vec![request(&PARENT.replace("-01", "-00"))]);
    let pending = monitor.begin(|| Place::Scope(scope.clone()), None);
    monitor.finish(&pending, event("add", NOW, 1));
    monitor.close(&scope);
    assert!(monitor.flush(Duration::from_secs(10)));
    assert_eq!(receiver.requests(), Vec::new());
    assert_eq!(monitor.stats().get(Counter::RequestsUnsampled), 1);
}
