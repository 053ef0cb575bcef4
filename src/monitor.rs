//! The middle of everything: a stall begins, ends, and goes to the requests that waited. Never blocks on the network,
//! never grows without bound, never fails; what it cannot keep it counts.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use opentelemetry::trace::{SpanContext, TraceState};
use parking_lot::Mutex;

use crate::config::{Config, Mode};
use crate::event::{CompileEvent, Failure, Kind, UnixNanos, nanos};
use crate::scope::{Operation, Scope, Stall, WeakScope};
use crate::sink::{LiveSpan, Sink};
use crate::source::Source;
use crate::span::Span;
use crate::stats::{Counter, Stats};

/// An unexpected compile in error mode. Its spans have been marked as failed; flush, then raise it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct UnexpectedCompile {
    /// What the operator should read.
    pub message: String,
}

/// The class under which [`UnexpectedCompile`] stands on spans: the name that Python code catches.
pub const ERROR_TYPE: &str = "jitspan.UnexpectedCompileError";

/// Who waits.
pub enum Place {
    /// The requests of this scope.
    Scope(Scope),
    /// Somebody else's span.
    Live(Arc<dyn LiveSpan>),
    /// Nobody.
    Nobody,
}

/// A stall that is going on.
pub struct Pending {
    scope: Scope,
    live: Option<Arc<dyn LiveSpan>>,
    operation: Arc<Operation>,
    outermost: bool,
    armed: bool,
    started: UnixNanos,
    clock: Instant,
}

impl Pending {
    /// When it began.
    pub fn started(&self) -> UnixNanos {
        self.started
    }

    /// How long it has been going on.
    pub fn elapsed(&self) -> Duration {
        self.clock.elapsed()
    }

    /// Whether it began after arming.
    pub fn is_armed(&self) -> bool {
        self.armed
    }
}

/// What became of a stall.
pub struct Recorded {
    /// What was recorded; it can still be lengthened.
    pub event: Arc<CompileEvent>,
    /// Where it was recorded.
    pub scope: Scope,
    /// Requests that waited.
    pub waiting: usize,
    /// To be raised after a flush.
    pub error: Option<UnexpectedCompile>,
    /// The span that is somebody else's, to be flushed as well.
    pub live: Option<Arc<dyn LiveSpan>>,
}

/// Decides: are we armed, what mode, who is in scope, which sink gets it.
pub struct Monitor {
    config: Arc<Config>,
    source: Arc<dyn Source>,
    sinks: Vec<Box<dyn Sink>>,
    stats: Arc<Stats>,
    armed: AtomicBool,
    /// Stalled scopes that have not ended: the shutdown ends them.
    open: Mutex<Vec<WeakScope>>,
    /// Scopes of live spans, so that the second stall on a span adds to the first.
    live: Mutex<VecDeque<Scope>>,
}

impl Monitor {
    /// Live spans whose summaries are remembered.
    const LIVE_KEPT: usize = 256;

    /// A monitor of its own, armed.
    pub fn new(config: Arc<Config>, source: Arc<dyn Source>, sinks: Vec<Box<dyn Sink>>, stats: Arc<Stats>) -> Self {
        let armed = AtomicBool::new(true);
        Monitor { config, source, sinks, stats, armed, open: Mutex::default(), live: Mutex::default() }
    }

    /// What it runs with.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// What it did about itself.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// The same counters for the monitor that comes after this one.
    pub(crate) fn share_stats(&self) -> Arc<Stats> {
        Arc::clone(&self.stats)
    }

    /// Spans that wait for the exporter.
    pub fn queued(&self) -> usize {
        self.sinks.iter().map(|sink| sink.queued()).sum()
    }

    /// Whether a compile is unexpected.
    pub fn is_armed(&self) -> bool {
        self.armed.load(Ordering::Relaxed)
    }

    /// Warm-up is over, or not yet.
    pub fn arm(&self, armed: bool) {
        self.armed.store(armed, Ordering::Relaxed);
    }

    /// The time now, on the wire's clock.
    pub fn now(&self) -> UnixNanos {
        self.source.now()
    }

    /// A stall begins. It nests in `parent`, if that is given, and then waits where `parent` does.
    pub fn begin(&self, place: impl FnOnce() -> Place, parent: Option<&Pending>) -> Pending {
        let started = self.source.now();
        let (scope, live) = match parent {
            Some(parent) => (parent.scope.clone(), parent.live.clone()),
            None => match place() {
                Place::Scope(scope) => (scope, None),
                Place::Live(span) => (self.live_scope(&span.context(), started), Some(span)),
                Place::Nobody => (Scope::orphan(started), None),
            },
        };
        Pending {
            scope,
            live,
            operation: Operation::new(parent.map(|parent| Arc::clone(&parent.operation))),
            outermost: parent.is_none(),
            armed: self.is_armed(),
            started,
            clock: Instant::now(),
        }
    }

    /// A stall has ended, as `event` tells. None if it began before arming: that is warm-up, and only counted.
    pub fn finish(&self, pending: &Pending, mut event: CompileEvent) -> Option<Recorded> {
        self.stats.saw(&event.runtime);
        if !pending.armed {
            self.stats.add(Counter::Warmup, 1);
            return None;
        }
        if event.started == 0 {
            event.started = pending.started;
        }
        self.stats.add(counter(event.kind), 1);
        let event = Arc::new(event);
        let late = pending.scope.has_ended();
        let scope = if late { pending.scope.reopened(event.started) } else { pending.scope.clone() };
        if !scope.has_stalled() {
            self.stats.add(Counter::RequestsStalled, scope.waiting());
            self.stats.add(Counter::RequestsOmitted, scope.omitted());
            self.open(&scope);
        }
        let stall =
            Stall { event: Arc::clone(&event), operation: &pending.operation, own_span: self.config.compile_spans };
        self.export(scope.stall(&stall, &|parent| self.identify(parent), &self.config.limits));
        if let Some(live) = &pending.live {
            live.stalled(&event, &scope.summary());
        }
        let error = self.unexpected(&event, scope.waiting());
        if let Some(error) = &error {
            self.stats.add(Counter::Raised, 1);
            let failure = Failure { error_type: ERROR_TYPE.to_owned(), message: error.message.clone() };
            self.export(scope.fail(&failure, self.source.now(), &self.config.limits));
            if let Some(live) = &pending.live {
                live.fail(&failure);
            }
        } else if late || (scope.is_orphan() && pending.outermost) {
            self.export(scope.close(event.ended(), &self.config.limits));
        }
        Some(Recorded { event, waiting: scope.waiting(), scope, error, live: pending.live.clone() })
    }

    /// Adds to a recorded event a stage that came after it.
    pub fn lengthen(&self, recorded: &Recorded, by: Duration) {
        self.export(recorded.scope.lengthen(&recorded.event, by, &|parent| self.identify(parent)));
    }

    /// Records a compile that Rust code did itself, on the current `tracing` span, else as a root span.
    ///
    /// # Errors
    /// In error mode, after the span has been marked as failed and flushed (within `JITSPAN_FLUSH_TIMEOUT`).
    pub fn record(&self, mut event: CompileEvent) -> Result<(), UnexpectedCompile> {
        if event.started == 0 {
            event.started = self.source.now().saturating_sub(nanos(event.duration));
        }
        let mut pending = self.begin(tracing_place, None);
        pending.started = event.started;
        match self.finish(&pending, event).and_then(|recorded| recorded.error) {
            None => Ok(()),
            Some(error) => {
                self.flush(self.config.flush_timeout);
                Err(error)
            }
        }
    }

    /// The context of a root span: a new trace, sampled or not as the configuration says.
    pub fn new_context(&self) -> SpanContext {
        self.identify(None)
    }

    /// Sends a span that an engine has made of its own knowledge.
    pub fn send(&self, span: Span) {
        self.export(vec![span]);
    }

    /// The scope's requests have been served.
    pub fn close(&self, scope: &Scope) {
        if scope.has_stalled() {
            self.stats.add(Counter::RequestsUnsampled, scope.unsampled());
            self.export(scope.close(self.source.now(), &self.config.limits));
        }
    }

    /// Waits until the sinks have dealt with what they have. False: not within `timeout`.
    pub fn flush(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let left = || deadline.saturating_duration_since(Instant::now());
        let late = self.sinks.iter().filter(|sink| !sink.flush(left())).count();
        let flushed = late == 0;
        if !flushed {
            self.stats.add(Counter::FlushesLate, 1);
        }
        flushed
    }

    /// Ends the scopes that are still open, flushes, and takes nothing from then on.
    pub fn shutdown(&self, timeout: Duration) -> bool {
        let open = std::mem::take(&mut *self.open.lock());
        for scope in open.iter().filter_map(WeakScope::upgrade) {
            self.close(&scope);
        }
        let deadline = Instant::now() + timeout;
        let left = || deadline.saturating_duration_since(Instant::now());
        let late = self.sinks.iter().filter(|sink| !sink.shutdown(left())).count();
        late == 0
    }

    fn export(&self, spans: Vec<Span>) {
        if spans.is_empty() {
            return;
        }
        self.stats.add(Counter::SpansRecorded, spans.len());
        match self.sinks.split_last() {
            None => self.stats.add(Counter::DroppedDisabled, spans.len()),
            Some((last, others)) => {
                for sink in others {
                    sink.export(spans.clone());
                }
                last.export(spans);
            }
        }
    }

    fn unexpected(&self, event: &CompileEvent, waiting: usize) -> Option<UnexpectedCompile> {
        let raises = self.config.mode == Mode::Error
            && self.config.error_on.contains(&event.kind)
            && !event.manual_warmup
            && event.failure.is_none();
        raises.then(|| UnexpectedCompile { message: describe(event, waiting) })
    }

    fn identify(&self, parent: Option<&SpanContext>) -> SpanContext {
        let parent = parent.filter(|parent| parent.is_valid());
        let trace_id = parent.map_or_else(|| self.source.trace_id(), SpanContext::trace_id);
        let sampled = self.config.sampler.keeps(parent, trace_id);
        let flags = opentelemetry::trace::TraceFlags::default().with_sampled(sampled);
        let state = parent.map_or_else(TraceState::default, |parent| parent.trace_state().clone());
        SpanContext::new(trace_id, self.source.span_id(), flags, false, state)
    }

    fn open(&self, scope: &Scope) {
        let mut open = self.open.lock();
        if open.len() >= 64 && open.len().is_power_of_two() {
            open.retain(|scope| scope.upgrade().is_some_and(|scope| scope.has_stalled()));
        }
        open.push(scope.downgrade());
    }

    fn live_scope(&self, span: &SpanContext, started: UnixNanos) -> Scope {
        let mut live = self.live.lock();
        let known = live.iter().find(|scope| {
            scope
                .live_span()
                .is_some_and(|known| known.span_id() == span.span_id() && known.trace_id() == span.trace_id())
        });
        if let Some(scope) = known.filter(|scope| !scope.has_ended()) {
            return scope.clone();
        }
        let scope = Scope::live(span.clone(), started);
        if live.len() >= Self::LIVE_KEPT {
            live.pop_front();
        }
        live.push_back(scope.clone());
        scope
    }
}

/// The current `tracing` span of a Rust program, else nobody.
pub fn tracing_place() -> Place {
    match crate::sink::tracing::current() {
        Some(span) => Place::Live(Arc::new(span)),
        None => Place::Nobody,
    }
}

/// The sentence for the log and for the error. Its first words are those of vLLM's monitor, which operators know.
pub fn describe(event: &CompileEvent, waiting: usize) -> String {
    let did = match event.kind {
        Kind::Compile => "JIT compilation",
        Kind::Autotune => "autotuning",
        Kind::Load => "load from the disk cache",
    };
    let runtime = match &*event.runtime {
        "triton" => "Triton",
        "cutedsl" => "CuTeDSL",
        other => other,
    };
    let waited = match waiting {
        0 => String::new(),
        1 => ", 1 request waited".to_owned(),
        many => format!(", {many} requests waited"),
    };
    format!(
        "{runtime} kernel {did} during inference: {}{waited}. This causes a latency spike; consider extending warmup \
         to cover this shape/config.",
        event.headline()
    )
}

fn counter(kind: Kind) -> Counter {
    match kind {
        Kind::Compile => Counter::Compiles,
        Kind::Autotune => Counter::Autotunes,
        Kind::Load => Counter::Loads,
    }
}
