//! What becomes of spans where the collector's answer is broken, or is none. Each test closes with the books.

mod collector;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use collector::Exporter;
use collector::frames::{Act, Frames};
use jitspan::clock::{Source, System};
use jitspan::config::{Endpoint, Interval, Resource, Signal, Variables};
use jitspan::export::otlp::metrics;
use jitspan::export::resource::SharedResource;
use jitspan::metrics::Metrics;
use jitspan::stats::Stats;
use opentelemetry::trace::{SpanId, TraceId};

const SOON: Duration = Duration::from_secs(20);

fn exporter(server: &Frames) -> Exporter {
    let endpoint = format!("http://{}", server.address);
    Exporter::new(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")])
}

const UNAVAILABLE: u8 = 14;
const INVALID_ARGUMENT: u8 = 3;

#[tokio::test]
async fn details_that_cannot_be_read_cost_no_span() {
    // Not base64 at all; values that were joined; the URL's alphabet; a blank at the end; one character too many.
    for details in ["!!!!notbase64", "AAAA,AAAA", "-_-_", "AAAA ", "AAAAA", ""] {
        let server = Frames::start([Act::Refuse(UNAVAILABLE, details.to_owned())]);
        let exporter = exporter(&server);
        for name in ["a", "b"] {
            exporter.send(name);
            assert!(exporter.flush(SOON).await, "{details}: {:?}", exporter.stats.snapshot());
        }
        assert_eq!((exporter.get("spans.exported"), server.taken()), (2, 2), "{details}");
        exporter.check_books();
    }
}

#[tokio::test]
async fn a_refusal_with_details_that_cannot_be_read_is_still_one() {
    let server = Frames::start([Act::Refuse(INVALID_ARGUMENT, "!!!!notbase64".to_owned())]);
    let exporter = exporter(&server);
    exporter.send("bad");
    assert!(exporter.flush(SOON).await);
    assert_eq!(exporter.get("spans.dropped.refused"), 1);
    assert_eq!(exporter.stats.export_error().as_deref(), Some("InvalidArgument: "));
    exporter.check_books();
}

#[tokio::test]
async fn a_collector_that_restarts_gracefully_gets_everything() {
    const NO_ERROR: u32 = 0;
    let server = Frames::start([Act::Take, Act::GoAway(NO_ERROR), Act::Take, Act::GoAway(NO_ERROR)]);
    let exporter = exporter(&server);
    for name in ["a", "b", "c", "d"] {
        exporter.send(name);
        assert!(exporter.flush(SOON).await, "{:?}", exporter.stats.export_error());
    }
    assert_eq!((exporter.get("spans.exported"), server.taken()), (4, 4), "{:?}", exporter.stats.snapshot());
    exporter.check_books();
}

#[tokio::test]
async fn a_connection_that_fails_is_no_answer_and_is_tried_again() {
    // NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, REFUSED_STREAM, CANCEL, ENHANCE_YOUR_CALM,
    // INADEQUATE_SECURITY, HTTP_1_1_REQUIRED.
    let resets = [0, 1, 2, 3, 7, 8, 11, 12, 13].map(Act::Reset);
    let others = [Act::Close, Act::NoTrailers, Act::GoAway(11), Act::GoAway(2)];
    for act in resets.into_iter().chain(others) {
        let server = Frames::start([act.clone()]);
        let exporter = exporter(&server);
        exporter.send("a");
        assert!(exporter.flush(SOON).await, "{act:?}: {:?}", exporter.stats.export_error());
        assert_eq!((exporter.get("spans.exported"), server.taken()), (1, 1), "{act:?}");
        exporter.check_books();
    }
}

fn metrics_exporter(server: &Frames, every: Duration, source: Arc<dyn Source>) -> (metrics::Exporter, Arc<Stats>) {
    let endpoint = format!("http://{}", server.address);
    let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", &*endpoint), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")];
    let lookup = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_string());
    let stats = Arc::new(Stats::default());
    let exporter = metrics::Exporter::new(metrics::Plan {
        endpoint: Some(Endpoint::resolve(Signal::Metrics, &Variables::new(&lookup)).unwrap()),
        console: false,
        interval: Interval { every, timeout: SOON },
        resource: Arc::new(SharedResource::new(Resource::default(), &[])),
        metrics: Arc::new(Metrics::new(1)),
        stats: Arc::clone(&stats),
        source,
    });
    (exporter, stats)
}

/// Panics when it is first asked for the time.
struct Faulty(AtomicBool);

impl Source for Faulty {
    fn now(&self) -> u64 {
        assert!(self.0.swap(true, Ordering::SeqCst), "the first time it panics");
        1
    }

    fn trace_id(&self) -> TraceId {
        TraceId::from_bytes([1; 16])
    }

    fn span_id(&self) -> SpanId {
        SpanId::from_bytes([1; 8])
    }
}

#[tokio::test]
async fn metrics_go_on_after_a_panic_in_their_thread() {
    let server = Frames::start([]);
    let source = Arc::new(Faulty(AtomicBool::new(false)));
    let (exporter, stats) = metrics_exporter(&server, Duration::from_millis(50), source);
    exporter.start();
    let until = Instant::now() + SOON;
    while server.taken() < 3 && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(server.taken() >= 3);
    assert_eq!(stats.faults("metrics.panic"), 1);
    assert!(stats.export_error().is_some_and(|error| error.contains("the first time it panics")));
}

#[tokio::test]
async fn paused_metrics_are_sent_once_more_and_then_not_until_they_are_started() {
    let server = Frames::start([]);
    // Once at the start, and never by itself again.
    let (exporter, _) = metrics_exporter(&server, Duration::from_secs(3600), Arc::new(System));
    let flush = || {
        let flushing = exporter.flush();
        tokio::task::spawn_blocking(move || assert!(flushing.wait(Instant::now() + SOON)))
    };
    exporter.start();
    let sent = |server: &Frames, least: usize| {
        let until = Instant::now() + SOON;
        while server.taken() < least && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        server.taken()
    };
    assert_eq!(sent(&server, 1), 1);
    exporter.pause();
    assert_eq!(sent(&server, 2), 2);
    // There is nothing that the collector does not know.
    flush().await.unwrap();
    flush().await.unwrap();
    assert_eq!(server.taken(), 2);
    exporter.start();
    assert_eq!(sent(&server, 3), 3);
    flush().await.unwrap();
    assert_eq!(server.taken(), 4);
}
