//! How a scope ends: what its stalls come to, as one span for each request that is sampled.

use std::borrow::Cow;
use std::sync::Arc;

use super::{Scope, Served, State};
use crate::model::attribute::Attributes;
use crate::model::event::{Failure, UnixNanos};
use crate::model::limits::Limits;
use crate::model::span::{Content, Span, SpanEvent, Status};
use crate::semconv::{attribute, event as name};

impl Scope {
    /// Ends it. A scope in which nothing compiled, or that has ended, gives nothing. A stall that is still going on in
    /// another thread finds it ended.
    pub fn close(&self, ended: UnixNanos, limits: &Limits) -> Vec<Span> {
        self.end(ended, None, limits)
    }

    /// Ends it as failed: each span carries the status and an exception event.
    pub fn fail(&self, failure: &Failure, ended: UnixNanos, limits: &Limits) -> Vec<Span> {
        self.end(ended, Some(failure), limits)
    }

    fn end(&self, ended: UnixNanos, failure: Option<&Failure>, limits: &Limits) -> Vec<Span> {
        let mut state = self.0.state.lock();
        // A live span is ended by its owner, and may stall again before that, even after an error.
        if state.ended || self.0.served == Served::LiveSpan {
            return Vec::new();
        }
        if state.summary.count() == 0 {
            state.ended = failure.is_none();
            return Vec::new();
        }
        state.ended = true;
        let options = &self.0.options;
        let latest = state.events.iter().chain(&state.own).map(|event| event.ended()).max().unwrap_or(ended);
        let ended = ended.max(latest).max(options.started);
        let events = Arc::new(self.events(&mut state, failure, ended, limits));
        let mut common = state.summary.attributes();
        let own = state.own.clone();
        if let Some(event) = &own {
            common.extend(&event.attributes());
        }
        let failed = failure.or(own.as_ref().and_then(|event| event.failure.as_ref()));
        if let Some(failure) = failure {
            common.text(attribute::ERROR_TYPE, &*failure.error_type);
        }
        common.extend(&options.attributes);
        let sampled = state.identities.iter().zip(&options.requests).filter(|(identity, _)| identity.is_sampled());
        let sampled: Vec<_> = sampled.collect();
        // The last one takes what the others have copied.
        let commons = std::iter::repeat_n(common, sampled.len());
        sampled
            .into_iter()
            .zip(commons)
            .map(|((identity, request), mut attributes)| {
                attributes.extend(&request.attributes);
                limits.apply_to_span(&mut attributes);
                Span {
                    context: identity.clone(),
                    parent: request.parent.clone(),
                    name: own.as_ref().map_or(options.name.clone(), |event| event.kind.event_name().into()),
                    started: options.started,
                    ended,
                    attributes,
                    events: Arc::clone(&events),
                    dropped_events: state.dropped_events,
                    status: status(failed),
                }
            })
            .collect()
    }

    fn events(
        &self,
        state: &mut State,
        failure: Option<&Failure>,
        ended: UnixNanos,
        limits: &Limits,
    ) -> Vec<SpanEvent> {
        state.events.sort_by_key(|event| event.started);
        let mut events: Vec<SpanEvent> = state
            .events
            .iter()
            .map(|event| SpanEvent {
                name: Cow::Borrowed(event.kind.event_name()),
                time: event.began(),
                content: Content::Stall(Arc::clone(event), limits.of_event()),
            })
            .collect();
        let exception = failure.map(|failure| exception(failure, ended, limits));
        let summarized = state.dropped_events > 0 && limits.events > 0;
        let room = limits.events.saturating_sub(usize::from(exception.is_some()) + usize::from(summarized));
        state.dropped_events += events.len().saturating_sub(room) as u32;
        events.truncate(room);
        if summarized {
            events.push(summary(state, ended, limits));
        }
        events.extend(exception.filter(|_| limits.events > 0));
        events
    }
}

/// Stands for the events that did not fit.
fn summary(state: &State, time: UnixNanos, limits: &Limits) -> SpanEvent {
    let mut attributes = Attributes::new();
    attributes.int(attribute::EVENTS_OMITTED, i64::from(state.dropped_events));
    attributes.extend(&state.summary.attributes());
    limits.of_event().apply_to(&mut attributes);
    SpanEvent { name: Cow::Borrowed(name::SUMMARY), time, content: attributes.into() }
}

/// OpenTelemetry's `exception` event.
fn exception(failure: &Failure, time: UnixNanos, limits: &Limits) -> SpanEvent {
    let mut attributes = Attributes::new();
    attributes.text(attribute::EXCEPTION_TYPE, &*failure.error_type);
    attributes.text(attribute::EXCEPTION_MESSAGE, &*failure.message);
    limits.of_event().apply_to(&mut attributes);
    SpanEvent { name: Cow::Borrowed(name::EXCEPTION), time, content: attributes.into() }
}

pub(super) fn status(failure: Option<&Failure>) -> Status {
    failure.map_or(Status::Unset, |failure| Status::Error(failure.message.clone().into()))
}
