//! Spans that somebody else has opened: the event goes on the span itself, and its own SDK exports it.
//! Knows no SDK: what it needs of one is the trait `LiveSpan`.

pub mod rust;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use opentelemetry::trace::SpanContext;

use crate::model::attribute::Attributes;
use crate::model::event::{CompileEvent, Failure, UnixNanos};
use crate::process::lock::Mutex;
use crate::scope::Scope;

/// Who waits.
pub enum Place {
    /// The requests of this scope.
    Scope(Scope),
    /// Somebody else's span.
    Live(Arc<dyn LiveSpan>),
    /// A span that takes nothing: it has ended, or it is in another process. The stall becomes a child of it.
    Under(SpanContext),
    /// Nobody, as with another stall, whose trace this one joins.
    After(SpanContext),
    /// Nobody.
    Nobody,
}

/// A span that somebody else has opened: it takes the events itself, and its own SDK exports it.
pub trait LiveSpan: Send + Sync {
    /// Its identity.
    fn context(&self) -> SpanContext;
    /// Whether it still takes anything. Its owner may end it while a kernel compiles.
    fn is_recording(&self) -> bool;
    /// The outermost span of this process around it, if that is another one. A trace search matches on one span, and
    /// people search for the server's.
    fn root(&self) -> Option<Arc<dyn LiveSpan>>;
    /// Adds what happened.
    fn add(&self, event: &CompileEvent);
    /// Sets the summary of all that happened so far. `first`: none has been set on this span yet.
    fn summarise(&self, summary: &Attributes, first: bool);
    /// Marks it as failed. `first`: we have not done so yet.
    fn fail(&self, failure: &Failure, first: bool);
    /// Asks its SDK to send what it holds, and returns at once. The receiver hears when that is done; None: the SDK
    /// cannot be asked.
    fn flush(&self, timeout: Duration) -> Option<Receiver<()>>;
}

/// A live span, the local root that it stands in, and what has stalled on each so far.
#[derive(Clone)]
pub struct Live {
    span: Arc<dyn LiveSpan>,
    scope: Scope,
    root: Option<(Arc<dyn LiveSpan>, Scope)>,
}

impl Live {
    /// The scope of the span itself.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Whether the span still takes anything.
    pub fn is_recording(&self) -> bool {
        self.span.is_recording()
    }

    /// Counts an event that the span's scope knows already, and puts it on the span unless it leaves as a log-based one
    /// alone (`JITSPAN_EVENTS=log`). False: another span under the same local root has stalled before.
    pub fn add(&self, event: &CompileEvent, as_span_event: bool) -> bool {
        if as_span_event {
            self.span.add(event);
        }
        let first = self.root.as_ref().is_none_or(|(_, scope)| scope.count(event));
        self.summarise();
        first
    }

    /// Marks the span as failed. Its root is left alone: whether the error fails it too is for its owner to say.
    pub fn fail(&self, failure: &Failure) {
        self.span.fail(failure, self.scope.note_failed());
    }

    /// Asks the span's SDK to send what it holds, and returns at once. The receiver hears when that is done.
    pub fn flush(&self, timeout: Duration) -> Option<Receiver<()>> {
        self.span.flush(timeout)
    }

    fn summarise(&self) {
        let (summary, first) = self.scope.summary();
        self.span.summarise(&summary, first);
        // The root may have ended before the span in it; an SDK complains of what comes after that.
        if let Some((root, scope)) = self.root.as_ref().filter(|(root, _)| root.is_recording()) {
            let (summary, first) = scope.summary();
            root.summarise(&summary, first);
        }
    }
}

/// The scopes of live spans, so that the second stall on a span adds to the first.
#[derive(Default)]
pub struct LiveScopes(Mutex<VecDeque<Scope>>);

impl LiveScopes {
    /// More requests than one server has in flight; beyond it the oldest span's summary begins anew.
    const KEPT: usize = 256;

    /// What has stalled on `span` so far.
    pub fn of(&self, span: Arc<dyn LiveSpan>, started: UnixNanos) -> Live {
        let scope = self.scope(&span.context(), started);
        let root = span.root().map(|root| {
            let scope = self.scope(&root.context(), started);
            (root, scope)
        });
        Live { span, scope, root }
    }

    fn scope(&self, span: &SpanContext, started: UnixNanos) -> Scope {
        let mut scopes = self.0.lock();
        let known = scopes.iter().find(|scope| {
            scope
                .live_span()
                .is_some_and(|known| known.span_id() == span.span_id() && known.trace_id() == span.trace_id())
        });
        if let Some(scope) = known {
            return scope.clone();
        }
        let scope = Scope::live(span.clone(), started);
        if scopes.len() >= Self::KEPT {
            scopes.pop_front();
        }
        scopes.push_back(scope.clone());
        scope
    }
}
