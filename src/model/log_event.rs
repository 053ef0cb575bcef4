//! The log-based event that leaves us (`JITSPAN_EVENTS=log|both`): OpenTelemetry's successor of the span event. Plain
//! data, ready for any sink.

use std::borrow::Cow;

use opentelemetry::trace::SpanContext;
use serde::Serialize;

use crate::model::attribute::Attributes;
use crate::model::event::UnixNanos;

/// How much it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Severity {
    /// As it should be.
    Info,
    /// Somebody waited.
    Warn,
    /// It failed, or failed the request.
    Error,
}

impl Severity {
    /// OpenTelemetry's number: the first of the four that each word has.
    pub fn number(self) -> i32 {
        match self {
            Severity::Info => 9,
            Severity::Warn => 13,
            Severity::Error => 17,
        }
    }

    /// OpenTelemetry's short name.
    pub fn text(self) -> &'static str {
        match self {
            Severity::Info => "INFO",
            Severity::Warn => "WARN",
            Severity::Error => "ERROR",
        }
    }
}

/// A named log record on the span of one request.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LogEvent {
    /// The span it belongs to.
    #[serde(serialize_with = "crate::model::span::identity")]
    pub context: SpanContext,
    /// The same name as the span event's.
    pub name: Cow<'static, str>,
    /// When it happened: when the stall began.
    pub time: UnixNanos,
    /// When we saw it: when the stall had ended.
    pub observed: UnixNanos,
    /// How much it matters.
    pub severity: Severity,
    /// One sentence for people.
    pub body: String,
    /// The same attributes as the span event's.
    pub attributes: Attributes,
}
