//! Counts and times of stalls, added up for `metrics`. Our own few instruments: the SDK's hold locks that a fork can
//! leave held, and it has no exemplars. Does no I/O and reads no clock.

mod histogram;
mod series;

use opentelemetry::trace::SpanContext;
use serde::Serialize;

use crate::model::attribute::{Attributes, bounded};
use crate::model::event::{CacheResult, Cause, CompileEvent, Kind, UnixNanos};
use crate::process::lock::Mutex;
use crate::semconv::{attribute as key, metric as name};
use crate::stats::{Counter, Ledger, Stats};
pub use histogram::{BOUNDS, Exemplar, Histogram};
pub use series::{Labels, Series};

/// What the stalls so far come to.
#[derive(Debug, Default)]
pub struct Metrics {
    /// When counting began: the start of every series.
    started: UnixNanos,
    exporters: Exporters,
    state: Mutex<State>,
}

/// Who sends spans and log-based events, as the attributes of their counters.
#[derive(Debug, Default)]
pub struct Exporters {
    /// The exporter of spans.
    pub spans: Attributes,
    /// That of log-based events.
    pub logs: Attributes,
}

#[derive(Debug, Default)]
struct State {
    compile_duration: Series<Histogram>,
    autotune_duration: Series<Histogram>,
    compile_count: Series<u64>,
    load_count: Series<u64>,
    tuner_miss_count: Series<u64>,
    kernel_time: Series<f64>,
    active: Series<u64>,
}

/// One instrument, as it stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// OpenTelemetry's unit.
    pub unit: &'static str,
    /// What it tells.
    pub description: &'static str,
    /// Its series.
    pub data: Data,
}

/// The series of one instrument.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum Data {
    /// A counter of whole things.
    Count(Vec<(Attributes, u64)>),
    /// A number of whole things that are there now.
    UpDown(Vec<(Attributes, u64)>),
    /// A counter of seconds.
    Time(Vec<(Attributes, f64)>),
    /// A histogram of seconds.
    Histogram(Vec<(Attributes, Histogram)>),
}

/// All instruments, as they stand.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// When counting began.
    pub started: UnixNanos,
    /// The instruments.
    pub metrics: Vec<Metric>,
}

const CAUSES: [Option<Cause>; 5] =
    [None, Some(Cause::FirstUse), Some(Cause::NewSpecialization), Some(Cause::Recompile), Some(Cause::Retune)];

impl Metrics {
    /// Nothing counted yet.
    pub fn new(started: UnixNanos) -> Self {
        Metrics { started, ..Metrics::default() }
    }

    /// Whose counters those of the exporters are.
    pub fn with_exporters(mut self, exporters: Exporters) -> Self {
        self.exporters = exporters;
        self
    }

    /// Begins the series of a runtime at 0.
    pub fn watch(&self, runtime: &str) {
        let mut state = self.state.lock();
        let by_runtime = (key::RUNTIME, runtime);
        for cache in [CacheResult::Miss, CacheResult::Unknown] {
            state.compile_duration.of(&[by_runtime, (key::CACHE_RESULT, cache.as_str())]);
        }
        state.autotune_duration.of(&[by_runtime]);
        state.load_count.of(&[by_runtime]);
        state.active.of(&[by_runtime]);
        state.tuner_miss_count.of(&[by_runtime]);
        for cause in CAUSES {
            state.compile_count.of(&[by_runtime, by_cause(cause)]);
        }
    }

    /// Something begins that nests in nothing.
    pub fn begin(&self, runtime: &str) {
        *self.state.lock().active.of(&[(key::RUNTIME, runtime)]) += 1;
    }

    /// It has ended.
    pub fn end(&self, runtime: &str) {
        let mut state = self.state.lock();
        let active = state.active.of(&[(key::RUNTIME, runtime)]);
        *active = active.saturating_sub(1);
    }

    /// Counts one more. `context` is the span of a request that waited.
    pub fn add(&self, event: &CompileEvent, context: Option<&SpanContext>) {
        let seconds = event.duration.as_secs_f64();
        let exemplar = context.filter(|context| context.is_sampled()).map(|context| Exemplar {
            seconds,
            time: event.ended(),
            trace_id: context.trace_id(),
            span_id: context.span_id(),
        });
        let by_runtime = (key::RUNTIME, &*event.runtime);
        let mut state = self.state.lock();
        match event.kind {
            Kind::Compile => *state.compile_count.of(&[by_runtime, by_cause(event.cause)]) += 1,
            Kind::Load => *state.load_count.of(&[by_runtime]) += 1,
            Kind::TunerMiss => *state.tuner_miss_count.of(&[by_runtime]) += 1,
            Kind::Autotune | Kind::Launcher | Kind::Peer => {}
        }
        state.measure(event, |histogram| histogram.add(seconds, exemplar));
    }

    /// Counts the time of a stall that nests in no other: that of the compiles in an autotune is in the autotune's.
    pub fn add_time(&self, event: &CompileEvent) {
        if !matches!(event.kind, Kind::Load | Kind::TunerMiss | Kind::Peer) {
            let kernel = bounded(&event.kernel.name, State::NAME_LENGTH);
            let labels = [(key::RUNTIME, &*event.runtime), (key::KERNEL_NAME, &*kernel)];
            *self.state.lock().kernel_time.of(&labels) += event.duration.as_secs_f64();
        }
    }

    /// All of it, with what `stats` has counted of ourselves.
    pub fn snapshot(&self, stats: &Stats) -> Snapshot {
        let state = self.state.lock();
        let mut metrics = vec![
            metric(
                name::COMPILE_DURATION,
                "s",
                "Compiles after warm-up.",
                Data::Histogram(state.compile_duration.all()),
            ),
            metric(
                name::AUTOTUNE_DURATION,
                "s",
                "Autotunes after warm-up.",
                Data::Histogram(state.autotune_duration.all()),
            ),
            metric(name::COMPILES, "{compile}", "Compiles after warm-up.", Data::Count(state.compile_count.all())),
            metric(
                name::LOADS,
                "{load}",
                "Kernels loaded from a cache on disk after warm-up.",
                Data::Count(state.load_count.all()),
            ),
            metric(
                name::TUNER_MISSES,
                "{miss}",
                "Kernels that ran untuned after warm-up.",
                Data::Count(state.tuner_miss_count.all()),
            ),
            metric(
                name::KERNEL_TIME,
                "s",
                "Time lost to compiles, autotunes and launcher builds after warm-up.",
                Data::Time(state.kernel_time.all()),
            ),
            metric(
                name::ACTIVE_COMPILES,
                "{compile}",
                "Compiles, autotunes and loads that go on now.",
                Data::UpDown(state.active.all()),
            ),
        ];
        drop(state);
        metrics.extend(self.of_ourselves(stats));
        Snapshot { started: self.started, metrics }
    }

    /// Forgets the exemplars: they have been sent.
    pub fn forget_exemplars(&self) {
        let mut state = self.state.lock();
        state.compile_duration.each(Histogram::forget_exemplars);
        state.autotune_duration.each(Histogram::forget_exemplars);
    }
}

impl State {
    /// A label, not a text for reading: a few kernels are named by their whole signature.
    const NAME_LENGTH: usize = 120;

    /// A launcher is no compile: its time is in `kernel_time`, with the rest of what its kernel cost.
    fn measure(&mut self, event: &CompileEvent, change: impl FnOnce(&mut Histogram)) {
        let by_runtime = (key::RUNTIME, &*event.runtime);
        let by_error = event.failure.as_ref().map(|failure| (key::ERROR_TYPE, &*failure.error_type));
        let by_cache = (key::CACHE_RESULT, event.cache.as_str());
        match (event.kind, by_error) {
            (Kind::Compile, None) => change(self.compile_duration.of(&[by_runtime, by_cache])),
            (Kind::Compile, Some(by_error)) => change(self.compile_duration.of(&[by_runtime, by_error, by_cache])),
            (Kind::Autotune, None) => change(self.autotune_duration.of(&[by_runtime])),
            (Kind::Autotune, Some(by_error)) => change(self.autotune_duration.of(&[by_runtime, by_error])),
            (Kind::Load | Kind::Launcher | Kind::TunerMiss | Kind::Peer, _) => {}
        }
    }
}

impl Metrics {
    fn of_ourselves(&self, stats: &Stats) -> Vec<Metric> {
        let count = |counter| Data::Count(vec![(Attributes::new(), stats.get(counter))]);
        let mut metrics = vec![
            metric(
                name::STALLED_REQUESTS,
                "{request}",
                "Requests that waited for a compile.",
                count(Counter::RequestsStalled),
            ),
            metric(
                name::DROPPED_EVENTS,
                "{event}",
                "Events that did not fit on their span.",
                count(Counter::EventsDropped),
            ),
        ];
        let names = (name::SPANS_EXPORTED, name::SPANS_IN_FLIGHT);
        metrics.extend(of_exporter(names, "{span}", &Ledger::SPANS, &self.exporters.spans, stats));
        let names = (name::LOGS_EXPORTED, name::LOGS_IN_FLIGHT);
        metrics.extend(of_exporter(names, "{log_record}", &Ledger::LOGS, &self.exporters.logs, stats));
        metrics
    }
}

/// As OpenTelemetry's conventions for metrics of an SDK say: what was dropped is what was exported with an error.
fn of_exporter(
    (exported, in_flight): (&'static str, &'static str),
    unit: &'static str,
    ledger: &Ledger,
    component: &Attributes,
    stats: &Stats,
) -> [Metric; 2] {
    // Read first: what is recorded later must not make what is in flight seem more than it was.
    let recorded = stats.get(ledger.recorded);
    let taken = stats.get(ledger.exported);
    let mut done = taken;
    let mut series = vec![(component.clone(), taken)];
    for (reason, counter) in ledger.dropped() {
        let mut attributes = component.clone();
        attributes.text(key::ERROR_TYPE, reason);
        done += stats.get(counter);
        series.push((attributes, stats.get(counter)));
    }
    let waiting = Data::UpDown(vec![(component.clone(), recorded.saturating_sub(done))]);
    [
        metric(exported, unit, "Taken by the collector, or dropped with an error.", Data::Count(series)),
        metric(in_flight, unit, "With the exporter: in its queue, or on the way.", waiting),
    ]
}

fn metric(name: &'static str, unit: &'static str, description: &'static str, data: Data) -> Metric {
    Metric { name, unit, description, data }
}

fn by_cause(cause: Option<Cause>) -> (&'static str, &'static str) {
    (key::CAUSE, cause.map_or("unknown", Cause::as_str))
}

#[cfg(test)]
mod tests;
