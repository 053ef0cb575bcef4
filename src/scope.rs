//! The requests being served on this thread or task, and what they waited for.
//! Does no I/O, reads no clock, knows neither the OpenTelemetry SDK nor Python: time and ids are handed in.

mod ending;

use std::borrow::Cow;
use std::sync::{Arc, OnceLock, Weak};

use crate::process::lock::Mutex;
use opentelemetry::trace::{SpanContext, SpanId};

use crate::clock::Anchor;
use crate::model::attribute::{Attributes, Value, bounded};
use crate::model::event::{CompileEvent, UnixNanos};
use crate::model::limits::Limits;
use crate::model::span::Span;
use crate::model::summary::Summary;
use crate::semconv::{engine, event as name, span as key};

/// One request in a scope.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The span that its client, or the server in front of us, started for it. None: it gets a trace of its own.
    pub parent: Option<SpanContext>,
    /// What is known of this request alone (`gen_ai.request.id`, ...).
    pub attributes: Attributes,
}

/// What a scope is made from.
#[derive(Debug, Clone)]
pub struct ScopeOptions {
    /// Name of the spans, `inference` unless the server knows better.
    pub name: Cow<'static, str>,
    /// Attributes of every span.
    pub attributes: Attributes,
    /// Who waits.
    pub requests: Vec<Request>,
    /// When the requests began to be served.
    pub started: UnixNanos,
}

/// The set of requests being served, each with its trace context. A clone is the same scope.
///
/// Until something compiles it holds what it was given and nothing else; the first stall gives each request a span.
#[derive(Debug, Clone)]
pub struct Scope(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    options: ScopeOptions,
    served: Served,
    /// Requests beyond the limit.
    omitted: usize,
    /// When it was made, if all of its moments are to be told from that one.
    anchor: Option<Anchor>,
    state: Mutex<State>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Served {
    /// Requests, each of which gets a span of ours.
    Requests,
    /// Somebody else's span that is still open: it takes the events itself, and our compile spans are its children.
    LiveSpan,
    /// The stall itself is the span: a root span, or a child of a span that takes nothing. So many requests wait.
    Stall(usize),
}

impl Inner {
    fn new(options: ScopeOptions, served: Served, omitted: usize) -> Self {
        Inner { options, served, omitted, anchor: None, state: Mutex::default() }
    }
}

/// A scope that does not keep itself alive.
#[derive(Debug, Clone)]
pub(crate) struct WeakScope(Weak<Inner>);

impl WeakScope {
    pub(crate) fn upgrade(&self) -> Option<Scope> {
        self.0.upgrade().map(Scope)
    }
}

#[derive(Debug, Default)]
struct State {
    /// One for each request, from the first stall on.
    identities: Vec<SpanContext>,
    events: Vec<Arc<CompileEvent>>,
    dropped_events: u32,
    /// The stall that is itself the span, whatever the limit of events is.
    own: Option<Arc<CompileEvent>>,
    /// Child spans of each request so far.
    own_spans: usize,
    summary: Summary,
    /// Whether anything has been added, here or in the scope that it continues.
    begun: bool,
    /// Whether its requests have been counted as stalled, here or in the scope that it continues.
    counted: bool,
    /// Whether a live span has been given the summary, and been marked as failed.
    told: bool,
    failed: bool,
    ended: bool,
}

/// A compile that is going on, or an autotune that others nest in. Gives one child span to each request.
#[derive(Debug, Default)]
pub struct Operation {
    spans: OnceLock<Vec<SpanId>>,
    parent: Option<Arc<Operation>>,
}

impl Operation {
    /// One that nests in `parent`, if that is given.
    pub fn new(parent: Option<Arc<Operation>>) -> Arc<Self> {
        Arc::new(Operation { spans: OnceLock::new(), parent })
    }

    /// The span id under which its children stand, if it has any and one request waits.
    pub fn span_id(&self) -> Option<SpanId> {
        self.spans.get()?.first().copied()
    }
}

/// Gives a span its identity: the trace of its parent or a new one, a new span id, sampled or not.
pub type Identify<'a> = &'a dyn Fn(Option<&SpanContext>) -> SpanContext;

/// What a stall adds to a scope.
pub struct Stall<'a> {
    /// What happened.
    pub event: Arc<CompileEvent>,
    /// The operation it is.
    pub operation: &'a Operation,
    /// Whether a span of its own is wanted.
    pub own_span: bool,
}

/// What a stall has made of a scope.
#[derive(Debug)]
pub struct Stalled {
    /// Spans of its own, one for each request that is sampled.
    pub spans: Vec<Span>,
    /// Nothing has been added to the scope before.
    pub first: bool,
    /// It is a stall, and the scope's requests have not been counted as stalled yet.
    pub first_stall: bool,
    /// Events that do not fit any more because of it.
    pub dropped: u32,
}

impl Scope {
    /// Child spans of one request: as many as a span has events by default. A storm is told by its summary.
    const OWN_SPANS: usize = 128;

    /// Requests that a line of a log names.
    const NAMED: usize = 3;

    /// A scope for the requests of `options`; those beyond `limit` are counted, not shown.
    pub fn new(options: ScopeOptions, limit: usize) -> Self {
        Scope(Arc::new(Self::inner(options, limit, 0)))
    }

    /// As old as `anchor`, from which all of its moments are told, and for `more` requests than those of `options`, which
    /// were not even read.
    pub fn timed(options: ScopeOptions, limit: usize, more: usize, anchor: Anchor) -> Self {
        let options = ScopeOptions { started: anchor.unix(), ..options };
        Scope(Arc::new(Inner { anchor: Some(anchor), ..Self::inner(options, limit, more) }))
    }

    fn inner(mut options: ScopeOptions, limit: usize, more: usize) -> Inner {
        let batch = options.requests.len().saturating_add(more);
        options.requests.truncate(limit);
        let omitted = batch - options.requests.len();
        if batch > 1 {
            options.attributes.int(key::BATCH_SIZE, batch as i64);
        }
        if omitted > 0 {
            options.attributes.int(key::BATCH_OMITTED, omitted as i64);
        }
        Inner::new(options, Served::Requests, omitted)
    }

    /// The requests of a process that has ended, as far as they are known: so many waited. One for the stall itself where
    /// nobody did.
    pub fn of_ended(options: ScopeOptions, waiting: usize, limit: usize) -> Self {
        if options.requests.is_empty() {
            let orphan = Self::orphan(options.started).0.options.clone();
            return Scope(Arc::new(Inner::new(
                ScopeOptions { attributes: options.attributes, ..orphan },
                Served::Stall(waiting),
                0,
            )));
        }
        let more = waiting.saturating_sub(options.requests.len());
        Scope(Arc::new(Self::inner(options, limit, more)))
    }

    /// A scope for a stall that no request waited for.
    pub fn orphan(started: UnixNanos) -> Self {
        let options = ScopeOptions {
            name: Cow::Borrowed(name::COMPILE),
            attributes: Attributes::new(),
            requests: vec![Request::default()],
            started,
        };
        Scope(Arc::new(Inner::new(options, Served::Stall(0), 0)))
    }

    /// A scope for a stall under a span that takes nothing any more, or is in another process. `id` is the stall's
    /// own, if it has been given away already.
    pub fn under(parent: SpanContext, id: Option<SpanId>, started: UnixNanos) -> Self {
        Self::child(parent, id, started, 1)
    }

    /// A scope for a stall that no request waited for, in the trace of another such stall.
    pub fn after(parent: SpanContext, started: UnixNanos) -> Self {
        Self::child(parent, None, started, 0)
    }

    fn child(parent: SpanContext, id: Option<SpanId>, started: UnixNanos, waiting: usize) -> Self {
        let mut options = Self::orphan(started).0.options.clone();
        let identity = id.map(|id| with_span_id(&parent, Some(&id)));
        options.requests = vec![Request { parent: Some(parent), attributes: Attributes::new() }];
        let inner = Inner::new(options, Served::Stall(waiting), 0);
        inner.state.lock().identities.extend(identity);
        Scope(Arc::new(inner))
    }

    /// A scope for a span that somebody else has opened and will end.
    pub fn live(span: SpanContext, started: UnixNanos) -> Self {
        let scope = Self::orphan(started);
        let inner = Inner::new(scope.0.options.clone(), Served::LiveSpan, 0);
        inner.state.lock().identities = vec![span];
        Scope(Arc::new(inner))
    }

    /// The same requests again, for what happens after this scope has ended: nothing is lost, and nothing is
    /// added to a span that has left.
    pub fn reopened(&self, started: UnixNanos) -> Self {
        let options = ScopeOptions { started, ..self.0.options.clone() };
        let inner = Inner::new(options, self.0.served, self.0.omitted);
        {
            let (mut own, mut state) = (inner.state.lock(), self.0.state.lock());
            own.begun = std::mem::replace(&mut state.begun, true);
            own.counted = std::mem::replace(&mut state.counted, true);
        }
        Scope(Arc::new(inner))
    }

    /// Whether it has no requests at all: what compiles in it keeps nobody waiting.
    pub fn is_empty(&self) -> bool {
        self.0.options.requests.is_empty() && self.0.omitted == 0
    }

    pub(crate) fn anchor(&self) -> Option<&Anchor> {
        self.0.anchor.as_ref()
    }

    /// Whether the stall itself is the span.
    pub fn is_orphan(&self) -> bool {
        matches!(self.0.served, Served::Stall(_))
    }

    /// Who is served, if the span is somebody else's.
    pub fn live_span(&self) -> Option<SpanContext> {
        (self.0.served == Served::LiveSpan).then(|| self.0.state.lock().identities.first().cloned()).flatten()
    }

    pub(crate) fn downgrade(&self) -> WeakScope {
        WeakScope(Arc::downgrade(&self.0))
    }

    /// Whether something compiled in it that has not left yet.
    pub fn has_stalled(&self) -> bool {
        let state = self.0.state.lock();
        state.summary.count() > 0 && !state.ended
    }

    /// How many requests wait, those beyond the limit included.
    pub fn waiting(&self) -> usize {
        match self.0.served {
            Served::Stall(waiting) => waiting,
            _ => self.0.options.requests.len() + self.0.omitted,
        }
    }

    /// What the stalls so far come to, for a span that is somebody else's. True: nobody has asked before.
    pub(crate) fn summary(&self) -> (Attributes, bool) {
        let mut state = self.0.state.lock();
        let first = !std::mem::replace(&mut state.told, true);
        (state.summary.attributes(), first)
    }

    /// Notes that a live span is being marked as failed. True: for the first time.
    pub(crate) fn note_failed(&self) -> bool {
        !std::mem::replace(&mut self.0.state.lock().failed, true)
    }

    /// Counts a stall that another scope keeps. True: its requests have not been counted yet.
    pub(crate) fn count(&self, event: &CompileEvent) -> bool {
        let mut state = self.0.state.lock();
        state.summary.add(event);
        event.stalls && !std::mem::replace(&mut state.counted, true)
    }

    /// The stalls so far, as many as a span may have events.
    pub fn stalls(&self) -> Vec<Arc<CompileEvent>> {
        self.0.state.lock().events.clone()
    }

    /// For a line of a log: whose step it was, and the first of its requests with their traces.
    pub fn whose(&self) -> String {
        let text = |attributes: &Attributes, key: &str| match attributes.get(key) {
            Some(Value::Text(text)) => Some(text.to_string()),
            Some(Value::Int(number)) => Some(number.to_string()),
            _ => None,
        };
        let options = &self.0.options;
        let mut parts: Vec<String> = Vec::new();
        parts.extend(text(&options.attributes, engine::RANK).map(|rank| format!("rank {rank}")));
        let state = self.0.state.lock();
        for (request, identity) in options.requests.iter().zip(&state.identities).take(Self::NAMED) {
            let trace = format!("trace {}", identity.trace_id());
            match text(&request.attributes, engine::REQUEST_ID) {
                Some(id) => parts.push(format!("request {} {trace}", bounded(&id, 100))),
                None => parts.push(trace),
            }
        }
        let more = (options.requests.len() + self.0.omitted).saturating_sub(Self::NAMED);
        if more > 0 {
            parts.push(format!("{more} more"));
        }
        if parts.is_empty() { String::new() } else { format!(" [{}]", parts.join("; ")) }
    }

    /// How many requests are not sampled, so far as that is known.
    pub fn unsampled(&self) -> usize {
        self.0.state.lock().identities.iter().filter(|identity| !identity.is_sampled()).count()
    }

    /// The span of the first request, from the first stall on.
    pub fn identity(&self) -> Option<SpanContext> {
        self.0.state.lock().identities.first().cloned()
    }

    /// The span of each request, from the first stall on.
    pub fn identities(&self) -> Vec<SpanContext> {
        self.0.state.lock().identities.clone()
    }

    /// Name of the spans, and of the first requests the span that was started for them and what is known of them.
    pub fn served(&self, most: usize) -> (Cow<'static, str>, Vec<(Option<SpanContext>, Attributes)>) {
        let options = &self.0.options;
        if let Some(span) = self.live_span() {
            return (options.name.clone(), vec![(Some(span), Attributes::new())]);
        }
        let requests = options.requests.iter().take(most);
        (options.name.clone(), requests.map(|request| (request.parent.clone(), request.attributes.clone())).collect())
    }

    /// How many requests are beyond the limit.
    pub fn omitted(&self) -> usize {
        self.0.omitted
    }

    /// Adds a stall. None: the scope has ended, and takes none.
    pub fn stall(&self, stall: &Stall<'_>, identify: Identify<'_>, limits: &Limits) -> Option<Stalled> {
        let mut state = self.0.state.lock();
        if state.ended {
            return None;
        }
        self.identify(&mut state, identify);
        let first = !std::mem::replace(&mut state.begun, true);
        let first_stall = stall.event.stalls && !std::mem::replace(&mut state.counted, true);
        state.summary.add(&stall.event);
        if self.is_orphan() && stall.operation.parent.is_none() {
            state.own = Some(Arc::clone(&stall.event));
        }
        let dropped = state.dropped_events;
        self.keep(&mut state, &stall.event, limits);
        let dropped = state.dropped_events - dropped;
        Some(Stalled { spans: self.own_spans(&mut state, stall, identify, limits), first, first_stall, dropped })
    }

    /// Keeps an event, if there is room for it.
    fn keep(&self, state: &mut State, event: &Arc<CompileEvent>, limits: &Limits) {
        // The summary of what does not fit takes the place of the last one that did.
        let room = limits.events.saturating_sub(usize::from(state.dropped_events > 0));
        if state.events.len() < room {
            state.events.push(Arc::clone(event));
        } else {
            if state.dropped_events == 0 && state.events.pop().is_some() {
                state.dropped_events += 1;
            }
            state.dropped_events += 1;
        }
    }

    /// The spans that a stall has of its own, one for each request that is sampled.
    fn own_spans(&self, state: &mut State, stall: &Stall<'_>, identify: Identify<'_>, limits: &Limits) -> Vec<Span> {
        if !stall.own_span || state.own_spans >= Self::OWN_SPANS {
            return Vec::new();
        }
        state.own_spans += 1;
        let own = self.span_ids(stall.operation, state, identify);
        if self.is_orphan() && stall.operation.parent.is_none() {
            return Vec::new();
        }
        let parents = stall.operation.parent.as_deref().map(|parent| self.span_ids(parent, state, identify));
        let mut attributes = stall.event.attributes();
        attributes.bool(key::STALLED, stall.event.stalls);
        limits.apply_to_span(&mut attributes);
        let identities = state.identities.iter().enumerate().filter(|(_, identity)| identity.is_sampled());
        identities
            .map(|(index, identity)| Span {
                context: with_span_id(identity, own.get(index)),
                parent: Some(match &parents {
                    Some(parents) => with_span_id(identity, parents.get(index)),
                    None => identity.clone(),
                }),
                name: Cow::Borrowed(stall.event.kind.event_name()),
                started: stall.event.began(),
                ended: stall.event.ended(),
                attributes: attributes.clone(),
                events: Arc::default(),
                dropped_events: 0,
                status: ending::status(stall.event.failure.as_ref()),
            })
            .collect()
    }

    fn identify(&self, state: &mut State, identify: Identify<'_>) {
        if state.identities.is_empty() {
            state.identities =
                self.0.options.requests.iter().map(|request| identify(request.parent.as_ref())).collect();
        }
    }

    /// The span ids of an operation, one for each request; of an orphan's outermost operation, the root span's own.
    fn span_ids<'a>(&self, operation: &'a Operation, state: &State, identify: Identify<'_>) -> &'a [SpanId] {
        operation.spans.get_or_init(|| {
            let outermost = self.is_orphan() && operation.parent.is_none();
            let identities = state.identities.iter();
            identities
                .map(|identity| if outermost { identity.span_id() } else { identify(Some(identity)).span_id() })
                .collect()
        })
    }
}

fn with_span_id(identity: &SpanContext, id: Option<&SpanId>) -> SpanContext {
    let id = id.copied().unwrap_or(identity.span_id());
    SpanContext::new(identity.trace_id(), id, identity.trace_flags(), false, identity.trace_state().clone())
}
