//! OpenTelemetry's span limits, as `OTEL_*_LIMIT` set them.

use crate::model::attribute::Attributes;

/// How much a span may hold. Defaults are the specification's, but for the length of a text: verbose mode sends
/// signatures and stacks, and a text without bound would make the queue's bound meaningless.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Attributes on a span.
    pub attributes: usize,
    /// Events on a span.
    pub events: usize,
    /// Attributes on an event.
    pub event_attributes: usize,
    /// Characters in a text.
    pub value_length: Option<usize>,
    /// Characters in a text of a span; falls back to `value_length`.
    pub span_value_length: Option<usize>,
}

/// How much one event may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventLimit {
    /// Attributes.
    pub attributes: usize,
    /// Characters in a text.
    pub value_length: Option<usize>,
}

impl EventLimit {
    /// Cuts the attributes of an event.
    pub fn apply_to(self, attributes: &mut Attributes) {
        attributes.limit(self.attributes, self.value_length);
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            attributes: 128,
            events: 128,
            event_attributes: 128,
            value_length: Some(Self::VALUE_LENGTH),
            span_value_length: None,
        }
    }
}

impl Limits {
    /// Characters in a text, unless a variable says otherwise.
    pub const VALUE_LENGTH: usize = 8192;

    /// Cuts the attributes of a span.
    pub fn apply_to_span(&self, attributes: &mut Attributes) {
        attributes.limit(self.attributes, self.span_value_length.or(self.value_length));
    }

    /// What one event may hold.
    pub fn of_event(&self) -> EventLimit {
        EventLimit { attributes: self.event_attributes, value_length: self.value_length }
    }
}
