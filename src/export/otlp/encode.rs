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

use super::wire::{self, Message};
use crate::model::attribute::{Attributes, Seen, Value};
use crate::model::event::CompileEvent;
use crate::model::limits::EventLimit;
use crate::model::log_event::LogEvent;
use crate::model::span::{Content, Span, SpanEvent, Status};
use crate::semconv::{SCHEMA_URL, SCOPE_NAME};

/// OTLP `SpanFlags`: bit 8 says that bit 9 is meant; bit 9 says that the parent is in another process.
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// One message for these records. `ExportTraceServiceRequest` and `ExportLogsServiceRequest` differ in their names
/// alone: `{1: {1: resource, 2: {1: scope, 2: record, 2: record, ..., 3: schema URL}}}`.
pub fn message(resource: &[u8], records: &[Vec<u8>]) -> Bytes {
    let scope = scope().encode_to_vec();
    let schema = SCHEMA_URL.as_bytes();
    let of_records: usize = records.iter().map(|record| field_len(2, record)).sum();
    let of_scope = field_len(1, &scope) + of_records + field_len(3, schema);
    let of_resource = field_len(1, resource) + header_len(2, of_scope) + of_scope;
    let mut buffer = BytesMut::with_capacity(header_len(1, of_resource) + of_resource);
    put_header(1, of_resource, &mut buffer);
    put_field(1, resource, &mut buffer);
    put_header(2, of_scope, &mut buffer);
    put_field(1, &scope, &mut buffer);
    for record in records {
        put_field(2, record, &mut buffer);
    }
    put_field(3, schema, &mut buffer);
    buffer.freeze()
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
    let events = shared.of(&from.events);
    wire::written(|span| put_span(span, from, events))
}

/// `events` are the span's own, if they have been written before.
fn put_span(span: &mut Message, from: &Span, events: Option<&[u8]>) {
    let parent = from.parent.as_ref();
    let remote = parent.is_some_and(SpanContext::is_remote);
    let flags = u32::from(from.context.trace_flags().to_u8()) | HAS_IS_REMOTE | if remote { IS_REMOTE } else { 0 };
    identity(span, &from.context, [1, 2]);
    span.bytes(3, from.context.trace_state().header().as_bytes());
    if let Some(parent) = parent {
        span.put_bytes(4, &parent.span_id().to_bytes());
    }
    span.bytes(5, from.name.as_bytes());
    span.number(6, span::SpanKind::Internal as u64);
    span.fixed_64(7, from.started);
    span.fixed_64(8, from.ended);
    put_attributes(span, [9, 10], &from.attributes);
    match events {
        Some(fields) => span.fields(fields),
        None => put_events(span, &from.events),
    }
    span.number(12, from.dropped_events.into());
    if let Status::Error(message) = &from.status {
        span.message(15, |status| {
            status.bytes(2, message.as_bytes());
            status.number(3, status::StatusCode::Error as u64);
        });
    }
    span.fixed_32(16, flags);
}

/// The events of a span as its field, written once for all requests of a batch.
#[derive(Default)]
pub struct SharedEvents(Option<(Arc<Vec<SpanEvent>>, Vec<u8>)>);

impl SharedEvents {
    /// None: no other span has them, so they are written into it.
    fn of(&mut self, events: &Arc<Vec<SpanEvent>>) -> Option<&[u8]> {
        let known = self.0.take().filter(|(known, _)| Arc::ptr_eq(known, events));
        if known.is_none() && Arc::strong_count(events) == 1 {
            return None;
        }
        let fields = || (Arc::clone(events), wire::written(|span| put_events(span, events)));
        Some(&self.0.insert(known.unwrap_or_else(fields)).1)
    }
}

fn put_events(span: &mut Message, events: &[SpanEvent]) {
    for from in events {
        span.message(11, |event| {
            event.fixed_64(1, from.time);
            event.bytes(2, from.name.as_bytes());
            match &from.content {
                Content::Attributes(attributes) => put_attributes(event, [3, 4], attributes),
                Content::Stall(stall, limit) => put_stall(event, [3, 4], stall, *limit),
            }
        });
    }
}

/// One log-based event.
pub fn log(from: &LogEvent) -> Vec<u8> {
    wire::written(|record| {
        record.fixed_64(1, from.time);
        record.number(2, from.severity.number() as u64);
        record.bytes(3, from.severity.text().as_bytes());
        record.message(5, |body| body.put_bytes(1, from.body.as_bytes()));
        put_attributes(record, [6, 7], &from.attributes);
        record.fixed_32(8, from.context.trace_flags().to_u8().into());
        identity(record, &from.context, [9, 10]);
        record.fixed_64(11, from.observed);
        record.bytes(12, from.name.as_bytes());
    })
}

fn identity(record: &mut Message, context: &SpanContext, [trace_id, span_id]: [u64; 2]) {
    record.put_bytes(trace_id, &context.trace_id().to_bytes());
    record.put_bytes(span_id, &context.span_id().to_bytes());
}

/// The attributes, and how many the limits took away.
fn put_attributes(to: &mut Message, [list, dropped]: [u64; 2], from: &Attributes) {
    for (key, value) in from.iter() {
        match value.seen() {
            Some(value) => put_pair(to, list, key, value),
            None => to.message(list, |pair| {
                pair.bytes(1, key.as_bytes());
                pair.message(2, |any| put_value(any, value));
            }),
        }
    }
    to.number(dropped, from.dropped().into());
}

/// The attributes of a stall that fit, and how many do not.
fn put_stall(to: &mut Message, [list, dropped]: [u64; 2], from: &CompileEvent, limit: EventLimit) {
    let mut count = 0;
    from.each_attribute(&mut |key, value| {
        if count < limit.attributes {
            put_pair(to, list, &key, value.cut(limit.value_length));
        }
        count += 1;
    });
    to.number(dropped, count.saturating_sub(limit.attributes) as u64);
}

/// One attribute.
fn put_pair(to: &mut Message, list: u64, key: &str, value: Seen<'_>) {
    let name = key.as_bytes();
    let is_written = match value {
        Seen::Text(text) | Seen::Word(text) => to.short_pair(list, name, [0x0a, text.len() as u8], text.as_bytes()),
        Seen::Double(value) => {
            let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
            to.short_pair(list, name, [0x21, a, b, c, d, e, f, g, h], &[])
        }
        Seen::Bool(_) | Seen::Int(_) => false,
    };
    if !is_written {
        to.message(list, |pair| {
            pair.bytes(1, name);
            pair.message(2, |any| put_seen(any, value));
        });
    }
}

/// The one of `AnyValue` that it is.
fn put_seen(any: &mut Message, value: Seen<'_>) {
    match value {
        Seen::Text(text) | Seen::Word(text) => any.put_bytes(1, text.as_bytes()),
        Seen::Bool(value) => any.put_number(2, value.into()),
        Seen::Int(value) => any.put_number(3, value as u64),
        Seen::Double(value) => any.put_fixed_64(4, value.to_bits()),
    }
}

fn put_value(any: &mut Message, value: &Value) {
    match (value.seen(), value) {
        (Some(value), _) => put_seen(any, value),
        (None, Value::List(values)) => any.message(5, |list| {
            for value in values {
                list.message(1, |any| put_value(any, value));
            }
        }),
        (None, _) => {}
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
mod tests;
