//! Everything from the stall to the socket, as a Rust host pays it: three events of 12 attributes each, the span, its
//! bytes, gRPC or HTTP to a collector in another process.
//!
//! With a number as its argument it exports so many spans and tells nothing, for callgrind to count.

mod support;

use std::time::{Duration, Instant};

use support::{Receiver, cpu_seconds, figure, monitor, quick, stalls};

fn main() {
    Receiver::run_if_asked();
    let (_receiver, endpoint) = Receiver::start();
    let counted = std::env::args().find_map(|argument| argument.parse().ok());
    for protocol in ["grpc", "http/protobuf"] {
        match counted {
            Some(spans) => drop(export(&endpoint, protocol, spans)),
            None if quick() => drop(export(&endpoint, protocol, 100)),
            None => {
                let mut rounds: Vec<f64> = (0..3).map(|_| export(&endpoint, protocol, 100_000)).collect();
                rounds.sort_by(f64::total_cmp);
                figure(&format!("100,000 spans of 3 events, {protocol}"), rounds[1], "CPU-s");
            }
        }
    }
}

/// As fast as the queue takes them. CPU seconds.
fn export(endpoint: &str, protocol: &str, spans: usize) -> f64 {
    let monitor = monitor(
        endpoint,
        &[
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
            ("OTEL_BSP_SCHEDULE_DELAY", "100"),
            ("JITSPAN_COMPILE_SPANS", "false"),
        ],
    );
    let before = monitor.stats().snapshot()["spans.exported"];
    let (cpu, began) = (cpu_seconds(), Instant::now());
    for _ in 0..spans {
        while monitor.queued() >= 2_000 {
            std::thread::sleep(Duration::from_millis(1));
        }
        stalls(monitor, 1, 3);
    }
    assert!(monitor.flush(Duration::from_secs(60)));
    let (cpu, wall) = (cpu_seconds() - cpu, began.elapsed().as_secs_f64());
    let exported = monitor.stats().snapshot()["spans.exported"] - before;
    assert_eq!(exported, spans as u64);
    println!("{protocol}: {spans} spans: {cpu:.2} CPU-s, {wall:.2} s");
    cpu
}
