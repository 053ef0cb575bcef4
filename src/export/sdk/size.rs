//! How large a span will be in a message, without writing it: the program's exporter does that later. Never less than
//! it is, so that a batch stays below what a stock collector takes.

use std::sync::Arc;

use crate::model::attribute::{Attributes, Seen, Value};
use crate::model::span::{Content, Span, SpanEvent, Status};

/// Keys and lengths of a field, generously.
const FIELD: usize = 16;
/// Ids, times, flags and the like.
const FIXED: usize = 96;

/// Sizes of spans, of which those of one batch share their events.
#[derive(Default)]
pub struct Sizes(Option<(Arc<Vec<SpanEvent>>, usize)>);

impl Sizes {
    /// In bytes.
    pub fn of(&mut self, span: &Span) -> usize {
        let known = self.0.take().filter(|(events, _)| Arc::ptr_eq(events, &span.events));
        let (_, events) =
            self.0.insert(known.unwrap_or_else(|| (Arc::clone(&span.events), span.events.iter().map(of_event).sum())));
        let status = match &span.status {
            Status::Unset => 0,
            Status::Error(message) => FIELD + message.len(),
        };
        let state = span.context.trace_state().header().len();
        FIXED + span.name.len() + state + status + of_attributes(&span.attributes) + *events
    }
}

fn of_event(event: &SpanEvent) -> usize {
    let attributes = match &event.content {
        Content::Attributes(attributes) => of_attributes(attributes),
        Content::Stall(stall, limit) => {
            let (mut size, mut count) = (0, 0);
            stall.each_attribute(&mut |key, value| {
                if count < limit.attributes {
                    size += FIELD + key.len() + of_seen(value.cut(limit.value_length));
                }
                count += 1;
            });
            size
        }
    };
    2 * FIELD + event.name.len() + attributes
}

fn of_attributes(attributes: &Attributes) -> usize {
    attributes.iter().map(|(key, value)| FIELD + key.len() + of_value(value)).sum()
}

fn of_value(value: &Value) -> usize {
    match (value.seen(), value) {
        (Some(value), _) => of_seen(value),
        (None, Value::List(values)) => values.iter().map(|value| FIELD + of_value(value)).sum(),
        (None, _) => 0,
    }
}

fn of_seen(value: Seen<'_>) -> usize {
    match value {
        Seen::Text(text) | Seen::Word(text) => FIELD + text.len(),
        // A negative number takes ten bytes.
        _ => FIELD,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

    use super::*;
    use crate::export::otlp::encode;
    use crate::export::pipe::record_len;
    use crate::model::event::{CompileEvent, Kernel, Kind};
    use crate::model::limits::Limits;

    fn span(text: &str, events: usize) -> Span {
        let state = TraceState::from_key_value([("vendor", "1")]).unwrap();
        let id = SpanId::from_bytes([1; 8]);
        let context = SpanContext::new(TraceId::from_bytes([1; 16]), id, TraceFlags::SAMPLED, false, state);
        let mut attributes = Attributes::new();
        attributes.bool("bool", true);
        attributes.int("int", -1);
        attributes.double("double", 0.5);
        attributes.set("list", Value::List(vec![text.into(), (-1).into()]));
        let stall = || {
            let mut event = CompileEvent::new(Kind::Compile, "nvrtc", Kernel::named(text));
            event.duration = Duration::from_millis(7);
            event.thread = Some((7, text.to_owned()));
            let content = Content::Stall(Arc::new(event), Limits::default().of_event());
            SpanEvent { name: "jit.compile".into(), time: 1, content }
        };
        let given = SpanEvent { name: "e".into(), time: 1, content: attributes.clone().into() };
        Span {
            parent: Some(context.clone()),
            context,
            name: text.to_owned().into(),
            started: u64::MAX,
            ended: u64::MAX,
            attributes,
            events: Arc::new((0..events).map(|_| stall()).chain([given]).collect()),
            dropped_events: u32::MAX,
            status: Status::Error(text.to_owned().into()),
        }
    }

    #[test]
    fn a_span_is_never_larger_than_it_was_taken_for_nor_much_smaller() {
        for text in ["", "saxpy", &"añb".repeat(70), &"x".repeat(20_000)] {
            for events in [0, 1, 128] {
                let span = span(text, events);
                let (size, written) = (Sizes::default().of(&span), encode::span(&span, &mut Default::default()).len());
                assert!(size >= record_len(&vec![0; written]), "{events} events: {size} < {written}");
                assert!(size <= 3 * written + 200, "{events} events: {size} for {written}");
            }
        }
    }

    #[test]
    fn shared_events_are_part_of_each_span_that_shares_them() {
        let (mut sizes, one, other) = (Sizes::default(), span("a", 128), span("a", 0));
        let first = sizes.of(&one);
        assert_eq!(sizes.of(&one.clone()), first);
        assert!(sizes.of(&other) < first);
        assert_eq!(sizes.of(&one), first);
    }
}
