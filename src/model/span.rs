//! The span that leaves us: finished, complete, bounded. Plain data, ready for any sink.

use std::borrow::Cow;
use std::sync::Arc;

use opentelemetry::trace::{SpanContext, SpanId};
use serde::Serialize;

use crate::model::attribute::Attributes;
use crate::model::event::{CompileEvent, UnixNanos};
use crate::model::limits::EventLimit;
use crate::semconv::event::EXCEPTION;

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
    #[serde(rename = "attributes")]
    pub content: Content,
}

/// What an event tells.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// A stall. Its attributes are read when they are written, within the limit.
    Stall(Arc<CompileEvent>, EventLimit),
    /// These attributes.
    Attributes(Attributes),
}

impl Content {
    /// The attributes, within the limit.
    pub fn attributes(&self) -> Cow<'_, Attributes> {
        match self {
            Content::Attributes(attributes) => Cow::Borrowed(attributes),
            Content::Stall(event, limit) => {
                let mut attributes = event.attributes();
                limit.apply_to(&mut attributes);
                Cow::Owned(attributes)
            }
        }
    }
}

impl From<Attributes> for Content {
    fn from(attributes: Attributes) -> Self {
        Content::Attributes(attributes)
    }
}

impl Serialize for Content {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.attributes().serialize(serializer)
    }
}

impl SpanEvent {
    /// Its attributes.
    pub fn attributes(&self) -> Cow<'_, Attributes> {
        self.content.attributes()
    }
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
    ///
    /// Shared: the requests of a batch waited for the same compiles, and 128 copies of 128 events are no small thing.
    pub events: Arc<Vec<SpanEvent>>,
    /// Events that the limit took away.
    pub dropped_events: u32,
    /// How it ended.
    pub status: Status,
}

impl Span {
    /// Takes away the events that go out as log-based ones instead. An exception stays: it is why the span failed.
    pub fn without_jit_events(&mut self) {
        if self.events.iter().any(|event| event.name != EXCEPTION) {
            let kept = self.events.iter().filter(|event| event.name == EXCEPTION).cloned().collect();
            self.events = Arc::new(kept);
        }
        self.dropped_events = 0;
    }
}

pub(crate) fn identity<S: serde::Serializer>(context: &SpanContext, serializer: S) -> Result<S::Ok, S::Error> {
    let flags = context.trace_flags().to_u8();
    serializer.collect_str(&format_args!("00-{}-{}-{flags:02x}", context.trace_id(), context.span_id()))
}

fn parent<S: serde::Serializer>(context: &Option<SpanContext>, serializer: S) -> Result<S::Ok, S::Error> {
    match context {
        Some(context) if context.span_id() != SpanId::INVALID => identity(context, serializer),
        _ => serializer.serialize_none(),
    }
}
