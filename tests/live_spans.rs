//! A Rust program's own spans: the event is on the one that is current, and nothing is told twice.

#[path = "support/fixed.rs"]
mod fixed;

use std::sync::Arc;
use std::time::Duration;

use fixed::{Fixed, NOW};
use jitspan::config::{Config, Settings};
use jitspan::export::Sink;
use jitspan::export::memory::MemorySink;
use jitspan::stats::{Counter, Stats};
use jitspan::{CompileEvent, Kernel, Kind, Mode, Monitor};
use opentelemetry::trace::{Span as _, SpanId, Status, TraceContextExt, Tracer as _, TracerProvider as _};
use opentelemetry::{Context, Value};
use opentelemetry_sdk::trace::{InMemorySpanExporter, Sampler, SdkTracerProvider, SpanData};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::{Layer, SubscriberExt};

/// A program with a subscriber, its SDK, and jitspan.
struct Program {
    monitor: Monitor,
    ours: MemorySink,
    theirs: InMemorySpanExporter,
    provider: SdkTracerProvider,
}

impl Program {
    fn new(mode: Mode) -> Self {
        Self::sampled(mode, Sampler::AlwaysOn)
    }

    fn sampled(mode: Mode, sampler: Sampler) -> Self {
        let ours = MemorySink::default();
        let config = Config::resolve(&Settings { mode, ..Settings::default() }, &|_| None).unwrap();
        let sinks = vec![Box::new(ours.clone()) as Box<dyn Sink>];
        let monitor = Monitor::new(Arc::new(config), Arc::new(Fixed::default()), sinks, Arc::new(Stats::default()));
        let theirs = InMemorySpanExporter::default();
        let provider = SdkTracerProvider::builder().with_simple_exporter(theirs.clone()).with_sampler(sampler).build();
        Program { monitor, ours, theirs, provider }
    }

    fn traced<T>(&self, body: impl FnOnce() -> T) -> T {
        let layer = tracing_opentelemetry::layer().with_tracer(self.provider.tracer("server"));
        // The layer does not see what a library calls its details.
        let layer = layer.with_filter(filter_fn(|metadata| metadata.target() != "detail"));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), body)
    }

    fn spans(&self) -> Vec<SpanData> {
        self.theirs.get_finished_spans().unwrap()
    }
}

fn compile(kernel: &str) -> CompileEvent {
    let mut event = CompileEvent::new(Kind::Compile, "nvrtc", Kernel::named(kernel.to_owned()));
    event.duration = Duration::from_millis(180);
    event
}

fn jit_attributes(span: &SpanData) -> Vec<(String, Value)> {
    let ours =
        span.attributes.iter().filter(|pair| ["jit.", "error."].iter().any(|name| pair.key.as_str().starts_with(name)));
    ours.map(|pair| (pair.key.to_string(), pair.value.clone())).collect()
}

fn event_names(span: &SpanData) -> Vec<&str> {
    span.events.iter().map(|event| &*event.name).collect()
}

fn stalled() -> Vec<(String, Value)> {
    vec![("jit.stalled".to_owned(), Value::Bool(true))]
}

#[test]
fn the_event_is_on_the_current_span_and_the_compile_is_its_child() {
    let program = Program::new(Mode::Warn);
    program.traced(|| tracing::info_span!("request").in_scope(|| program.monitor.record(compile("saxpy")))).unwrap();
    let [request] = &program.spans()[..] else { panic!("one span") };
    assert_eq!(jit_attributes(request), stalled());
    let [event] = &request.events[..] else { panic!("one event") };
    assert_eq!(event.name, "jit.compile");
    assert_eq!(event.timestamp, std::time::UNIX_EPOCH + Duration::from_nanos(NOW - 180_000_000));
    let attributes: Vec<_> = event.attributes.iter().map(|pair| (pair.key.as_str(), pair.value.clone())).collect();
    let ours = program.ours.take();
    let [own] = &ours[..] else { panic!("one span of ours") };
    assert_eq!(own.context.trace_id(), request.span_context.trace_id());
    assert_eq!(own.parent.as_ref().map(|parent| parent.span_id()), Some(request.span_context.span_id()));
    assert_eq!(
        attributes,
        [
            ("jit.runtime", Value::from("nvrtc")),
            ("jit.kernel.name", Value::from("saxpy")),
            ("code.function.name", Value::from("saxpy")),
            ("jit.duration", Value::F64(0.18)),
            ("jit.cache.result", Value::from("unknown")),
        ]
    );
    assert!(attributes.iter().all(|(name, _)| own.attributes.get(name).is_some()));
}

#[test]
fn an_attribute_is_set_once_however_often_a_request_stalls() {
    let program = Program::new(Mode::Warn);
    program.traced(|| {
        tracing::info_span!("request").in_scope(|| {
            program.monitor.record(compile("saxpy")).unwrap();
            program.monitor.record(compile("gemm")).unwrap();
        });
    });
    let [request] = &program.spans()[..] else { panic!("one span") };
    assert_eq!((event_names(request), jit_attributes(request)), (vec!["jit.compile", "jit.compile"], stalled()));
    assert_eq!(program.monitor.stats().get(Counter::RequestsStalled), 1);
}

#[test]
fn error_mode_fails_the_span_and_then_returns_the_error() {
    let program = Program::new(Mode::Error);
    let answer =
        program.traced(|| tracing::info_span!("request").in_scope(|| program.monitor.record(compile("saxpy"))));
    let error = answer.unwrap_err();
    let [request] = &program.spans()[..] else { panic!("one span") };
    assert_eq!(request.status, Status::error(error.message));
    assert_eq!(event_names(request), ["jit.compile", "exception"]);
    let failed = ("error.type".to_owned(), Value::from("jitspan.UnexpectedCompileError"));
    assert_eq!(jit_attributes(request), [stalled(), vec![failed]].concat());
}

#[test]
fn the_outermost_span_is_marked_too() {
    let program = Program::new(Mode::Warn);
    program.traced(|| {
        let server = tracing::info_span!("server");
        server.in_scope(|| tracing::info_span!("step").in_scope(|| program.monitor.record(compile("saxpy")))).unwrap();
    });
    let spans = program.spans();
    let told: Vec<_> = spans.iter().map(|span| (&*span.name, event_names(span), jit_attributes(span))).collect();
    assert_eq!(told, [("step", vec!["jit.compile"], stalled()), ("server", vec![], stalled())]);
}

#[test]
fn a_span_that_the_layer_filters_out_leaves_it_to_the_span_around_it() {
    let program = Program::new(Mode::Warn);
    program.traced(|| {
        let request = tracing::info_span!("request");
        let detail =
            || tracing::info_span!(target: "detail", "jit").in_scope(|| program.monitor.record(compile("saxpy")));
        request.in_scope(detail).unwrap();
    });
    let [request] = &program.spans()[..] else { panic!("one span") };
    assert_eq!(event_names(request), ["jit.compile"]);
}

#[test]
fn another_thread_has_the_span_only_if_it_is_moved_in_and_entered() {
    let program = Program::new(Mode::Warn);
    program.traced(|| {
        let request = tracing::info_span!("request");
        let dispatch = tracing::dispatcher::get_default(Clone::clone);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                tracing::dispatcher::with_default(&dispatch, || {
                    program.monitor.record(compile("lost")).unwrap();
                    request.in_scope(|| program.monitor.record(compile("found"))).unwrap();
                });
            });
        });
    });
    let [request] = &program.spans()[..] else { panic!("one span") };
    assert_eq!(event_names(request), ["jit.compile"]);
    let roots: Vec<_> = program.ours.take().into_iter().filter(|span| span.parent.is_none()).collect();
    let [lost] = &roots[..] else { panic!("one root span") };
    assert_eq!(lost.attributes.get("jit.kernels"), Some(&"lost".into()));
}

#[test]
fn without_a_subscriber_or_without_a_layer_it_is_a_root_span() {
    let program = Program::new(Mode::Warn);
    tracing::info_span!("request").in_scope(|| program.monitor.record(compile("saxpy"))).unwrap();
    tracing::subscriber::with_default(tracing_subscriber::registry(), || {
        tracing::info_span!("request").in_scope(|| program.monitor.record(compile("gemm"))).unwrap();
    });
    let ours = program.ours.take();
    assert_eq!(
        ours.iter().map(|span| (&*span.name, span.parent.is_none())).collect::<Vec<_>>(),
        [("jit.compile", true); 2]
    );
}

#[test]
fn a_span_that_is_not_sampled_sends_nothing_and_is_counted() {
    let program = Program::sampled(Mode::Warn, Sampler::AlwaysOff);
    program.traced(|| tracing::info_span!("request").in_scope(|| program.monitor.record(compile("saxpy")))).unwrap();
    assert!(program.ours.take().is_empty());
    assert_eq!(program.monitor.stats().get(Counter::RequestsUnsampled), 1);
}

#[test]
fn a_span_of_the_opentelemetry_api_needs_no_tracing() {
    let program = Program::new(Mode::Warn);
    let span = program.provider.tracer("server").start("request");
    let attached = Context::current_with_span(span).attach();
    program.monitor.record(compile("saxpy")).unwrap();
    drop(attached);
    let [request] = &program.spans()[..] else { panic!("one span") };
    assert_eq!((event_names(request), jit_attributes(request)), (vec!["jit.compile"], stalled()));
}

#[test]
fn a_span_that_has_ended_is_the_parent_of_the_stalls_own_span() {
    let program = Program::new(Mode::Warn);
    let mut span = program.provider.tracer("server").start("request");
    let id = span.span_context().span_id();
    span.end();
    let attached = Context::current_with_span(span).attach();
    program.monitor.record(compile("saxpy")).unwrap();
    drop(attached);
    let ours = program.ours.take();
    let [own] = &ours[..] else { panic!("one span of ours") };
    assert_eq!(own.parent.as_ref().map_or(SpanId::INVALID, |parent| parent.span_id()), id);
    assert_eq!(own.events.len(), 1);
}
