//! Spans all the time, while the collector changes its mind at random: the books are right at every moment, and in the
//! end everything has a place in them. `JITSPAN_SOAK_SECONDS` (10) and `JITSPAN_SOAK_SEED` make it longer, or again.

mod collector;
#[path = "support/random.rs"]
mod random;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use collector::{Collector, Exporter, Say};
use jitspan::export::Sink;
use random::{Random, variable};

fn fault(random: &mut Random) -> Say {
    match random.below(8) {
        0 | 1 => Say::Ok,
        2 => Say::Unavailable,
        3 => Say::Busy(Duration::from_secs(1)),
        4 => Say::Invalid,
        5 => Say::Partial(1),
        6 => Say::Silence(Duration::from_millis(1_500)),
        _ => Say::Unavailable,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_ever_unaccounted_for() {
    let seed = variable("JITSPAN_SOAK_SEED", 7);
    let seconds = variable("JITSPAN_SOAK_SECONDS", 10);
    let mut random = Random::new(seed);
    for protocol in ["grpc", "http/protobuf"] {
        let until = Instant::now() + Duration::from_secs(seconds / 2);
        let collector = Collector::start().await;
        let endpoint = format!("http://{}", collector.address);
        let exporter = Exporter::new(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "500"),
        ]);
        let (mut sent, mut rejected) = (0, 0);
        loop {
            let say = fault(&mut random);
            rejected += usize::from(matches!(say, Say::Partial(_)));
            collector.answer_next([say]);
            for _ in 0..random.below(40) {
                exporter.send(&sent.to_string());
                sent += 1;
            }
            tokio::time::sleep(Duration::from_millis(random.below(60))).await;
            // Some flush while it goes on, as error mode does.
            if random.below(20) == 0 {
                let _ = exporter.flush(Duration::from_millis(50)).await;
            }
            if Instant::now() > until {
                break;
            }
        }
        collector.answer_all(Say::Ok);
        assert!(exporter.flush(Duration::from_secs(30)).await, "seed {seed}: {:?}", exporter.stats.export_error());
        exporter.check_books();
        assert_eq!(exporter.sink.queued(), 0, "seed {seed}");
        assert_eq!(exporter.get("spans.recorded"), sent, "seed {seed}");
        // Each message that was taken stands in the books once; what was rejected of it is in it here.
        let taken: BTreeSet<String> = collector.taken().into_iter().collect();
        let known = exporter.get("spans.exported") + exporter.get("spans.dropped.rejected");
        assert_eq!(taken.len() as u64, known, "seed {seed}, {rejected} partial answers");
    }
}
