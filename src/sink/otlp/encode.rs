//! Our spans as OTLP messages, none larger than a stock collector takes.

use std::sync::Arc;

use opentelemetry::trace::SpanContext;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{
    ResourceSpans, ScopeSpans, Span as Proto, Status as ProtoStatus, span, status,
};
use prost::Message;

use crate::attribute::{Attributes, Value};
use crate::semconv::SCOPE_NAME;
use crate::span::{Span, SpanEvent, Status};

/// The Collector refuses gRPC messages over 4 MiB for good, so we stay below, with room for the envelope.
pub const MESSAGE_BYTES: usize = 4 * 1024 * 1024 - 64 * 1024;

/// OTLP `SpanFlags`: bit 8 says that bit 9 is meant; bit 9 says that the parent is in another process.
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// One message for these spans.
pub fn request(resource: &Arc<Resource>, spans: Vec<Proto>) -> ExportTraceServiceRequest {
    let scope = InstrumentationScope {
        name: SCOPE_NAME.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..Default::default()
    };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource::clone(resource)),
            scope_spans: vec![ScopeSpans { scope: Some(scope), spans, schema_url: String::new() }],
            schema_url: String::new(),
        }],
    }
}

/// One span, and the bytes it takes in a message.
pub fn span(from: &Span) -> (Proto, usize) {
    let parent = from.parent.as_ref();
    let remote = parent.is_some_and(SpanContext::is_remote);
    let flags = u32::from(from.context.trace_flags().to_u8()) | HAS_IS_REMOTE | if remote { IS_REMOTE } else { 0 };
    let span = Proto {
        trace_id: from.context.trace_id().to_bytes().to_vec(),
        span_id: from.context.span_id().to_bytes().to_vec(),
        trace_state: from.context.trace_state().header(),
        parent_span_id: parent.map(|parent| parent.span_id().to_bytes().to_vec()).unwrap_or_default(),
        flags,
        name: from.name.clone().into_owned(),
        kind: span::SpanKind::Internal as i32,
        start_time_unix_nano: from.started,
        end_time_unix_nano: from.ended,
        dropped_attributes_count: from.attributes.dropped(),
        attributes: attributes(&from.attributes),
        events: from.events.iter().map(event).collect(),
        dropped_events_count: from.dropped_events,
        links: Vec::new(),
        dropped_links_count: 0,
        status: match &from.status {
            Status::Unset => None,
            Status::Error(message) => {
                Some(ProtoStatus { message: message.clone().into_owned(), code: status::StatusCode::Error as i32 })
            }
        },
    };
    let size = span.encoded_len() + 8;
    (span, size)
}

/// Attributes as OTLP has them.
pub fn attributes(from: &Attributes) -> Vec<KeyValue> {
    from.iter().map(|(key, value)| pair(key, value)).collect()
}

fn event(from: &SpanEvent) -> span::Event {
    span::Event {
        time_unix_nano: from.time,
        name: from.name.clone().into_owned(),
        dropped_attributes_count: from.attributes.dropped(),
        attributes: attributes(&from.attributes),
    }
}

/// One attribute.
pub fn pair(key: &str, value: &Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(any(value)), ..Default::default() }
}

fn any(value: &Value) -> AnyValue {
    let value = match value {
        Value::Bool(value) => any_value::Value::BoolValue(*value),
        Value::Int(value) => any_value::Value::IntValue(*value),
        Value::Double(value) => any_value::Value::DoubleValue(*value),
        Value::Text(text) => any_value::Value::StringValue(text.clone().into_owned()),
        Value::List(values) => any_value::Value::ArrayValue(ArrayValue { values: values.iter().map(any).collect() }),
    };
    AnyValue { value: Some(value) }
}
