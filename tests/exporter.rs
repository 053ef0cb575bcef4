//! What becomes of spans while the collector answers in every way it can. Each test closes with the books.

mod collector;

use std::time::{Duration, Instant};

use collector::{Collector, Exporter, Say, span};
use jitspan::config::Batch;
use jitspan::export::Sink;
use jitspan::model::attribute::Attributes;
use prost::Message;

const SOON: Duration = Duration::from_secs(10);
const BOTH: [&str; 2] = ["grpc", "http/protobuf"];

#[tokio::test]
async fn a_refusal_for_now_is_tried_again_and_nothing_is_lost_or_doubled() {
    for protocol in BOTH {
        let collector = Collector::start().await;
        collector.answer_next([Say::Unavailable, Say::Unavailable]);
        let exporter = Exporter::to(&collector, protocol);
        exporter.send("a");
        assert!(exporter.flush(SOON).await, "{protocol}");
        assert_eq!(collector.taken(), ["a"], "{protocol}");
        assert_eq!(collector.messages().len(), 3, "{protocol}");
        exporter.check_books();
    }
}

#[tokio::test]
async fn the_collectors_own_word_on_when_to_come_back_is_kept_even_if_somebody_flushes() {
    for protocol in BOTH {
        let collector = Collector::start().await;
        collector.answer_next([Say::Busy(Duration::from_secs(2))]);
        let exporter = Exporter::to(&collector, protocol);
        exporter.send("a");
        assert!(exporter.flush(SOON).await, "{protocol}");
        let times = collector.times();
        let waited = times[1] - times[0];
        assert!(waited >= Duration::from_millis(1_950) && waited < Duration::from_secs(3), "{protocol}: {waited:?}");
        exporter.check_books();
    }
}

#[tokio::test]
async fn a_collector_that_always_asks_to_come_back_at_once_is_not_hammered() {
    for protocol in BOTH {
        let collector = Collector::start().await;
        collector.answer(Say::Busy(Duration::ZERO));
        let exporter = Exporter::to(&collector, protocol);
        exporter.send("a");
        tokio::time::sleep(Duration::from_secs(2)).await;
        // At 0, 0.25, 0.75 and 1.75 s, or with jitter at half of that.
        let attempts = collector.messages().len();
        assert!((2..=5).contains(&attempts), "{protocol}: {attempts} attempts");
        exporter.check_books();
    }
}

#[tokio::test]
async fn a_refusal_for_good_is_counted_and_not_tried_again() {
    for protocol in BOTH {
        let collector = Collector::start().await;
        collector.answer_next([Say::Invalid]);
        let exporter = Exporter::to(&collector, protocol);
        exporter.send("bad");
        assert!(exporter.flush(SOON).await);
        exporter.send("good");
        assert!(exporter.flush(SOON).await);
        assert_eq!(collector.taken(), ["good"], "{protocol}");
        assert_eq!(exporter.get("spans.dropped.refused"), 1, "{protocol}");
        exporter.check_books();
    }
}

#[tokio::test]
async fn an_empty_partial_success_is_none_and_a_real_one_is_counted() {
    for protocol in BOTH {
        let collector = Collector::start().await;
        collector.answer_next([Say::Ok, Say::Partial(1)]);
        let exporter = Exporter::to(&collector, protocol);
        exporter.send("a");
        assert!(exporter.flush(SOON).await);
        assert_eq!((exporter.get("spans.exported"), exporter.stats.export_error()), (1, None), "{protocol}");
        exporter.sink.export(vec![span("b"), span("c")]);
        assert!(exporter.flush(SOON).await);
        assert_eq!((exporter.get("spans.exported"), exporter.get("spans.dropped.rejected")), (2, 1), "{protocol}");
        exporter.check_books();
    }
}

#[tokio::test]
async fn a_signal_without_a_pipeline_is_not_sent_again() {
    for protocol in BOTH {
        let collector = Collector::start().await;
        collector.answer(Say::NoPipeline);
        let exporter = Exporter::to(&collector, protocol);
        for name in ["a", "b", "c"] {
            exporter.send(name);
            assert!(exporter.flush(SOON).await);
        }
        assert_eq!(collector.messages().len(), 1, "{protocol}");
        assert_eq!(exporter.get("spans.dropped.refused"), 3, "{protocol}");
        exporter.check_books();
    }
}

#[tokio::test]
async fn a_flush_waits_for_what_came_while_an_older_message_was_tried_again() {
    let collector = Collector::start().await;
    collector.answer(Say::Unavailable);
    let exporter = Exporter::to(&collector, "grpc");
    exporter.send("older");
    tokio::time::sleep(Duration::from_millis(300)).await;
    exporter.send("newer");
    let flushing = exporter.sink.flush();
    collector.answer(Say::Ok);
    let flushed = tokio::task::spawn_blocking(move || flushing.wait(Instant::now() + SOON)).await.unwrap();
    assert!(flushed);
    assert_eq!(collector.taken(), ["older", "newer"]);
    exporter.check_books();
}

#[tokio::test]
async fn messages_are_split_below_what_a_stock_collector_takes() {
    let collector = Collector::start().await;
    let exporter = Exporter::to(&collector, "grpc");
    let large = |name: String| {
        let mut attributes = Attributes::new();
        attributes.text("jit.signature", "x".repeat(20_000));
        jitspan::model::span::Span { attributes, ..span(&name) }
    };
    // 400 spans of 20 kB are under the queue's 8 MiB and over two messages of 4 MiB.
    exporter.sink.export((0..400).map(|number| large(number.to_string())).collect());
    assert!(exporter.flush(SOON).await, "{:?}", exporter.stats.export_error());
    assert_eq!(collector.taken().len(), 400);
    let sizes: Vec<usize> = collector.messages().iter().map(Message::encoded_len).collect();
    assert!(sizes.len() >= 2 && sizes.iter().all(|size| *size < 4 * 1024 * 1024), "{sizes:?}");
    exporter.check_books();
}

#[tokio::test]
async fn a_span_that_is_too_large_alone_is_counted_and_holds_up_nobody() {
    let collector = Collector::start().await;
    let exporter = Exporter::to(&collector, "grpc");
    let mut attributes = Attributes::new();
    attributes.text("jit.signature", "x".repeat(5 * 1024 * 1024));
    exporter.sink.export(vec![jitspan::model::span::Span { attributes, ..span("large") }, span("small")]);
    assert!(exporter.flush(SOON).await);
    assert_eq!(collector.taken(), ["small"]);
    assert_eq!(exporter.get("spans.dropped.too_large"), 1);
    exporter.check_books();
}

#[tokio::test]
async fn a_full_batch_leaves_at_once_and_the_rest_when_its_time_is_over() {
    let collector = Collector::start().await;
    let endpoint = format!("http://{}", collector.address);
    let batch = Batch { delay: Duration::from_secs(3), size: 4, queue: 8, ..collector::batch() };
    let exporter = Exporter::batched(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)], batch);
    let began = Instant::now();
    for full in 1..=3 {
        (0..4).for_each(|_| exporter.send("full"));
        while collector.taken().len() < 4 * full {
            assert!(began.elapsed() < Duration::from_secs(2), "{:?}", exporter.stats.snapshot());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    exporter.send("rest");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(exporter.sink.queued(), 1);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(collector.taken().last().map(String::as_str), Some("rest"));
    exporter.check_books();
}

#[tokio::test]
async fn what_comes_while_a_batch_gathers_leaves_with_it() {
    let collector = Collector::start().await;
    let endpoint = format!("http://{}", collector.address);
    let delay = Duration::from_secs(1);
    let exporter =
        Exporter::batched(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)], Batch { delay, ..collector::batch() });
    exporter.send("first");
    tokio::time::sleep(delay / 4).await;
    exporter.send("second");
    tokio::time::sleep(delay + delay / 4).await;
    assert_eq!(collector.taken(), ["first", "second"]);
    assert_eq!(collector.messages().len(), 1);
    exporter.check_books();
}

#[tokio::test]
async fn what_does_not_fit_the_queue_is_counted() {
    let collector = Collector::start().await;
    collector.answer(Say::Silence(Duration::from_secs(60)));
    let exporter = Exporter::to(&collector, "grpc");
    for number in 0..5_000 {
        exporter.send(&number.to_string());
    }
    assert_eq!(exporter.get("spans.dropped.queue_full"), 5_000 - 2_048);
    assert_eq!(exporter.sink.queued(), 2_048);
    exporter.check_books();
}

#[tokio::test]
async fn a_flush_ends_at_its_deadline_whatever_the_collector_does() {
    for say in [Say::Silence(Duration::from_secs(60)), Say::Unavailable, Say::Busy(Duration::from_secs(30))] {
        let collector = Collector::start().await;
        collector.answer(say.clone());
        let exporter = Exporter::to(&collector, "grpc");
        exporter.send("a");
        let started = Instant::now();
        assert!(!exporter.flush(Duration::from_millis(500)).await);
        assert!(started.elapsed() < Duration::from_millis(900), "{say:?}: {:?}", started.elapsed());
        assert!(!exporter.shutdown(Duration::from_millis(500)).await);
        assert!(started.elapsed() < Duration::from_millis(1_600), "{say:?}: {:?}", started.elapsed());
        assert_eq!(exporter.get("spans.dropped.shutdown"), 1, "{say:?}");
        exporter.check_books();
    }
}

#[tokio::test]
async fn what_comes_after_the_shutdown_is_counted_and_starts_no_thread() {
    let collector = Collector::start().await;
    let exporter = Exporter::to(&collector, "grpc");
    exporter.send("in time");
    assert!(exporter.shutdown(SOON).await);
    exporter.send("late");
    assert!(exporter.flush(SOON).await);
    assert_eq!(collector.taken(), ["in time"]);
    assert_eq!(exporter.get("spans.dropped.shutdown"), 1);
    exporter.check_books();
}

#[tokio::test]
async fn a_collector_that_is_away_for_a_while_gets_everything_that_fits() {
    let collector = Collector::start().await;
    let address = collector.address.to_string();
    drop(collector);
    // Nobody listens here while the spans come.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let free = listener.local_addr().unwrap().to_string();
    drop(listener);
    assert_ne!(free, address);
    let endpoint = format!("http://{free}");
    let exporter =
        Exporter::new(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]);
    for number in 0..2_000 {
        exporter.send(&number.to_string());
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let back = Collector::on(&free, None).await;
    assert!(exporter.flush(SOON).await, "{:?}", exporter.stats.export_error());
    assert_eq!(back.taken().len(), 2_000);
    exporter.check_books();
}
