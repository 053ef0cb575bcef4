//! opentelemetry-otlp as the judge: the same span, exported by it and by us, is the same at the receiver.

mod collector;

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use collector::{Collector, Exporter};
use jitspan::export::Sink;
use jitspan::model::attribute::{Attributes, Value};
use jitspan::model::span::{Span, SpanEvent, Status};
use opentelemetry::trace::{Event, SpanContext, SpanId, SpanKind, TraceFlags, TraceId, TraceState};
use opentelemetry::{Array, InstrumentationScope, KeyValue, StringValue};
use opentelemetry_otlp::WithExportConfig;
use opentelemetry_proto::tonic::trace::v1::Span as Proto;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter, SpanLinks};

const STARTED: u64 = 1_700_000_000_000_000_001;

fn context(span: u8, remote: bool) -> SpanContext {
    let state = TraceState::from_key_value([("vendor", "1")]).unwrap();
    SpanContext::new(TraceId::from_bytes([7; 16]), SpanId::from_bytes([span; 8]), TraceFlags::SAMPLED, remote, state)
}

fn ours() -> Span {
    let mut attributes = Attributes::new();
    attributes.bool("jit.stalled", true);
    attributes.int("jit.compile.count", -3);
    attributes.double("jit.stall.time", 0.25);
    attributes.text("jit.kernels", "añb");
    attributes.set("list", Value::List(vec!["a".into(), "b".into()]));
    let event = SpanEvent { name: "jit.compile".into(), time: STARTED + 5, content: attributes.clone().into() };
    Span {
        context: context(2, false),
        parent: Some(context(1, true)),
        name: "inference".into(),
        started: STARTED,
        ended: STARTED + 1_000,
        attributes,
        events: Arc::new(vec![event]),
        dropped_events: 4,
        status: Status::Error("why".into()),
    }
}

fn theirs() -> SpanData {
    let at = |nanoseconds| UNIX_EPOCH + Duration::from_nanos(nanoseconds);
    let list = Array::String(vec![StringValue::from("a"), StringValue::from("b")]);
    let attributes = vec![
        KeyValue::new("jit.stalled", true),
        KeyValue::new("jit.compile.count", -3),
        KeyValue::new("jit.stall.time", 0.25),
        KeyValue::new("jit.kernels", "añb"),
        KeyValue::new("list", opentelemetry::Value::Array(list)),
    ];
    let mut events = SpanEvents::default();
    events.events.push(Event::new("jit.compile", at(STARTED + 5), attributes.clone(), 0));
    events.dropped_count = 4;
    SpanData {
        span_context: context(2, false),
        parent_span_id: SpanId::from_bytes([1; 8]),
        parent_span_is_remote: true,
        span_kind: SpanKind::Internal,
        name: "inference".into(),
        start_time: at(STARTED),
        end_time: at(STARTED + 1_000),
        attributes,
        dropped_attributes_count: 0,
        events,
        links: SpanLinks::default(),
        status: opentelemetry::trace::Status::error("why"),
        instrumentation_scope: InstrumentationScope::builder("jitspan").build(),
    }
}

fn only_span(collector: &Collector) -> Proto {
    let messages = collector.messages();
    assert_eq!(messages.len(), 1);
    messages[0].resource_spans[0].scope_spans[0].spans[0].clone()
}

#[tokio::test]
async fn a_span_is_the_same_whoever_exports_it() {
    let (for_us, for_them) = (Collector::start().await, Collector::start().await);

    let exporter = Exporter::to(&for_us, "grpc");
    exporter.sink.export(vec![ours()]);
    assert!(exporter.flush(Duration::from_secs(10)).await);

    let endpoint = format!("http://{}", for_them.address);
    let judge = opentelemetry_otlp::SpanExporter::builder().with_tonic().with_endpoint(endpoint).build().unwrap();
    judge.export(vec![theirs()]).await.unwrap();

    assert_eq!(only_span(&for_us), only_span(&for_them));
}
