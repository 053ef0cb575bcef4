//! Our spans and log-based events as OTLP messages, none larger than a stock collector takes.
//!
//! A record becomes bytes when it is queued, and a message is these bytes behind one another: so the queue's bound is
//! exact, nothing is encoded twice, and what waits takes no more room than on the wire.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use opentelemetry::trace::SpanContext;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::{span, status};
use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

use super::wire::Message;
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

/// One span. `shared` holds the events of the span before, which are this one's too where a batch waited.
pub fn span(from: &Span, shared: &mut SharedEvents) -> Vec<u8> {
    let parent = from.parent.as_ref();
    let remote = parent.is_some_and(SpanContext::is_remote);
    let flags = u32::from(from.context.trace_flags().to_u8()) | HAS_IS_REMOTE | if remote { IS_REMOTE } else { 0 };
    let events = shared.of(&from.events);
    let mut span = Message::with_capacity(RECORD_BYTES + from.name.len() + bytes_of(&from.attributes) + events.len());
    identity(&mut span, &from.context, [1, 2]);
    span.bytes(3, from.context.trace_state().header().as_bytes());
    if let Some(parent) = parent {
        span.put_bytes(4, &parent.span_id().to_bytes());
    }
    span.bytes(5, from.name.as_bytes());
    span.number(6, span::SpanKind::Internal as u64);
    span.fixed_64(7, from.started);
    span.fixed_64(8, from.ended);
    put_attributes(&mut span, [9, 10], &from.attributes);
    span.written(events);
    span.number(12, from.dropped_events.into());
    if let Status::Error(message) = &from.status {
        span.message(15, |status| {
            status.bytes(2, message.as_bytes());
            status.number(3, status::StatusCode::Error as u64);
        });
    }
    span.fixed_32(16, flags);
    span.into_bytes()
}

/// The events of a span as its field, written once for all requests of a batch.
#[derive(Default)]
pub struct SharedEvents(Option<(Arc<Vec<SpanEvent>>, Vec<u8>)>);

impl SharedEvents {
    fn of(&mut self, events: &Arc<Vec<SpanEvent>>) -> &[u8] {
        let known = self.0.take().filter(|(known, _)| Arc::ptr_eq(known, events));
        &self.0.insert(known.unwrap_or_else(|| (Arc::clone(events), fields(events)))).1
    }
}

fn fields(events: &[SpanEvent]) -> Vec<u8> {
    let bytes = events.iter().map(|event| EVENT_BYTES + event.name.len() + bytes_of(&event.attributes)).sum();
    let mut span = Message::with_capacity(bytes);
    for from in events {
        span.message(11, |event| {
            event.fixed_64(1, from.time);
            event.bytes(2, from.name.as_bytes());
            put_attributes(event, [3, 4], &from.attributes);
        });
    }
    span.into_bytes()
}

/// One log-based event.
pub fn log(from: &LogEvent) -> Vec<u8> {
    let bytes = RECORD_BYTES + from.name.len() + from.body.len() + bytes_of(&from.attributes);
    let mut record = Message::with_capacity(bytes);
    record.fixed_64(1, from.time);
    record.number(2, from.severity.number() as u64);
    record.bytes(3, from.severity.text().as_bytes());
    record.message(5, |body| body.put_bytes(1, from.body.as_bytes()));
    put_attributes(&mut record, [6, 7], &from.attributes);
    record.fixed_32(8, from.context.trace_flags().to_u8().into());
    identity(&mut record, &from.context, [9, 10]);
    record.fixed_64(11, from.observed);
    record.bytes(12, from.name.as_bytes());
    record.into_bytes()
}

fn identity(record: &mut Message, context: &SpanContext, [trace_id, span_id]: [u64; 2]) {
    record.put_bytes(trace_id, &context.trace_id().to_bytes());
    record.put_bytes(span_id, &context.span_id().to_bytes());
}

/// What a record and an event take beside their texts and attributes, about: ids, times, keys and lengths.
const RECORD_BYTES: usize = 96;
const EVENT_BYTES: usize = 16;

/// What attributes take, about: each has four keys, and lengths of one or two bytes.
fn bytes_of(attributes: &Attributes) -> usize {
    attributes.size() + 9 * attributes.len()
}

/// The attributes, and how many the limits took away.
fn put_attributes(to: &mut Message, [list, dropped]: [u64; 2], from: &Attributes) {
    for (key, value) in from.iter() {
        to.message(list, |pair| {
            pair.bytes(1, key.as_bytes());
            pair.message(2, |any| put_value(any, value));
        });
    }
    to.number(dropped, from.dropped().into());
}

/// The one of `AnyValue` that it is.
fn put_value(any: &mut Message, value: &Value) {
    match value {
        Value::Text(text) => any.put_bytes(1, text.as_bytes()),
        Value::Bool(value) => any.put_number(2, (*value).into()),
        Value::Int(value) => any.put_number(3, *value as u64),
        Value::Double(value) => any.put_fixed_64(4, value.to_bits()),
        Value::List(values) => any.message(5, |list| {
            for value in values {
                list.message(1, |any| put_value(any, value));
            }
        }),
    }
}

/// Attributes as OTLP has them.
pub fn attributes(from: &Attributes) -> Vec<KeyValue> {
    from.iter().map(|(key, value)| pair(key, value)).collect()
}

/// One attribute.
pub fn pair(key: &str, value: &Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(proto(value)), ..Default::default() }
}

fn proto(value: &Value) -> AnyValue {
    let value = match value {
        Value::Bool(value) => any_value::Value::BoolValue(*value),
        Value::Int(value) => any_value::Value::IntValue(*value),
        Value::Double(value) => any_value::Value::DoubleValue(*value),
        Value::Text(text) => any_value::Value::StringValue(text.clone().into_owned()),
        Value::List(values) => any_value::Value::ArrayValue(ArrayValue { values: values.iter().map(proto).collect() }),
    };
    AnyValue { value: Some(value) }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::logs::v1::LogRecord;
    use opentelemetry_proto::tonic::resource::v1::Resource;
    use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span as Proto, Status as ProtoStatus};
    use proptest::prelude::*;

    use super::*;
    use crate::log::Severity;

    // The same through prost, which knows the fields' numbers and types from OpenTelemetry's own definitions.

    fn event_by_prost(from: &SpanEvent) -> span::Event {
        span::Event {
            time_unix_nano: from.time,
            name: from.name.clone().into_owned(),
            dropped_attributes_count: from.attributes.dropped(),
            attributes: attributes(&from.attributes),
        }
    }

    fn span_by_prost(from: &Span) -> Vec<u8> {
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
            events: from.events.iter().map(event_by_prost).collect(),
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

    fn log_by_prost(from: &LogEvent) -> Vec<u8> {
        let record = LogRecord {
            time_unix_nano: from.time,
            observed_time_unix_nano: from.observed,
            severity_number: from.severity.number(),
            severity_text: from.severity.text().to_owned(),
            body: Some(proto(&Value::from(&*from.body))),
            attributes: attributes(&from.attributes),
            dropped_attributes_count: from.attributes.dropped(),
            flags: u32::from(from.context.trace_flags().to_u8()),
            trace_id: from.context.trace_id().to_bytes().to_vec(),
            span_id: from.context.span_id().to_bytes().to_vec(),
            event_name: from.name.clone().into_owned(),
        };
        record.encode_to_vec()
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let plain = prop_oneof![
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<i32>().prop_map(|number| Value::from(f64::from(number) / 8.0)),
            ".{0,200}".prop_map(Value::from),
            Just(Value::from("x".repeat(20_000))),
        ];
        let list = prop::collection::vec(plain.clone(), 0..5).prop_map(Value::List);
        prop_oneof![4 => plain, 1 => list]
    }

    fn any_attributes() -> impl Strategy<Value = Attributes> {
        (prop::collection::vec(("[a-z.]{0,20}", any_value()), 0..12), 0..20_usize).prop_map(|(pairs, count)| {
            let mut attributes = Attributes::new();
            pairs.into_iter().for_each(|(key, value)| attributes.set(key, value));
            attributes.limit(count, None);
            attributes
        })
    }

    fn any_context() -> impl Strategy<Value = SpanContext> {
        let state = prop_oneof![Just(""), Just("vendor=1,other=two")];
        (any::<u128>(), any::<u64>(), any::<u8>(), any::<bool>(), state).prop_map(
            |(trace, span, flags, remote, state)| {
                let flags = opentelemetry::TraceFlags::new(flags);
                SpanContext::new(trace.into(), span.into(), flags, remote, state.parse().expect("a trace state"))
            },
        )
    }

    fn any_event() -> impl Strategy<Value = SpanEvent> {
        (".{0,40}", any::<u64>(), any_attributes()).prop_map(|(name, time, attributes)| SpanEvent {
            name: name.into(),
            time,
            attributes,
        })
    }

    fn any_span() -> impl Strategy<Value = Span> {
        let status = prop_oneof![Just(Status::Unset), ".{0,40}".prop_map(|text| Status::Error(text.into()))];
        let identity = (any_context(), prop::option::of(any_context()), ".{0,40}", any::<[u64; 2]>());
        let content = (any_attributes(), prop::collection::vec(any_event(), 0..4), any::<u32>(), status);
        (identity, content).prop_map(|((context, parent, name, [started, ended]), content)| {
            let (attributes, events, dropped_events, status) = content;
            let (name, events) = (name.into(), Arc::new(events));
            Span { context, parent, name, started, ended, attributes, events, dropped_events, status }
        })
    }

    fn any_log() -> impl Strategy<Value = LogEvent> {
        let severity = prop_oneof![Just(Severity::Info), Just(Severity::Warn), Just(Severity::Error)];
        (any_context(), any_event(), any::<u64>(), severity, ".{0,200}").prop_map(
            |(context, SpanEvent { name, time, attributes }, observed, severity, body)| LogEvent {
                context,
                name,
                time,
                observed,
                severity,
                body,
                attributes,
            },
        )
    }

    proptest! {
        #[test]
        fn records_are_the_bytes_that_prost_writes(spans in prop::collection::vec(any_span(), 1..4), log in any_log()) {
            let mut shared = SharedEvents::default();
            for one in &spans {
                prop_assert_eq!(span(one, &mut shared), span_by_prost(one));
                // A sibling in the batch.
                let other = Span { started: one.started ^ 1, ..one.clone() };
                prop_assert_eq!(span(&other, &mut shared), span_by_prost(&other));
            }
            prop_assert_eq!(super::log(&log), log_by_prost(&log));
        }

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
