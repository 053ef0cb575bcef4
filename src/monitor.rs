//! The middle of everything: a stall begins, ends, and goes to the requests that waited. Never blocks on the network,
//! never grows without bound, never fails; what it cannot keep it counts.

mod pending;
mod unexpected;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use crate::process::lock::Mutex;
use opentelemetry::trace::{SpanContext, TraceState};

use crate::board::Board;
use crate::board::claim::{self, Ended};
use crate::clock::Source;
use crate::config::{Config, Events, Mode};
use crate::export::sinks::{Sinks, wait_for_all};
use crate::export::{Flushing, deadline};
use crate::live::{Live, LiveScopes, Place};
use crate::manifest::line::Line;
use crate::manifest::write::{Writer, Written};
use crate::metrics::Metrics;
use crate::model::event::{CacheResult, CompileEvent, Failure, Kind, UnixNanos, nanos};
use crate::model::log_event::{LogEvent, Severity};
use crate::model::span::Span;
use crate::report;
use crate::scope::{Operation, Scope, Stall, Stalled, WeakScope};
use crate::stats::{Counter, Stats};

pub use pending::Pending;
use pending::Shown;
pub use unexpected::{ERROR_TYPE, UnexpectedCompile};

/// What became of a stall.
pub struct Recorded {
    /// What was recorded.
    pub event: Arc<CompileEvent>,
    /// Where it was recorded.
    pub scope: Scope,
    /// Requests that waited.
    pub waiting: usize,
    /// Whether it nests in no other.
    pub outermost: bool,
    /// To be raised after a flush.
    pub error: Option<UnexpectedCompile>,
    /// The span that is somebody else's, to be flushed as well.
    pub live: Option<Live>,
}

/// Where an event was put.
struct Placed {
    scope: Scope,
    live: Option<Live>,
    /// Whether it is the first that its requests waited for.
    first: bool,
    /// Whether its requests had been served when it ended.
    late: bool,
    /// Events beyond a span's limit.
    dropped: usize,
}

/// Decides: are we armed, what mode, who is in scope, which sink gets it.
pub struct Monitor {
    config: Arc<Config>,
    source: Arc<dyn Source>,
    sinks: Sinks,
    stats: Arc<Stats>,
    armed: AtomicBool,
    /// Whether compiles are expected all the same.
    lenient: AtomicBool,
    /// Stalled scopes that have not ended: the shutdown ends them.
    open: Mutex<Vec<WeakScope>>,
    live: LiveScopes,
    manifest: Option<Writer>,
    board: Arc<Board>,
}

impl Monitor {
    /// A monitor of its own, armed.
    pub fn new(config: Arc<Config>, source: Arc<dyn Source>, sinks: impl Into<Sinks>, stats: Arc<Stats>) -> Self {
        let (armed, lenient, sinks) = (AtomicBool::new(true), AtomicBool::new(false), sinks.into());
        let (open, live, manifest) =
            (Mutex::default(), LiveScopes::default(), config.manifest.clone().map(Writer::new));
        Monitor { config, source, sinks, stats, armed, lenient, open, live, manifest, board: Arc::default() }
    }

    /// Which says on `board` what it compiles.
    #[must_use]
    pub fn with_board(mut self, board: Arc<Board>) -> Self {
        self.board = board;
        self
    }

    /// Where it says what it compiles.
    pub fn board(&self) -> &Arc<Board> {
        &self.board
    }

    /// What it runs with.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// What it did about itself.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Spans that wait for the exporter.
    pub fn queued(&self) -> usize {
        self.sinks.queued()
    }

    /// Log-based events that wait for the exporter.
    pub fn queued_logs(&self) -> usize {
        self.sinks.queued_logs()
    }

    /// What the stalls so far come to.
    pub fn metrics(&self) -> &Metrics {
        &self.sinks.metrics
    }

    /// Begins to send metrics, if that is wanted; `runtimes` are those whose series are to begin at 0.
    pub fn send_metrics(&self, runtimes: &[&str]) {
        for runtime in runtimes {
            self.sinks.metrics.watch(runtime);
        }
        if let Some(exporter) = &self.sinks.metrics_exporter {
            exporter.start();
        }
    }

    /// Whether a compile is unexpected.
    pub fn is_armed(&self) -> bool {
        self.armed.load(Ordering::Relaxed)
    }

    /// Warm-up is over, or not yet.
    pub fn arm(&self, armed: bool) {
        self.armed.store(armed, Ordering::Relaxed);
    }

    /// From now on compiles are recorded as expected: neither warned of nor raised.
    pub fn expect_compiles(&self) {
        self.lenient.store(true, Ordering::Relaxed);
    }

    /// Nothing is watched any more: metrics are sent once more, and not again until [`send_metrics`]. What waits goes on
    /// being sent. Waits for nothing.
    ///
    /// [`send_metrics`]: Self::send_metrics
    pub fn disarm(&self) {
        self.arm(false);
        if let Some(exporter) = &self.sinks.metrics_exporter {
            exporter.pause();
        }
    }

    /// The time now, on the wire's clock.
    pub fn now(&self) -> UnixNanos {
        self.source.now()
    }

    /// A stall begins. It nests in `parent`, if that is given, and then waits where `parent` does.
    pub fn begin(&self, place: impl FnOnce() -> Place, parent: Option<&Pending>) -> Pending {
        let (clock, started) = (Instant::now(), self.source.now());
        let (scope, live) = match parent {
            Some(parent) => (parent.scope.clone(), parent.live.clone()),
            None => match place() {
                Place::Scope(scope) if scope.is_empty() => (Scope::orphan(started), None),
                Place::Scope(scope) => (scope, None),
                Place::Live(span) => {
                    let live = self.live.of(span, started);
                    (live.scope().clone(), Some(live))
                }
                Place::Under(span) => (Scope::under(span, None, started), None),
                Place::After(span) => (Scope::after(span, started), None),
                Place::Nobody => (Scope::orphan(started), None),
            },
        };
        let started = match parent {
            Some(parent) => parent.started.saturating_add(nanos(clock.saturating_duration_since(parent.clock))),
            None => scope.anchor().map_or(started, |anchor| anchor.at(clock)),
        };
        Pending {
            scope,
            live,
            operation: Operation::new(parent.map(|parent| Arc::clone(&parent.operation))),
            held: parent.and_then(|parent| parent.held.clone()),
            holds: false,
            outermost: parent.is_none(),
            armed: self.is_armed(),
            started,
            clock,
            shown: self.shown(),
        }
    }

    fn shown(&self) -> Shown {
        Shown::new(&self.board, &self.sinks.metrics)
    }

    /// A stall begins that waits where `other` does, and nests in nothing.
    pub fn begin_beside(&self, other: &Pending) -> Pending {
        Pending {
            scope: other.scope.clone(),
            live: other.live.clone(),
            operation: Operation::new(None),
            outermost: true,
            armed: self.is_armed(),
            started: self.source.now(),
            clock: Instant::now(),
            held: None,
            holds: false,
            shown: self.shown(),
        }
    }

    /// A stall has ended, as `event` tells. None if it began before arming: that is warm-up, and only counted.
    pub fn finish(&self, pending: &Pending, event: CompileEvent) -> Option<Recorded> {
        let entry = pending.shown.take();
        let recorded = self.record_event(pending, event)?;
        self.board.ended(entry, &recorded.event, (recorded.waiting, recorded.outermost));
        Some(recorded)
    }

    fn record_event(&self, pending: &Pending, event: CompileEvent) -> Option<Recorded> {
        self.stats.saw(&event.runtime);
        if !pending.armed {
            self.stats.add(Counter::Warmup, 1);
            return None;
        }
        let event = Arc::new(self.completed(pending, event));
        let placed = self.place(pending, &event);
        self.count(pending, &event, &placed);
        let waiting = placed.scope.waiting();
        let error = pending.release(self.unexpected(&event, waiting), event.failure.is_some());
        if self.config.events != Events::Span && placed.dropped == 0 {
            self.emit(&event, &placed.scope.identities(), waiting, error.is_some());
        }
        match &error {
            Some(error) => self.raise(error, &placed),
            None => self.settle(pending, &event, &placed),
        }
        Some(Recorded { event, waiting, outermost: pending.outermost, scope: placed.scope, error, live: placed.live })
    }

    /// The event with what only the monitor knows.
    fn completed(&self, pending: &Pending, mut event: CompileEvent) -> CompileEvent {
        event.started.get_or_insert(pending.started);
        event.expected |= self.lenient.load(Ordering::Relaxed);
        // A load onto the device has thresholds of its own.
        let from_disk = event.severity() == Kind::Load && event.cache != CacheResult::Unknown;
        event.stalls = !event.background && (!from_disk || event.duration >= self.config.load_threshold);
        event
    }

    /// Puts the event where its requests are: on our spans, on a live one, or on both.
    fn place(&self, pending: &Pending, event: &Arc<CompileEvent>) -> Placed {
        // Its owner may have ended the span while we compiled: then it takes nothing, and we send the event ourselves.
        let gone = pending.live.as_ref().is_some_and(|live| !live.is_recording());
        let live = pending.live.clone().filter(|_| !gone);
        let (scope, stalled, late) = self.add(pending, event, gone);
        if live.is_none() && stalled.first && !late {
            self.open(&scope);
        }
        self.export(stalled.spans);
        let first_there = live.as_ref().is_none_or(|live| live.add(event, self.config.events != Events::Log));
        Placed { scope, live, first: first_there && stalled.first_stall, late, dropped: stalled.dropped as usize }
    }

    /// Counts the event, and the requests that had not waited before.
    fn count(&self, pending: &Pending, event: &CompileEvent, placed: &Placed) {
        let scope = &placed.scope;
        self.stats.add(counter(event.kind), 1);
        self.stats.add(Counter::EventsDropped, placed.dropped);
        self.sinks.metrics.add(event, scope.identity().as_ref());
        if pending.outermost && !event.background {
            self.sinks.metrics.add_time(event);
        }
        if placed.first && scope.waiting() > 0 {
            self.stats.add(Counter::RequestsStalled, scope.waiting());
            self.stats.add(Counter::RequestsOmitted, scope.omitted());
            self.stats.add(Counter::RequestsUnsampled, scope.unsampled());
        }
    }

    /// Marks the requests as failed: `error` will be raised in them.
    fn raise(&self, error: &UnexpectedCompile, placed: &Placed) {
        self.stats.add(Counter::Raised, 1);
        let failure = Failure { error_type: ERROR_TYPE.to_owned(), message: error.message.clone() };
        self.export(placed.scope.fail(&failure, self.now_in(&placed.scope), &self.config.limits));
        if let Some(live) = &placed.live {
            live.fail(&failure);
        }
    }

    /// Ends a scope that has no other end, and says to a Rust program what happened.
    fn settle(&self, pending: &Pending, event: &CompileEvent, placed: &Placed) {
        let scope = &placed.scope;
        if placed.late || (scope.is_orphan() && pending.outermost) {
            self.export(scope.close(event.ended(), &self.config.limits));
        }
        let (waiting, request) = (scope.waiting(), || scope.identities().into_iter().next());
        if !report::stall(event, waiting, request, || describe(event, waiting)) {
            self.stats.fault("tracing");
        }
    }

    /// Adds a stall to the scope that it began in, or to one that continues it if that has ended: then true as well.
    fn add(&self, pending: &Pending, event: &Arc<CompileEvent>, gone: bool) -> (Scope, Stalled, bool) {
        let mut scope = match pending.scope.live_span() {
            Some(span) if gone && pending.outermost => Scope::under(span, pending.operation.span_id(), event.began()),
            _ => pending.scope.clone(),
        };
        let own_span = self.config.compile_spans || gone;
        let stall = Stall { event: Arc::clone(event), operation: &pending.operation, own_span };
        let mut late = false;
        loop {
            match scope.stall(&stall, &|parent| self.identify(parent), &self.config.limits) {
                Some(stalled) => return (scope, stalled, late),
                // Maybe another thread ended it in this moment, so the scope itself has to say so.
                None => (late, scope) = (true, scope.reopened(event.began())),
            }
        }
    }

    /// Records a compile that Rust code did itself, on the current `tracing` span, else as a root span.
    ///
    /// # Errors
    /// In error mode, after the span has been marked as failed and flushed (within `JITSPAN_FLUSH_TIMEOUT`).
    pub fn record(&self, mut event: CompileEvent) -> Result<(), UnexpectedCompile> {
        let ago = nanos(event.duration);
        let started = *event.started.get_or_insert_with(|| self.source.now().saturating_sub(ago));
        let mut pending = self.begin(crate::live::rust::place, None);
        pending.started = started;
        let Some(recorded) = self.finish(&pending, event) else { return Ok(()) };
        // It is counted there.
        let _ = self.keep(&recorded);
        if recorded.error.is_some() {
            self.flush_with(recorded.live.as_ref(), self.config.flush_timeout);
        }
        recorded.error.map_or(Ok(()), Err)
    }

    /// Writes what was recorded to the manifest, if there is one. Touches the disk: hold nothing that others wait for.
    ///
    /// # Errors
    /// Why it could not be written, in words. It is counted, and the next one is tried again.
    pub fn keep(&self, recorded: &Recorded) -> Result<(), String> {
        let event = &recorded.event;
        let Some(manifest) = self.manifest.as_ref().filter(|_| !event.manual_warmup) else { return Ok(()) };
        match manifest.write(&Line::of(event, recorded.waiting)) {
            Ok(Written::Yes) => self.stats.add(Counter::ManifestWritten, 1),
            Ok(Written::Known) => {}
            Ok(Written::Dropped) => self.stats.add(Counter::ManifestDropped, 1),
            Err(error) => {
                self.stats.add(Counter::ManifestFailed, 1);
                return Err(error.to_string());
            }
        }
        Ok(())
    }

    /// The context of a root span: a new trace, sampled or not as the configuration says.
    pub fn new_context(&self) -> SpanContext {
        self.identify(None)
    }

    /// The context of a span under `parent`.
    pub fn context_under(&self, parent: &SpanContext) -> SpanContext {
        self.identify(Some(parent))
    }

    /// Ends a scope as failed, for an error that is not ours.
    pub fn fail(&self, scope: &Scope, failure: &Failure) {
        self.export(scope.fail(failure, self.now_in(scope), &self.config.limits));
    }

    /// Sends what processes of the same service could not, because they ended in the middle, and have left on the board. The
    /// log is told by the board's notices.
    pub fn send_ended(&self) {
        for ended in self.board.claim() {
            self.board.note(self.record_ended(&ended));
        }
    }

    fn record_ended(&self, ended: &Ended) -> String {
        let (record, mut names) = (&ended.record, Vec::new());
        let armed = record.now.iter().filter(|now| now.armed);
        for now in armed.filter(|now| !now.nested) {
            let Some((scope, event)) = claim::as_event(ended, now, self.config.max_requests) else { continue };
            names.push(format!("{} of {} for {:.1} s", now.kernel, now.runtime, event.duration.as_secs_f64()));
            let failure = event.failure.clone();
            let until = event.ended();
            let mut pending = self.begin(|| Place::Scope(scope.clone()), None);
            pending.armed = true;
            self.record_event(&pending, event);
            if let (Some(failure), false) = (failure, scope.is_orphan()) {
                self.export(scope.fail(&failure, until, &self.config.limits));
            }
        }
        let (pid, who) = (record.process.pid, &record.who);
        let rank = who.rank.map(|rank| format!(", rank {rank}")).unwrap_or_default();
        let waited: usize = record.now.iter().filter(|now| !now.nested).map(|now| now.waiting).sum();
        format!(
            "process {pid} ({}{rank}) ended while it compiled {}; {}, and the spans that it could not send are sent now",
            record.program,
            names.join(", "),
            match waited {
                0 => "nobody waited".to_owned(),
                1 => "1 request waited".to_owned(),
                many => format!("{many} requests waited"),
            }
        )
    }

    /// Sends a span that an engine has made of its own knowledge.
    pub fn send(&self, span: Span) {
        self.export(vec![span]);
    }

    /// The scope's requests have been served.
    pub fn close(&self, scope: &Scope) {
        self.export(scope.close(self.now_in(scope), &self.config.limits));
    }

    /// Waits until the sinks have dealt with what they have. False: not within `timeout`.
    ///
    /// May be called from a signal handler of Python's: those run between two instructions of Python code, and
    /// nothing of ours runs Python while it holds a lock.
    pub fn flush(&self, timeout: Duration) -> bool {
        let flushed = wait_for_all(self.begin_flush(), deadline(timeout));
        if !flushed {
            self.stats.add(Counter::FlushesLate, 1);
        }
        flushed
    }

    /// Asks for a flush, and does not wait.
    pub(crate) fn begin_flush(&self) -> Vec<Flushing> {
        self.sinks.begin_flush()
    }

    /// [`flush`](Self::flush), while the SDK of a live span does the same. Both have until `timeout` is over.
    pub fn flush_with(&self, live: Option<&Live>, timeout: Duration) -> bool {
        self.flush_beside(live.and_then(|live| live.flush(timeout)), timeout)
    }

    /// [`flush`](Self::flush), and then waits for the SDK of a live span that has been asked already.
    pub fn flush_beside(&self, theirs: Option<Receiver<()>>, timeout: Duration) -> bool {
        let deadline = deadline(timeout);
        let flushed = self.flush(timeout);
        if let Some(theirs) = theirs {
            // An error means late, or that their thread has failed; neither is ours to report.
            let _ = theirs.recv_timeout(deadline.saturating_duration_since(Instant::now()));
        }
        flushed
    }

    /// Ends the scopes that are still open, flushes, and takes nothing from then on. What could not be sent within
    /// `timeout` is counted as dropped.
    pub fn shutdown(&self, timeout: Duration) -> bool {
        self.end_shutdown(self.begin_shutdown(), deadline(timeout))
    }

    /// Ends the scopes that are still open, and asks for the last flush.
    pub(crate) fn begin_shutdown(&self) -> Vec<Flushing> {
        let open = std::mem::take(&mut *self.open.lock());
        for scope in open.iter().filter_map(WeakScope::upgrade) {
            self.close(&scope);
        }
        self.sinks.begin_shutdown()
    }

    pub(crate) fn end_shutdown(&self, begun: Vec<Flushing>, deadline: Instant) -> bool {
        self.sinks.end_shutdown(begun, deadline)
    }

    fn export(&self, mut spans: Vec<Span>) {
        if spans.is_empty() {
            return;
        }
        if self.config.events == Events::Log {
            spans.iter_mut().for_each(Span::without_jit_events);
        }
        self.sinks.export(spans, &self.stats);
    }

    /// One log-based event on the span of each request that is sampled. Beyond a span's event limit there are none,
    /// as there are no span events.
    fn emit(&self, event: &CompileEvent, identities: &[SpanContext], waiting: usize, raises: bool) {
        let mut attributes = event.attributes();
        self.config.limits.of_event().apply_to(&mut attributes);
        let severity = match event.kind {
            _ if raises || event.failure.is_some() => Severity::Error,
            _ if event.background => Severity::Info,
            Kind::Compile | Kind::Autotune | Kind::Launcher | Kind::TunerMiss | Kind::Peer => Severity::Warn,
            Kind::Load => Severity::Info,
        };
        let sampled = identities.iter().filter(|identity| identity.is_sampled());
        let events: Vec<LogEvent> = sampled
            .map(|identity| LogEvent {
                context: identity.clone(),
                name: event.kind.event_name().into(),
                time: event.began(),
                observed: event.ended(),
                severity,
                body: describe(event, waiting),
                attributes: attributes.clone(),
            })
            .collect();
        self.sinks.emit(events, &self.stats);
    }

    fn unexpected(&self, event: &CompileEvent, waiting: usize) -> Option<UnexpectedCompile> {
        let raises = self.config.mode == Mode::Error
            && self.config.error_on.contains(&event.severity())
            && !event.manual_warmup
            && !event.expected
            && event.stalls
            && event.failure.is_none();
        raises.then(|| UnexpectedCompile { message: describe(event, waiting) })
    }

    fn identify(&self, parent: Option<&SpanContext>) -> SpanContext {
        let parent = parent.filter(|parent| parent.is_valid());
        let (trace_id, span_id) = match parent {
            Some(parent) => (parent.trace_id(), self.source.span_id()),
            None => self.source.root_ids(),
        };
        let sampled = self.config.sampler.keeps(parent, trace_id);
        let flags = opentelemetry::trace::TraceFlags::default().with_sampled(sampled);
        let state = parent.map_or_else(TraceState::default, |parent| parent.trace_state().clone());
        SpanContext::new(trace_id, span_id, flags, false, state)
    }

    fn now_in(&self, scope: &Scope) -> UnixNanos {
        scope.anchor().map_or_else(|| self.source.now(), |anchor| anchor.at(Instant::now()))
    }

    fn open(&self, scope: &Scope) {
        let mut open = self.open.lock();
        if open.len() >= 64 && open.len().is_power_of_two() {
            open.retain(|scope| scope.upgrade().is_some_and(|scope| scope.has_stalled()));
        }
        open.push(scope.downgrade());
    }
}

/// The sentence for the log and for the error. Its first words are those of vLLM's monitor, which operators know.
pub fn describe(event: &CompileEvent, waiting: usize) -> String {
    let did = match (event.kind, event.severity()) {
        (Kind::Autotune, Kind::Load) => "load of a tuning from the disk cache",
        (Kind::Compile, _) => "JIT compilation",
        (Kind::Autotune, _) => "autotuning",
        (Kind::Load, _) if event.cache == CacheResult::Unknown => "load onto the device",
        (Kind::Load, _) => "load from the disk cache",
        (Kind::TunerMiss, _) => "run without a tuning",
        (Kind::Launcher, _) => "launcher build",
        (Kind::Peer, _) => "stall of a peer",
    };
    if event.background {
        return format!(
            "{} {did} in the background: {}. No request waited for it.",
            event.runtime_title,
            event.headline()
        );
    }
    let waited = match waiting {
        0 => String::new(),
        1 => ", 1 request waited".to_owned(),
        many => format!(", {many} requests waited"),
    };
    format!(
        "{} kernel {did} during inference: {}{waited}. This causes a latency spike; consider extending warmup \
         to cover this shape/config.",
        event.runtime_title,
        event.headline()
    )
}

fn counter(kind: Kind) -> Counter {
    match kind {
        Kind::Compile => Counter::Compiles,
        Kind::Autotune => Counter::Autotunes,
        Kind::Load => Counter::Loads,
        Kind::TunerMiss => Counter::TunerMisses,
        Kind::Launcher => Counter::Launchers,
        Kind::Peer => Counter::Peers,
    }
}
