//! The machine's clock is set forward while a request is served: its spans take as long as it took.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jitspan::clock::{Anchor, Source, System};
use jitspan::export::Sink;
use jitspan::export::memory::MemorySink;
use jitspan::live::Place;
use jitspan::model::attribute::Attributes;
use jitspan::scope::{Request, Scope, ScopeOptions};
use jitspan::stats::Stats;
use jitspan::{CompileEvent, Config, Kernel, Kind, Monitor, Settings};
use opentelemetry::trace::{SpanId, TraceId};

const HOUR: u64 = 3_600_000_000_000;
const SECOND: u64 = 1_000_000_000;

/// A clock that can be set.
#[derive(Default)]
struct Set(AtomicU64);

impl Source for Set {
    fn now(&self) -> u64 {
        System.now() + self.0.load(Ordering::SeqCst)
    }

    fn trace_id(&self) -> TraceId {
        System.trace_id()
    }

    fn span_id(&self) -> SpanId {
        System.span_id()
    }
}

fn monitor() -> (Monitor, MemorySink, Arc<Set>) {
    let config = Config::resolve(&Settings::default(), &|_: &str| None).unwrap();
    let (sink, clock) = (MemorySink::default(), Arc::new(Set::default()));
    let sinks = vec![Box::new(sink.clone()) as Box<dyn Sink>];
    let source = Arc::clone(&clock) as Arc<dyn Source>;
    (Monitor::new(Arc::new(config), source, sinks, Arc::new(Stats::default())), sink, clock)
}

fn event(kind: Kind, milliseconds: u64) -> CompileEvent {
    let mut event = CompileEvent::new(kind, "triton", Kernel::named("k"));
    event.duration = Duration::from_millis(milliseconds);
    event
}

#[test]
fn a_request_with_stalls_before_and_after_the_step() {
    let (monitor, sink, clock) = monitor();
    let options = ScopeOptions {
        name: "inference".into(),
        attributes: Attributes::new(),
        requests: vec![Request::default()],
        started: 0,
    };
    let scope = Scope::timed(options, 128, 0, Anchor::new(Instant::now(), &*clock));
    for step in [0, HOUR, 0] {
        clock.0.store(step, Ordering::SeqCst);
        let pending = monitor.begin(|| Place::Scope(scope.clone()), None);
        monitor.finish(&pending, event(Kind::Compile, 1));
    }
    clock.0.store(HOUR, Ordering::SeqCst);
    monitor.close(&scope);
    let spans = sink.take();
    let request = spans.iter().find(|span| span.name == "inference").unwrap();
    assert!(request.ended - request.started < SECOND);
    assert_eq!(request.events.len(), 3);
    for event in request.events.iter() {
        assert!((request.started..=request.ended).contains(&event.time));
    }
    for child in spans.iter().filter(|span| span.name == "jit.compile") {
        assert!(request.started <= child.started && child.ended <= request.ended);
    }
}

#[test]
fn an_autotune_that_nobody_waits_for_with_a_compile_after_the_step() {
    let (monitor, sink, clock) = monitor();
    let tuning = monitor.begin(|| Place::Nobody, None);
    clock.0.store(HOUR, Ordering::SeqCst);
    let pending = monitor.begin(|| Place::Nobody, Some(&tuning));
    monitor.finish(&pending, event(Kind::Compile, 1));
    monitor.finish(&tuning, event(Kind::Autotune, 500));
    let spans = sink.take();
    let [compile, autotune] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!(autotune.ended - autotune.started, SECOND / 2);
    assert!(autotune.started <= compile.started && compile.ended <= autotune.ended);
}
