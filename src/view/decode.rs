//! From OTLP messages to records. What has no usable id is left out and counted; nothing else is refused.

use std::sync::Arc;

use opentelemetry::trace::{SpanId, TraceId};
use opentelemetry_proto::tonic::common::v1::any_value::Value as AnyValue;
use opentelemetry_proto::tonic::common::v1::{AnyValue as OptionalValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1 as otlp;
use serde_json::{Map, Number, Value};

use super::record::{Attributes, Event, Kind, Link, NOT_RECEIVED, Span, Status, is_stall_name};
use crate::semconv::event;

/// OpenTelemetry's key for the name of the service.
const SERVICE_NAME: &str = "service.name";

/// The spans of one export message.
#[derive(Debug, Default)]
pub struct Batch {
    /// Those that can be kept.
    pub spans: Vec<Span>,
    /// How many had an id of the wrong length, or all zero, which OTLP calls invalid.
    pub rejected: usize,
}

/// Reads the spans of an export request.
#[must_use]
pub fn spans(resource_spans: Vec<otlp::ResourceSpans>) -> Batch {
    let mut batch = Batch::default();
    for group in resource_spans {
        let sender = Sender::new(group.resource);
        for scope_spans in group.scope_spans {
            let scope = scope_spans.scope.map(|scope| scope.name).unwrap_or_default();
            for span in scope_spans.spans {
                match sender.span(span, &scope) {
                    Some(span) => batch.spans.push(span),
                    None => batch.rejected += 1,
                }
            }
        }
    }
    batch
}

/// Reads the log-based events that belong to a span and tell of a stall, each on a stand-in for its span.
#[must_use]
pub fn log_events(resource_logs: Vec<ResourceLogs>) -> Vec<Span> {
    let mut spans = Vec::new();
    for group in resource_logs {
        let sender = Sender::new(group.resource);
        for scope_logs in group.scope_logs {
            let scope = scope_logs.scope.map(|scope| scope.name).unwrap_or_default();
            spans.extend(scope_logs.log_records.into_iter().filter_map(|record| sender.log_event(record, &scope)));
        }
    }
    spans
}

struct Sender {
    service: String,
    resource: Arc<Attributes>,
}

impl Sender {
    fn new(resource: Option<Resource>) -> Self {
        let resource = attributes(resource.unwrap_or_default().attributes);
        let service = resource.get(SERVICE_NAME).and_then(Value::as_str).unwrap_or_default().to_owned();
        Self { service, resource: Arc::new(resource) }
    }

    fn span(&self, span: otlp::Span, scope: &str) -> Option<Span> {
        let status = span.status.unwrap_or_default();
        Some(Span {
            trace_id: trace_id(&span.trace_id)?,
            span_id: span_id(&span.span_id)?,
            parent_span_id: span_id(&span.parent_span_id),
            name: span.name,
            kind: kind(span.kind),
            service: self.service.clone(),
            start_unix_nano: span.start_time_unix_nano,
            end_unix_nano: span.end_time_unix_nano,
            duration_s: seconds(span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano)),
            status: status_code(status.code),
            status_message: status.message,
            attributes: attributes(span.attributes),
            resource: Arc::clone(&self.resource),
            scope: scope.to_owned(),
            events: span
                .events
                .into_iter()
                .map(|event| Event {
                    name: event.name,
                    time_unix_nano: event.time_unix_nano,
                    attributes: attributes(event.attributes),
                    from_log: false,
                })
                .collect(),
            links: span.links.into_iter().filter_map(link).collect(),
        })
    }

    fn log_event(&self, record: LogRecord, scope: &str) -> Option<Span> {
        if !is_stall_name(&record.event_name) && record.event_name != event::SUMMARY {
            return None;
        }
        let time = if record.time_unix_nano > 0 { record.time_unix_nano } else { record.observed_time_unix_nano };
        Some(Span {
            trace_id: trace_id(&record.trace_id)?,
            span_id: span_id(&record.span_id)?,
            parent_span_id: None,
            name: NOT_RECEIVED.to_owned(),
            kind: Kind::Unspecified,
            service: self.service.clone(),
            start_unix_nano: time,
            end_unix_nano: time,
            duration_s: 0.0,
            status: Status::Unset,
            status_message: String::new(),
            attributes: Attributes::new(),
            resource: Arc::clone(&self.resource),
            scope: scope.to_owned(),
            events: vec![Event {
                name: record.event_name,
                time_unix_nano: time,
                attributes: attributes(record.attributes),
                from_log: true,
            }],
            links: Vec::new(),
        })
    }
}

fn link(link: otlp::span::Link) -> Option<Link> {
    Some(Link {
        trace_id: trace_id(&link.trace_id)?,
        span_id: span_id(&link.span_id)?,
        attributes: attributes(link.attributes),
    })
}

fn trace_id(bytes: &[u8]) -> Option<TraceId> {
    Some(TraceId::from_bytes(bytes.try_into().ok()?)).filter(|id| *id != TraceId::INVALID)
}

fn span_id(bytes: &[u8]) -> Option<SpanId> {
    Some(SpanId::from_bytes(bytes.try_into().ok()?)).filter(|id| *id != SpanId::INVALID)
}

fn kind(kind: i32) -> Kind {
    use otlp::span::SpanKind;
    match SpanKind::try_from(kind) {
        Ok(SpanKind::Internal) => Kind::Internal,
        Ok(SpanKind::Server) => Kind::Server,
        Ok(SpanKind::Client) => Kind::Client,
        Ok(SpanKind::Producer) => Kind::Producer,
        Ok(SpanKind::Consumer) => Kind::Consumer,
        Ok(SpanKind::Unspecified) | Err(_) => Kind::Unspecified,
    }
}

fn status_code(code: i32) -> Status {
    use otlp::status::StatusCode;
    match StatusCode::try_from(code) {
        Ok(StatusCode::Ok) => Status::Ok,
        Ok(StatusCode::Error) => Status::Error,
        Ok(StatusCode::Unset) | Err(_) => Status::Unset,
    }
}

fn attributes(pairs: Vec<KeyValue>) -> Attributes {
    pairs.into_iter().map(|pair| (pair.key, value(pair.value))).collect()
}

fn value(value: Option<OptionalValue>) -> Value {
    match value.and_then(|value| value.value) {
        None => Value::Null,
        Some(AnyValue::StringValue(text)) => Value::String(text),
        Some(AnyValue::BoolValue(flag)) => Value::Bool(flag),
        Some(AnyValue::IntValue(number)) => Value::from(number),
        Some(AnyValue::DoubleValue(number)) => double(number),
        Some(AnyValue::ArrayValue(array)) => array.values.into_iter().map(|item| self::value(Some(item))).collect(),
        Some(AnyValue::KvlistValue(list)) => Value::Object(
            list.values.into_iter().map(|pair| (pair.key, self::value(pair.value))).collect::<Map<_, _>>(),
        ),
        Some(bytes @ AnyValue::BytesValue(_)) => base64(bytes),
        // An index into a table that only profiles have.
        Some(AnyValue::StringValueStrindex(_)) => Value::Null,
    }
}

/// OTLP's own JSON form of bytes, taken out of its wrapping: `{"bytesValue": "..."}`.
fn base64(bytes: AnyValue) -> Value {
    match serde_json::to_value(OptionalValue { value: Some(bytes) }) {
        Ok(Value::Object(mut wrapped)) => wrapped.remove("bytesValue").unwrap_or_default(),
        _ => Value::Null,
    }
}

fn double(number: f64) -> Value {
    match Number::from_f64(number) {
        Some(number) => Value::Number(number),
        None if number.is_nan() => Value::from("NaN"),
        None if number > 0.0 => Value::from("Infinity"),
        None => Value::from("-Infinity"),
    }
}

/// Nanoseconds as seconds.
#[must_use]
pub fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}
