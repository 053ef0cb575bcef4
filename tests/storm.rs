//! A storm of compiles on one request: bounded, told by a summary, and every event accounted for.

use std::sync::Arc;
use std::time::Duration;

use jitspan::clock::System;
use jitspan::config::Mode;
use jitspan::export::Sink;
use jitspan::export::memory::MemorySink;
use jitspan::live::Place;
use jitspan::model::attribute::{Attributes, Value};
use jitspan::model::span::Span;
use jitspan::scope::{Request, Scope, ScopeOptions};
use jitspan::stats::{Counter, Stats};
use jitspan::{CompileEvent, Config, Kernel, Kind, Monitor, Settings};

fn monitor(environment: &[(&str, &str)], mode: Mode) -> (Monitor, MemorySink) {
    let lookup = |name: &str| environment.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_string());
    let config = Config::resolve(&Settings { mode, verbose: false }, &lookup).unwrap();
    let sink = MemorySink::default();
    let sinks = vec![Box::new(sink.clone()) as Box<dyn Sink>];
    (Monitor::new(Arc::new(config), Arc::new(System), sinks, Arc::new(Stats::default())), sink)
}

fn scope(monitor: &Monitor, requests: usize) -> Scope {
    let requests = vec![Request::default(); requests];
    let options =
        ScopeOptions { name: "inference".into(), attributes: Attributes::new(), requests, started: monitor.now() };
    Scope::new(options, 128)
}

/// So many compiles of 1 ms on one scope; the spans that left.
fn storm(monitor: &Monitor, sink: &MemorySink, requests: usize, events: usize) -> Vec<Span> {
    let scope = scope(monitor, requests);
    for number in 0..events {
        let pending = monitor.begin(|| Place::Scope(scope.clone()), None);
        let mut event = CompileEvent::new(Kind::Compile, "triton", Kernel::named(format!("k{number}")));
        event.duration = Duration::from_millis(1);
        monitor.finish(&pending, event);
    }
    monitor.close(&scope);
    sink.take()
}

fn request(spans: &[Span]) -> &Span {
    spans.iter().find(|span| span.name == "inference").unwrap()
}

#[test]
fn events_beyond_the_limit_are_told_by_one_summary() {
    let (monitor, sink) = monitor(&[], Mode::Warn);
    let spans = storm(&monitor, &sink, 1, 1_000);
    let span = request(&spans);
    assert_eq!(span.events.len(), 128);
    assert_eq!(span.dropped_events, 1_000 - 127);
    let last = span.events.last().unwrap();
    assert_eq!(last.name, "jit.summary");
    assert_eq!(last.attributes().get("jit.events.omitted"), Some(&Value::Int(873)));
    assert_eq!(last.attributes().get("jit.compile.count"), Some(&Value::Int(1_000)));
    assert_eq!(span.attributes.get("jit.compile.count"), Some(&Value::Int(1_000)));
    assert_eq!(monitor.stats().get(Counter::EventsDropped), 873);
    assert_eq!(spans.iter().filter(|span| span.name == "jit.compile").count(), 128);
}

#[test]
fn as_many_events_as_fit_need_no_summary() {
    let (monitor, sink) = monitor(&[], Mode::Warn);
    let spans = storm(&monitor, &sink, 1, 128);
    let span = request(&spans);
    assert!(span.events.iter().all(|event| event.name == "jit.compile"));
    assert_eq!((span.events.len(), span.dropped_events), (128, 0));
}

#[test]
fn a_limit_of_nothing_leaves_the_attributes_and_the_child_spans() {
    let (monitor, sink) = monitor(&[("OTEL_SPAN_EVENT_COUNT_LIMIT", "0")], Mode::Warn);
    let spans = storm(&monitor, &sink, 1, 3);
    let span = request(&spans);
    assert_eq!((span.events.len(), span.dropped_events), (0, 3));
    assert_eq!(span.attributes.get("jit.compile.count"), Some(&Value::Int(3)));
    assert_eq!(spans.iter().filter(|span| span.name == "jit.compile").count(), 3);
}

#[test]
fn the_exception_of_error_mode_stays_within_the_limit_and_is_never_what_is_left_out() {
    let (monitor, sink) = monitor(&[("OTEL_SPAN_EVENT_COUNT_LIMIT", "1")], Mode::Error);
    let spans = storm(&monitor, &sink, 1, 1);
    let names: Vec<&str> = request(&spans).events.iter().map(|event| &*event.name).collect();
    assert_eq!(names, ["exception"]);
}

#[test]
fn the_requests_of_a_batch_share_their_events() {
    let (monitor, sink) = monitor(&[("JITSPAN_COMPILE_SPANS", "0")], Mode::Warn);
    let spans = storm(&monitor, &sink, 128, 100);
    assert_eq!(spans.len(), 128);
    assert!(spans.iter().all(|span| Arc::ptr_eq(&span.events, &spans[0].events)));
}

/// An autotune that nobody waited for, with compiles in it; the spans that left.
fn autotune(monitor: &Monitor, sink: &MemorySink, compiles: usize) -> Vec<Span> {
    let tuning = monitor.begin(|| Place::Nobody, None);
    let event = |kind, name: &str| {
        let mut event = CompileEvent::new(kind, "triton", Kernel::named(name));
        event.duration = Duration::from_millis(1);
        event
    };
    for _ in 0..compiles {
        let pending = monitor.begin(|| Place::Nobody, Some(&tuning));
        monitor.finish(&pending, event(Kind::Compile, "tuned"));
    }
    let mut tuned = event(Kind::Autotune, "tuned");
    tuned.duration = Duration::from_secs(60);
    monitor.finish(&tuning, tuned);
    sink.take()
}

#[test]
fn a_root_span_says_what_it_is_whatever_the_limit_of_events_is() {
    for (limit, compiles) in [("0", 1), ("1", 1), ("128", 1_000)] {
        let (monitor, sink) = monitor(&[("OTEL_SPAN_EVENT_COUNT_LIMIT", limit)], Mode::Warn);
        let spans = autotune(&monitor, &sink, compiles);
        let root = spans.iter().find(|span| span.parent.is_none()).unwrap();
        assert_eq!(root.name, "jit.autotune", "{limit}");
        assert_eq!(root.attributes.get("jit.kernel.name"), Some(&Value::from("tuned")), "{limit}");
        assert_eq!(root.attributes.get("jit.duration"), Some(&Value::Double(60.0)), "{limit}");
        assert_eq!(root.attributes.get("jit.compile.count"), Some(&Value::Int(compiles as i64)), "{limit}");
        let Some(Value::Double(stalled)) = root.attributes.get("jit.stall.time") else { panic!("{limit}") };
        // The compiles began and ended while the autotune went on.
        assert!((60.0..61.0).contains(stalled), "{limit}: {stalled}");
    }
}
