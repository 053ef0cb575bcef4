//! The span that leaves us: finished, complete, bounded. Plain data, ready for any sink.

use std::borrow::Cow;

use opentelemetry::trace::{SpanContext, SpanId};
use serde::Serialize;

use crate::attribute::Attributes;
use crate::event::UnixNanos;

/// How the span ended.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub enum Status {
    /// Nothing to say.
    #[default]
    Unset,
    /// Failed, with what the operator should read.
    Error(Cow<'static, str>),
}

/// A named moment on a span.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SpanEvent {
    /// Name.
    pub name: Cow<'static, str>,
    /// When.
    pub time: UnixNanos,
    /// Attributes.
    pub attributes: Attributes,
}

/// A finished span.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Span {
    /// Its own identity.
    #[serde(serialize_with = "identity")]
    pub context: SpanContext,
    /// The span it is a child of.
    #[serde(serialize_with = "parent")]
    pub parent: Option<SpanContext>,
    /// Name.
    pub name: Cow<'static, str>,
    /// Start.
    pub started: UnixNanos,
    /// End, never before the start.
    pub ended: UnixNanos,
    /// Attributes.
    pub attributes: Attributes,
    /// Events, in the order they began.
    pub events: Vec<SpanEvent>,
    /// Events that the limit took away.
    pub dropped_events: u32,
    /// How it ended.
    pub status: Status,
}

impl Span {
    /// Bytes it holds, roughly: what a queue counts against its bound.
    pub fn size(&self) -> usize {
        let events: usize = self.events.iter().map(|event| event.attributes.size() + event.name.len() + 32).sum();
        self.attributes.size() + events + self.name.len() + 128
    }
}

fn identity<S: serde::Serializer>(context: &SpanContext, serializer: S) -> Result<S::Ok, S::Error> {
    let flags = context.trace_flags().to_u8();
    serializer.collect_str(&format_args!("00-{}-{}-{flags:02x}", context.trace_id(), context.span_id()))
}

fn parent<S: serde::Serializer>(context: &Option<SpanContext>, serializer: S) -> Result<S::Ok, S::Error> {
    match context {
        Some(context) if context.span_id() != SpanId::INVALID => identity(context, serializer),
        _ => serializer.serialize_none(),
    }
}
