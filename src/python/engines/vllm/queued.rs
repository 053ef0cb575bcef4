//! The span of a request that waited and was in no step that compiled: in the scheduler's queue, or held by a peer engine.

use std::sync::Arc;

use opentelemetry::trace::SpanContext;

use super::contexts;
use super::stalls::{Interval, Stall, State};
use crate::model::attribute::Attributes;
use crate::model::event::UnixNanos;
use crate::model::span::{Span, SpanEvent, Status};
use crate::model::summary::Summary;
use crate::monitor::Monitor;
use crate::semconv::engine as key;
use crate::stats::Counter;

/// What one request waited for.
pub struct Queued {
    state: State,
    parent: SpanContext,
    attributes: Attributes,
    whole: Interval,
    summary: Summary,
    events: Vec<SpanEvent>,
}

impl Queued {
    /// A request begins to wait.
    pub fn new(id: &str, parent: SpanContext, (state, started): (State, UnixNanos)) -> Self {
        let mut attributes = Attributes::new();
        attributes.text(key::REQUEST_ID, contexts::external(contexts::as_sent(id)));
        attributes.text(key::REQUEST_STATE, state.word());
        let whole = Interval { started, ended: started };
        Queued { state, parent, attributes, whole, summary: Summary::default(), events: Vec::new() }
    }

    /// It waited for this as well.
    pub fn add(&mut self, stall: &Stall, waited: Interval) {
        self.whole.started = self.whole.started.min(waited.started);
        self.whole.ended = self.whole.ended.max(waited.ended);
        self.summary.add(&stall.event(waited));
        let mut attributes = stall.attributes.clone();
        attributes.double(key::WAITED, waited.seconds());
        self.events.push(SpanEvent {
            name: stall.kind.event_name().into(),
            time: waited.started,
            content: attributes.into(),
        });
    }

    /// It waits no more.
    pub fn send(self, monitor: &Monitor) {
        let context = monitor.context_under(&self.parent);
        if !context.is_sampled() {
            return;
        }
        let limits = &monitor.config().limits;
        let mut attributes = self.summary.attributes();
        attributes.extend(&self.attributes);
        limits.apply_to_span(&mut attributes);
        let mut events = self.events;
        let dropped = events.len().saturating_sub(limits.events);
        events.truncate(limits.events);
        monitor.stats().add(Counter::RequestsStalled, 1);
        monitor.send(Span {
            context,
            parent: Some(self.parent),
            name: self.state.span().into(),
            started: self.whole.started,
            ended: self.whole.ended,
            attributes,
            events: Arc::new(events),
            dropped_events: u32::try_from(dropped).unwrap_or(u32::MAX),
            status: Status::Unset,
        });
    }
}
