//! A received span, as the store keeps it and as `--json` prints it. Knows neither protobuf nor the network.

use std::collections::BTreeMap;
use std::sync::Arc;

use opentelemetry::trace::{SpanId, TraceId};
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::semconv::{attribute, event, span};

/// Attributes by name. Numbers stay numbers, lists stay lists, maps become objects; bytes become Base64 text, and
/// a double that JSON cannot say becomes `"NaN"`, `"Infinity"` or `"-Infinity"`.
pub type Attributes = BTreeMap<String, Value>;

/// The name of a stand-in for a span of which only a log-based event has arrived.
pub const NOT_RECEIVED: &str = "(span not received)";

/// One span of a trace. Serialized, this is an element of `spans` in a line of `jitspan view --json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Span {
    /// The trace it belongs to; printed once, on the trace.
    #[serde(skip)]
    pub trace_id: TraceId,
    /// 16 hexadecimal digits.
    #[serde(serialize_with = "as_text")]
    pub span_id: SpanId,
    /// 16 hexadecimal digits, or null for a span without a parent.
    #[serde(serialize_with = "as_text_or_null")]
    pub parent_span_id: Option<SpanId>,
    /// The span's name; `(span not received)` where only a log-based event of the span has come.
    pub name: String,
    /// `INTERNAL`, `SERVER`, ...
    pub kind: Kind,
    /// `service.name` of the resource, or the empty string.
    pub service: String,
    /// Nanoseconds since 1970, as the sender's clock has it.
    pub start_unix_nano: u64,
    /// Nanoseconds since 1970, as the sender's clock has it.
    pub end_unix_nano: u64,
    /// Seconds from start to end; 0 where the end is before the start.
    pub duration_s: f64,
    /// `UNSET`, `OK` or `ERROR`.
    pub status: Status,
    /// The status's message, or the empty string.
    pub status_message: String,
    /// The span's own attributes.
    pub attributes: Attributes,
    /// The attributes of the resource that sent it, shared by all spans of one message.
    #[serde(serialize_with = "as_attributes")]
    pub resource: Arc<Attributes>,
    /// Name of the instrumentation scope.
    pub scope: String,
    /// The span's events, those which came as log records included.
    pub events: Vec<Event>,
    /// Other spans that this one points at.
    pub links: Vec<Link>,
}

/// Something that happened at one moment of a span.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Event {
    /// The event's name, such as `jit.compile`.
    pub name: String,
    /// Nanoseconds since 1970.
    pub time_unix_nano: u64,
    /// The event's attributes.
    pub attributes: Attributes,
    /// It came as a log record, and so must outlive a resent span.
    #[serde(skip)]
    pub from_log: bool,
}

/// A pointer from one span to another.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Link {
    /// 32 hexadecimal digits.
    #[serde(serialize_with = "as_text")]
    pub trace_id: TraceId,
    /// 16 hexadecimal digits.
    #[serde(serialize_with = "as_text")]
    pub span_id: SpanId,
    /// The link's attributes.
    pub attributes: Attributes,
}

/// OpenTelemetry's kind of a span.
#[expect(missing_docs, reason = "the names are OpenTelemetry's")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Kind {
    Unspecified,
    Internal,
    Server,
    Client,
    Producer,
    Consumer,
}

/// OpenTelemetry's status of a span.
#[expect(missing_docs, reason = "the names are OpenTelemetry's")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Status {
    Unset,
    Ok,
    Error,
}

/// The spans of one trace that have arrived.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    /// The id all its spans share.
    pub id: TraceId,
    /// In order of arrival, each span once.
    pub spans: Vec<Span>,
    /// Spans that came after the trace was full.
    pub omitted_spans: usize,
    /// It holds a stall, perhaps in a span that was omitted.
    pub stalled: bool,
    /// It was printed before, with fewer spans.
    pub updated: bool,
}

/// Is this the name of a span or an event that stands for one stall?
#[must_use]
pub fn is_stall_name(name: &str) -> bool {
    [event::COMPILE, event::AUTOTUNE, event::LOAD, event::TUNER_MISS, event::LAUNCHER].contains(&name)
}

impl Span {
    /// Does it say that somebody waited for a compile?
    #[must_use]
    pub fn is_stalled(&self) -> bool {
        self.attributes.get(span::STALLED) == Some(&Value::Bool(true))
            || is_stall_name(&self.name)
            || self.events.iter().any(|event| is_stall_name(&event.name))
    }

    /// Start and end, unless they cannot be drawn: unset, reversed, or beyond what a signed clock can say.
    #[must_use]
    pub fn interval(&self) -> Option<(u64, u64)> {
        interval(self.start_unix_nano, self.end_unix_nano)
    }

    /// Roughly the bytes it takes in memory.
    #[must_use]
    pub fn weight(&self) -> usize {
        size_of::<Self>()
            + self.name.len()
            + self.service.len()
            + self.status_message.len()
            + self.scope.len()
            + weight_of_attributes(&self.attributes)
            // Shared, but counted on each: the last span alone keeps it alive.
            + weight_of_attributes(&self.resource)
            + self.events.iter().map(Event::weight).sum::<usize>()
            + self.links.iter().map(|link| size_of::<Link>() + weight_of_attributes(&link.attributes)).sum::<usize>()
    }
}

impl Event {
    fn weight(&self) -> usize {
        size_of::<Self>() + self.name.len() + weight_of_attributes(&self.attributes)
    }

    /// Is it the same occurrence, told once on the span and once as a log record?
    #[must_use]
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.name == other.name
            && self.time_unix_nano == other.time_unix_nano
            && self.attributes.get(attribute::KERNEL_NAME) == other.attributes.get(attribute::KERNEL_NAME)
    }
}

impl Trace {
    /// Start of the first span and end of the last, of those that can be drawn.
    #[must_use]
    pub fn interval(&self) -> Option<(u64, u64)> {
        self.spans.iter().filter_map(Span::interval).reduce(|one, other| (one.0.min(other.0), one.1.max(other.1)))
    }

    /// Names of the services that took part, sorted.
    #[must_use]
    pub fn services(&self) -> Vec<&str> {
        let mut services: Vec<&str> =
            self.spans.iter().map(|span| span.service.as_str()).filter(|service| !service.is_empty()).collect();
        services.sort_unstable();
        services.dedup();
        services
    }
}

/// The pair, unless it cannot be drawn.
#[must_use]
pub fn interval(start: u64, end: u64) -> Option<(u64, u64)> {
    (start > 0 && start <= end && end <= i64::MAX as u64).then_some((start, end))
}

/// A node of a `BTreeMap` has room for eleven pairs, and on the way there are few.
fn weight_of_attributes(attributes: &Attributes) -> usize {
    let nodes = attributes.len().div_ceil(6) * 11 * (size_of::<String>() + size_of::<Value>());
    nodes + attributes.iter().map(|(key, value)| key.len() + weight_of_value(value)).sum::<usize>()
}

fn weight_of_value(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(values) => values.iter().map(|value| size_of::<Value>() + weight_of_value(value)).sum(),
        Value::Object(map) => {
            let nodes = map.len().div_ceil(6) * 11 * (size_of::<String>() + size_of::<Value>());
            nodes + map.iter().map(|(key, value)| key.len() + weight_of_value(value)).sum::<usize>()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

/// Writes an id as its hexadecimal digits.
///
/// # Errors
/// What the serializer says.
pub fn as_text<S: Serializer>(id: &impl std::fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

fn as_text_or_null<S: Serializer>(id: &Option<SpanId>, serializer: S) -> Result<S::Ok, S::Error> {
    match id {
        Some(id) => serializer.collect_str(id),
        None => serializer.serialize_none(),
    }
}

fn as_attributes<S: Serializer>(attributes: &Arc<Attributes>, serializer: S) -> Result<S::Ok, S::Error> {
    attributes.as_ref().serialize(serializer)
}
