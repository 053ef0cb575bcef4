//! What becomes of spans where the collector's answer is broken, or is none. Each test closes with the books.

mod collector;

use std::time::Duration;

use collector::Exporter;
use collector::frames::{Act, Frames};

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
