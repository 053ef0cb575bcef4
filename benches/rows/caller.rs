//! What the thread pays that compiled: one event, a step of many requests, a span of many events. The exporter sleeps
//! meanwhile, and sends between two measurements, so that the queue has room as it has in a server.

mod support;

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use criterion::{Bencher, BenchmarkId, Criterion, criterion_group};
use jitspan::Monitor;
use support::{Receiver, monitor, scope, stall, stalls};

static ENDPOINT: OnceLock<String> = OnceLock::new();

/// Bytes that are measured before the exporter has to send them: a queue holds 8 MiB.
const ROOM: usize = 2_000_000;
/// What an event, a compile's span, or another span takes in there, at most.
const BYTES: usize = 600;

fn sleeping(environment: &[(&str, &str)]) -> &'static Monitor {
    let asleep = [
        ("OTEL_BSP_SCHEDULE_DELAY", "3600000"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "40000"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "40000"),
        ("JITSPAN_MAX_REQUESTS", "256"),
    ];
    monitor(ENDPOINT.get().expect("a receiver"), &[&asleep[..], environment].concat())
}

const WITHOUT_COMPILE_SPANS: [(&str, &str); 1] = [("JITSPAN_COMPILE_SPANS", "false")];

/// Times `body`, which makes so many spans and events, behind `depth` other spans.
fn timed(bencher: &mut Bencher<'_>, monitor: &Monitor, made: usize, depth: usize, mut body: impl FnMut()) {
    bencher.iter_custom(|times| {
        let (mut took, mut left) = (Duration::ZERO, times);
        while left > 0 {
            let now = left.min((ROOM / BYTES / made).max(1) as u64);
            (0..depth).for_each(|_| stalls(monitor, 1, 1));
            let began = Instant::now();
            (0..now).for_each(|_| body());
            took += began.elapsed();
            left -= now;
            assert!(monitor.flush(Duration::from_secs(60)));
        }
        took
    });
    assert_eq!(monitor.stats().snapshot()["spans.dropped.queue_full"], 0);
}

/// An event on a span that is open already.
fn event(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("event");
    for (name, environment) in [("event", &WITHOUT_COMPILE_SPANS[..]), ("event and span of the compile", &[])] {
        let monitor = sleeping(environment);
        // As many as a span takes, and then the next span.
        let (mut open, mut left) = (scope(monitor, 1), 100);
        group.bench_function(name, |bencher| {
            timed(bencher, monitor, 2, 0, || {
                if left == 0 {
                    monitor.close(&open);
                    (open, left) = (scope(monitor, 1), 100);
                }
                left -= 1;
                stall(monitor, &open, left);
            });
        });
    }
    group.finish();
}

/// 10 compiles in a step, and its end.
fn requests(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("requests in scope");
    for (name, environment, own) in [("events", &WITHOUT_COMPILE_SPANS[..], 0), ("and compile spans", &[], 10)] {
        let monitor = sleeping(environment);
        for requests in [1, 4, 16, 64, 128, 256] {
            group.bench_function(BenchmarkId::new(name, requests), |bencher| {
                timed(bencher, monitor, requests * (own + 11), 0, || stalls(monitor, requests, 10));
            });
        }
    }
    group.finish();
}

fn events(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("events a span");
    let monitor = sleeping(&WITHOUT_COMPILE_SPANS);
    for events in [1, 10, 100, 1_000] {
        group.bench_function(BenchmarkId::new("one request", events), |bencher| {
            timed(bencher, monitor, events.min(128) + 1, 0, || stalls(monitor, 1, events));
        });
    }
    group.finish();
}

/// One span more in a queue that holds so many.
fn depth(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("queue depth");
    let monitor = sleeping(&WITHOUT_COMPILE_SPANS);
    for depth in [0, 100, 1_000, 5_000] {
        group.bench_function(BenchmarkId::new("one span", depth), |bencher| {
            timed(bencher, monitor, 50, depth, || stalls(monitor, 1, 1));
        });
    }
    group.finish();
}

criterion_group! {
    name = rows;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(500))
        .without_plots();
    targets = event, requests, events, depth
}

fn main() {
    Receiver::run_if_asked();
    let (_receiver, endpoint) = Receiver::start();
    ENDPOINT.get_or_init(|| endpoint);
    rows();
}
