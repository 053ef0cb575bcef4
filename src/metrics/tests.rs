use std::sync::Arc;
use std::time::Duration;

use opentelemetry::trace::{SpanId, TraceFlags, TraceId, TraceState};

use super::*;
use crate::model::attribute::Value;
use crate::model::event::{Failure, Kernel};

fn compile(kernel: &str, milliseconds: u64) -> Arc<CompileEvent> {
    let mut event = CompileEvent::new(Kind::Compile, "triton", Kernel::named(kernel));
    event.duration = Duration::from_millis(milliseconds);
    event.cache = CacheResult::Miss;
    Arc::new(event)
}

fn of<'a>(snapshot: &'a Snapshot, name: &str) -> &'a Data {
    &snapshot.metrics.iter().find(|metric| metric.name == name).unwrap().data
}

#[test]
fn a_watched_runtime_begins_at_zero() {
    let metrics = Metrics::new(1);
    metrics.watch("triton");
    let snapshot = metrics.snapshot(&Stats::default());
    let Data::Count(counts) = of(&snapshot, name::COMPILES) else { panic!() };
    assert_eq!(counts.len(), 5);
    assert!(counts.iter().all(|(_, count)| *count == 0));
    let Data::Histogram(durations) = of(&snapshot, name::COMPILE_DURATION) else { panic!() };
    assert!(durations.iter().all(|(_, duration)| duration.count() == 0));
    for own in [name::STALLED_REQUESTS, name::DROPPED_EVENTS, name::SPANS_EXPORTED, name::LOGS_EXPORTED] {
        let Data::Count(counts) = of(&snapshot, own) else { panic!() };
        assert!(!counts.is_empty() && counts.iter().all(|(_, count)| *count == 0), "{own}");
    }
}

#[test]
fn a_compile_adds_to_a_series_that_began_at_zero() {
    let metrics = Metrics::new(1);
    metrics.watch("triton");
    let series = |metrics: &Metrics| match of(&metrics.snapshot(&Stats::default()), name::COMPILES) {
        Data::Count(counts) => counts.len(),
        _ => panic!(),
    };
    let before = series(&metrics);
    let mut event = compile("k", 10);
    for cause in CAUSES {
        Arc::make_mut(&mut event).cause = cause;
        metrics.add(&event, None);
    }
    assert_eq!(series(&metrics), before);
}

#[test]
fn a_value_on_a_bound_is_counted_below_it() {
    let mut histogram = Histogram::default();
    for seconds in [0.5, 0.500001, 601.0] {
        histogram.add(seconds, None);
    }
    let at = BOUNDS.iter().position(|bound| *bound == 0.5).unwrap();
    assert_eq!((histogram.counts[at], histogram.counts[at + 1], histogram.counts[BOUNDS.len()]), (1, 1, 1));
    assert_eq!(histogram.range, Some((0.5, 601.0)));
}

#[test]
fn kernels_beyond_the_limit_share_one_series_and_lose_no_time() {
    let metrics = Metrics::new(1);
    for kernel in 0..1_000 {
        metrics.add_time(&compile(&format!("kernel_{kernel}"), 1_000));
    }
    let snapshot = metrics.snapshot(&Stats::default());
    let Data::Time(times) = of(&snapshot, name::KERNEL_TIME) else { panic!() };
    assert_eq!(times.len(), Series::<f64>::LIMIT + 1);
    assert_eq!(times.iter().map(|(_, seconds)| seconds).sum::<f64>(), 1_000.0);
    assert_eq!(times.last().unwrap().0.get(name::OVERFLOW), Some(&Value::Bool(true)));
}

#[test]
fn an_exemplar_names_a_sampled_request_until_it_was_sent() {
    let metrics = Metrics::new(1);
    let context = |flags| {
        SpanContext::new(TraceId::from_bytes([1; 16]), SpanId::from_bytes([2; 8]), flags, true, TraceState::default())
    };
    let exemplars = |metrics: &Metrics| match of(&metrics.snapshot(&Stats::default()), name::COMPILE_DURATION) {
        Data::Histogram(series) => {
            series.iter().flat_map(|(_, histogram)| histogram.exemplars().copied().collect::<Vec<_>>()).collect()
        }
        _ => Vec::new(),
    };
    metrics.add(&compile("k", 300), Some(&context(TraceFlags::default())));
    assert_eq!(exemplars(&metrics), []);
    metrics.add(&compile("k", 300), Some(&context(TraceFlags::SAMPLED)));
    let expected = Exemplar {
        seconds: 0.3,
        time: 300_000_000,
        trace_id: TraceId::from_bytes([1; 16]),
        span_id: SpanId::from_bytes([2; 8]),
    };
    assert_eq!(exemplars(&metrics), [expected]);
    metrics.forget_exemplars();
    assert_eq!(exemplars(&metrics), []);
}

#[test]
fn a_failed_compile_is_told_by_its_error() {
    let metrics = Metrics::new(1);
    let mut event = compile("k", 300);
    Arc::make_mut(&mut event).failure =
        Some(Failure { error_type: "CompilationError".into(), message: "at 3:4".into() });
    metrics.add(&event, None);
    let snapshot = metrics.snapshot(&Stats::default());
    let Data::Histogram(series) = of(&snapshot, name::COMPILE_DURATION) else { panic!() };
    assert_eq!(series[0].0.get(key::ERROR_TYPE), Some(&"CompilationError".into()));
}

fn durations(metrics: &Metrics) -> Histogram {
    let snapshot = metrics.snapshot(&Stats::default());
    let Data::Histogram(series) = of(&snapshot, name::COMPILE_DURATION) else { panic!() };
    series[0].1.clone()
}

#[test]
fn a_launcher_is_time_that_its_kernel_costs_and_no_compile() {
    let metrics = Metrics::new(1);
    let event = compile("k", 250);
    let launcher = CompileEvent { kind: Kind::Launcher, duration: Duration::from_millis(750), ..(*event).clone() };
    for event in [&*event, &launcher] {
        metrics.add(event, None);
        metrics.add_time(event);
    }
    let compiles = durations(&metrics);
    assert_eq!((compiles.count(), compiles.sum, compiles.range), (1, 0.25, Some((0.25, 0.25))));
    let snapshot = metrics.snapshot(&Stats::default());
    let Data::Count(counts) = of(&snapshot, name::COMPILES) else { panic!() };
    assert_eq!(counts.iter().map(|(_, count)| count).sum::<u64>(), 1);
    let Data::Time(times) = of(&snapshot, name::KERNEL_TIME) else { panic!() };
    assert_eq!(times.iter().map(|(_, seconds)| *seconds).collect::<Vec<_>>(), [1.0]);
}

#[test]
fn a_storm_between_two_exports_is_counted_whole() {
    let metrics = Metrics::new(1);
    for _ in 0..10_000 {
        metrics.add(&compile("k", 250), None);
    }
    assert_eq!(durations(&metrics).count(), 10_000);
}

#[test]
fn each_span_is_in_flight_or_exported_with_its_error_or_without() {
    let stats = Stats::default();
    stats.add(Counter::SpansRecorded, 20);
    stats.add(Counter::SpansExported, 9);
    stats.add(Counter::DroppedQueueFull, 4);
    stats.add(Counter::DroppedRejected, 2);
    let mut spans = Attributes::new();
    spans.text(name::COMPONENT_NAME, "jitspan");
    let metrics = Metrics::new(1).with_exporters(Exporters { spans, logs: Attributes::new() });
    let snapshot = metrics.snapshot(&stats);
    let Data::Count(exported) = of(&snapshot, name::SPANS_EXPORTED) else { panic!() };
    let by_error: Vec<_> = exported.iter().filter(|(_, count)| *count > 0).collect();
    let error = |attributes: &Attributes| attributes.get(key::ERROR_TYPE).cloned();
    let told: Vec<_> = by_error.iter().map(|(attributes, count)| (error(attributes), *count)).collect();
    assert_eq!(told, [(None, 9), (Some("queue_full".into()), 4), (Some("rejected".into()), 2)]);
    assert!(exported.iter().all(|(attributes, _)| attributes.get(name::COMPONENT_NAME) == Some(&"jitspan".into())));
    let Data::UpDown(waiting) = of(&snapshot, name::SPANS_IN_FLIGHT) else { panic!() };
    assert_eq!(waiting.iter().map(|(_, count)| *count).collect::<Vec<_>>(), [5]);
}
