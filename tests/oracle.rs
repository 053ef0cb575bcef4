//! opentelemetry-otlp as the judge: the same span, exported by it and by us, is the same at the receiver. What it is
//! given is what a program's own exporter is given.

mod collector;

use std::sync::Arc;
use std::time::Duration;

use collector::{Collector, Exporter};
use jitspan::export::Sink;
use jitspan::export::sdk::span_data;
use jitspan::model::attribute::{Attributes, Value};
use jitspan::model::event::{CompileEvent, Kernel, Kind};
use jitspan::model::limits::EventLimit;
use jitspan::model::span::{Content, Span, SpanEvent, Status};
use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};
use opentelemetry_otlp::WithExportConfig;
use opentelemetry_proto::tonic::trace::v1::ScopeSpans;
use opentelemetry_sdk::trace::SpanExporter;

const STARTED: u64 = 1_700_000_000_000_000_001;

fn context(span: u8, remote: bool) -> SpanContext {
    let state = TraceState::from_key_value([("vendor", "1")]).unwrap();
    SpanContext::new(TraceId::from_bytes([7; 16]), SpanId::from_bytes([span; 8]), TraceFlags::SAMPLED, remote, state)
}

/// Everything that a span of ours can hold.
fn full() -> Span {
    let mut attributes = Attributes::new();
    attributes.bool("jit.stalled", true);
    attributes.int("jit.compile.count", -3);
    attributes.double("jit.stall.time", 0.25);
    attributes.text("jit.kernels", "añb");
    attributes.set("list", Value::List(vec!["a".into(), "b".into()]));
    attributes.text("one too many", "");
    attributes.limit(5, None);
    let mut stall = CompileEvent::new(Kind::Compile, "nvrtc", Kernel::named("saxpy"));
    stall.duration = Duration::from_millis(180);
    stall.thread = Some((-1, "t".repeat(100)));
    // Fewer attributes than it has, and shorter ones.
    let limit = EventLimit { attributes: 6, value_length: Some(20) };
    let events = [Content::Attributes(attributes.clone()), Content::Stall(Arc::new(stall), limit)];
    let event = |content| SpanEvent { name: "jit.compile".into(), time: STARTED + 5, content };
    Span {
        context: context(2, false),
        parent: Some(context(1, true)),
        name: "inference".into(),
        started: STARTED,
        ended: STARTED + 1_000,
        attributes,
        events: Arc::new(events.map(event).into()),
        dropped_events: 4,
        status: Status::Error("why".into()),
    }
}

/// A root span, that has nothing to say.
fn bare() -> Span {
    let (attributes, events) = (Attributes::new(), Arc::default());
    Span { parent: None, attributes, events, dropped_events: 0, status: Status::Unset, ..full() }
}

fn only_scope(collector: &Collector) -> ScopeSpans {
    let messages = collector.messages();
    assert_eq!(messages.len(), 1);
    let mut scope = messages[0].resource_spans[0].scope_spans[0].clone();
    // "Unset" is written by it as an empty message, and by us as none, which is the same.
    scope.spans.iter_mut().for_each(|span| _ = span.status.get_or_insert_default());
    scope
}

#[tokio::test]
async fn a_span_is_the_same_whoever_exports_it() {
    for span in [full(), bare()] {
        let (for_us, for_them) = (Collector::start().await, Collector::start().await);

        let exporter = Exporter::to(&for_us, "grpc");
        exporter.sink.export(vec![span.clone()]);
        assert!(exporter.flush(Duration::from_secs(10)).await);

        let endpoint = format!("http://{}", for_them.address);
        let judge = opentelemetry_otlp::SpanExporter::builder().with_tonic().with_endpoint(endpoint).build().unwrap();
        judge.export(vec![span_data(&span)]).await.unwrap();

        // Which version of our names these are is said by us alone.
        let mut ours = only_scope(&for_us);
        assert_eq!(std::mem::take(&mut ours.schema_url), jitspan::semconv::SCHEMA_URL);
        assert_eq!(ours, only_scope(&for_them));
    }
}
