//! Our spans and log-based events as OTLP messages, none larger than a stock collector takes.
//!
//! A record becomes bytes when it is queued, and a message is these bytes behind one another: so the queue's bound is
//! exact, nothing is encoded twice, and what waits takes no more room than on the wire.

use bytes::{BufMut, Bytes, BytesMut};
use opentelemetry::trace::SpanContext;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::trace::v1::{Span as Proto, Status as ProtoStatus, span, status};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

use crate::attribute::{Attributes, Value};
use crate::log::LogEvent;
use crate::semconv::SCOPE_NAME;
use crate::span::{Span, SpanEvent, Status};

/// The Collector refuses gRPC messages over 4 MiB for good, so we stay below, with room for the envelope.
pub const MESSAGE_BYTES: usize = 4 * 1024 * 1024 - 64 * 1024;

/// OTLP `SpanFlags`: bit 8 says that bit 9 is meant; bit 9 says that the parent is in another process.
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// One message for these records. `ExportTraceServiceRequest` and `ExportLogsServiceRequest` differ in their names
/// alone: `{1: {1: resource, 2: {1: scope, 2: record, 2: record, ...}}}`.
pub fn message(resource: &[u8], records: &[Vec<u8>]) -> Bytes {
    let scope = scope().encode_to_vec();
    let of_scope: usize = field_len(1, &scope) + records.iter().map(|record| field_len(2, record)).sum::<usize>();
    let of_resource = field_len(1, resource) + header_len(2, of_scope) + of_scope;
    let mut buffer = BytesMut::with_capacity(header_len(1, of_resource) + of_resource);
    put_header(1, of_resource, &mut buffer);
    put_field(1, resource, &mut buffer);
    put_header(2, of_scope, &mut buffer);
    put_field(1, &scope, &mut buffer);
    for record in records {
        put_field(2, record, &mut buffer);
    }
    buffer.freeze()
}

/// What a record adds to a message.
pub fn record_len(record: &[u8]) -> usize {
    field_len(2, record)
}

/// Who made the records.
pub fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: SCOPE_NAME.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..Default::default()
    }
}

fn header_len(tag: u32, length: usize) -> usize {
    key_len(tag) + encoded_len_varint(length as u64)
}

fn field_len(tag: u32, bytes: &[u8]) -> usize {
    header_len(tag, bytes.len()) + bytes.len()
}

fn put_header(tag: u32, length: usize, buffer: &mut BytesMut) {
    encode_key(tag, WireType::LengthDelimited, buffer);
    encode_varint(length as u64, buffer);
}

fn put_field(tag: u32, bytes: &[u8], buffer: &mut BytesMut) {
    put_header(tag, bytes.len(), buffer);
    buffer.put_slice(bytes);
}

/// One span.
pub fn span(from: &Span) -> Vec<u8> {
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
    span.encode_to_vec()
}

/// One log-based event.
pub fn log(from: &LogEvent) -> Vec<u8> {
    let record = LogRecord {
        time_unix_nano: from.time,
        observed_time_unix_nano: from.observed,
        severity_number: from.severity.number(),
        severity_text: from.severity.text().to_owned(),
        body: Some(any(&Value::from(&*from.body))),
        attributes: attributes(&from.attributes),
        dropped_attributes_count: from.attributes.dropped(),
        flags: u32::from(from.context.trace_flags().to_u8()),
        trace_id: from.context.trace_id().to_bytes().to_vec(),
        span_id: from.context.span_id().to_bytes().to_vec(),
        event_name: from.name.clone().into_owned(),
    };
    record.encode_to_vec()
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

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::resource::v1::Resource;
    use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_message_put_together_by_hand_is_the_one_that_prost_encodes(
            names in prop::collection::vec(".{0,300}", 0..20), service in ".{0,200}",
        ) {
            let resource = Resource { attributes: vec![pair("service.name", &Value::from(service))], ..Default::default() };
            let spans: Vec<Proto> = names.into_iter().map(|name| Proto { name, ..Default::default() }).collect();
            let records: Vec<Vec<u8>> = spans.iter().map(Proto::encode_to_vec).collect();
            let bytes = message(&resource.encode_to_vec(), &records);
            let scope_spans = ScopeSpans { scope: Some(scope()), spans, schema_url: String::new() };
            let resource_spans =
                ResourceSpans { resource: Some(resource), scope_spans: vec![scope_spans], schema_url: String::new() };
            let whole = ExportTraceServiceRequest { resource_spans: vec![resource_spans] };
            prop_assert_eq!(bytes, Bytes::from(whole.encode_to_vec()));
        }
    }
}
