//! What a Rust program hears through `tracing`. One global subscriber for all: without a scoped one, `tracing` itself
//! keeps nobody from coming back while an event is delivered. Each test has kernels of its own.

mod collector;
#[path = "support/fixed.rs"]
mod fixed;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, LazyLock, Mutex, OnceLock};
use std::time::{Duration, Instant};

use collector::{Collector, Exporter, Say};
use fixed::Fixed;
use jitspan::export::Sink;
use jitspan::export::memory::MemorySink;
use jitspan::stats::Stats;
use jitspan::{CacheResult, Cause, CompileEvent, Config, Kernel, Kind, Mode, Monitor, Settings};
use opentelemetry::trace::{TraceContextExt, TracerProvider};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};
use tracing::field::{Field, Visit};
use tracing::{Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

#[derive(Debug, Default, Clone, PartialEq)]
struct Heard {
    level: Option<Level>,
    /// The SDK's bridge for logs would not take it.
    is_suppressed: bool,
    fields: BTreeMap<&'static str, String>,
}

impl Visit for Heard {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.fields.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields.insert(field.name(), value.to_owned());
    }
}

static HEARD: Mutex<Vec<Heard>> = Mutex::new(Vec::new());
static LOOPING: OnceLock<Monitor> = OnceLock::new();

struct Listener;

impl<S: Subscriber> Layer<S> for Listener {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() != "jitspan" {
            return;
        }
        let is_suppressed = opentelemetry::Context::is_current_telemetry_suppressed();
        let mut heard = Heard { level: Some(*event.metadata().level()), is_suppressed, ..Heard::default() };
        event.record(&mut heard);
        let kernel = heard.fields.get("kernel").cloned().unwrap_or_default();
        HEARD.lock().unwrap().push(heard);
        match &*kernel {
            "panics" => panic!("panicked for a test"),
            "loops" => LOOPING.get().unwrap().record(compile("loops")).unwrap(),
            _ => {}
        }
    }
}

/// The program's own spans.
static SPANS: LazyLock<(SdkTracerProvider, InMemorySpanExporter)> = LazyLock::new(|| {
    let spans = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(spans.clone()).build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("server"));
    tracing_subscriber::registry().with(layer).with(Listener).init();
    (provider, spans)
});

fn monitor(mode: Mode) -> Monitor {
    LazyLock::force(&SPANS);
    let config = Config::resolve(&Settings { mode, ..Settings::default() }, &|_| None).unwrap();
    let sinks = vec![Box::new(MemorySink::default()) as Box<dyn Sink>];
    Monitor::new(Arc::new(config), Arc::new(Fixed::default()), sinks, Arc::new(Stats::default()))
}

fn compile(kernel: &str) -> CompileEvent {
    let mut event = CompileEvent::new(Kind::Compile, "nvrtc", Kernel::named(kernel.to_owned()));
    event.duration = Duration::from_millis(180);
    event.cause = Some(Cause::NewSpecialization);
    event
}

fn heard(field: &str, value: &str) -> Vec<Heard> {
    let heard = HEARD.lock().unwrap();
    heard.iter().filter(|heard| heard.fields.get(field).is_some_and(|found| found.contains(value))).cloned().collect()
}

#[test]
fn an_unexpected_compile_is_a_warning_with_its_facts_as_fields_and_is_on_the_span_once() {
    let monitor = monitor(Mode::Warn);
    let span = tracing::info_span!("request");
    let trace = span.in_scope(|| {
        monitor.record(compile("saxpy")).unwrap();
        opentelemetry::Context::current().span().span_context().trace_id()
    });
    drop(span);
    let [warning] = &heard("kernel", "saxpy")[..] else { panic!("one line") };
    assert_eq!(warning.level, Some(Level::WARN));
    let fields: Vec<_> = warning.fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(
        fields,
        [
            ("cause", "new_specialization"),
            ("duration", "0.18"),
            ("kernel", "saxpy"),
            (
                "message",
                "nvrtc kernel JIT compilation during inference: saxpy, 0.180 s, 1 request waited. This causes a \
                 latency spike; consider extending warmup to cover this shape/config."
            ),
            ("requests", "1"),
            ("runtime", "nvrtc"),
            ("trace_id", &trace.to_string()),
        ]
    );
    let spans = SPANS.1.get_finished_spans().unwrap();
    let request = spans.iter().find(|span| span.span_context.trace_id() == trace).unwrap();
    let events: Vec<_> = request.events.iter().map(|event| &*event.name).collect();
    assert_eq!(events, ["jit.compile"]);
}

#[test]
fn a_load_is_no_warning_and_a_warm_up_by_hand_is_nothing() {
    let monitor = monitor(Mode::Warn);
    let (mut loaded, mut warmed) = (compile("loaded"), compile("warmed"));
    (loaded.cache, warmed.manual_warmup) = (CacheResult::Hit, true);
    monitor.record(loaded).unwrap();
    monitor.record(warmed).unwrap();
    monitor.arm(false);
    monitor.record(compile("unarmed")).unwrap();
    let levels: Vec<_> = ["loaded", "warmed", "unarmed"].map(|kernel| heard("kernel", kernel)).concat();
    assert_eq!(levels.iter().map(|heard| heard.level).collect::<Vec<_>>(), [Some(Level::DEBUG)]);
}

#[test]
fn what_error_mode_returns_is_not_told_as_well() {
    let monitor = monitor(Mode::Error);
    assert!(monitor.record(compile("raised")).is_err());
    assert_eq!(heard("kernel", "raised"), []);
}

#[test]
fn a_layer_that_records_a_compile_for_each_of_our_lines_does_not_go_on_for_ever() {
    let monitor = LOOPING.get_or_init(|| monitor(Mode::Warn));
    monitor.record(compile("loops")).unwrap();
    monitor.record(compile("loops")).unwrap();
    assert_eq!(heard("kernel", "loops").len(), 2);
    assert_eq!(monitor.stats().snapshot()["events.compile"], 4);
}

#[test]
fn a_subscriber_that_panics_is_counted_and_the_compile_is_recorded() {
    let monitor = monitor(Mode::Warn);
    monitor.record(compile("panics")).unwrap();
    monitor.record(compile("heard again")).unwrap();
    assert_eq!(heard("kernel", "heard again").len(), 1);
    let stats = monitor.stats().snapshot();
    assert_eq!((stats["faults.tracing"], stats["events.compile"]), (1, 2));
}

#[tokio::test]
async fn an_exporter_whose_records_do_not_arrive_is_told_of_once() {
    LazyLock::force(&SPANS);
    let collector = Collector::start().await;
    collector.answer(Say::Invalid);
    let exporter = Exporter::to(&collector, "grpc");
    for name in ["a", "b"] {
        exporter.send(name);
        assert!(exporter.flush(Duration::from_secs(10)).await);
    }
    let began = Instant::now();
    while heard("reason", "InvalidArgument").is_empty() && began.elapsed() < Duration::from_secs(10) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let [warning] = &heard("reason", "InvalidArgument")[..] else { panic!("one line") };
    assert_eq!((warning.level, warning.is_suppressed), (Some(Level::WARN), false));
}
