//! What we did about ourselves: counters that only grow, one table of names. Nothing is lost without a number here.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::export::reach::{Reach, printable};
use crate::process::lock::Mutex;

macro_rules! counters {
    ($($(#[doc = $doc:literal])* $variant:ident = $name:literal,)*) => {
        /// What is counted.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Counter { $($(#[doc = $doc])* $variant,)* }

        impl Counter {
            /// All of them, in the order of the table.
            pub const ALL: &'static [Counter] = &[$(Counter::$variant,)*];

            /// The name in `jitspan.stats()`.
            pub fn name(self) -> &'static str {
                match self { $(Counter::$variant => $name,)* }
            }
        }
    };
}

counters! {
    /// Compiles recorded while armed.
    Compiles = "events.compile",
    /// Autotunes recorded while armed.
    Autotunes = "events.autotune",
    /// Loads from a disk cache recorded while armed.
    Loads = "events.load",
    /// Kernels that ran untuned, recorded while armed.
    TunerMisses = "events.tuner_miss",
    /// Launchers built for a compiled kernel (Triton up to 3.6), recorded while armed.
    Launchers = "events.launcher",
    /// Stalls of a peer rank that held this one.
    Peers = "events.peer",
    /// Compiles, autotunes and loads seen before arming.
    Warmup = "events.warmup",
    /// Re-traces that compiled nothing.
    Retraces = "events.retrace",
    /// Events beyond a span's event limit.
    EventsDropped = "events.dropped.limit",
    /// Requests that waited.
    RequestsStalled = "requests.stalled",
    /// Requests of large batches that got no span of their own.
    RequestsOmitted = "requests.omitted",
    /// Requests whose trace is not sampled: nothing is sent for them.
    RequestsUnsampled = "requests.not_sampled",
    /// Carriers whose trace context could not be read.
    CarriersMalformed = "carriers.malformed",
    /// Spans handed to an exporter (twice, if there are two): exported, dropped or queued, each one of them.
    SpansRecorded = "spans.recorded",
    /// Spans the collector took.
    SpansExported = "spans.exported",
    /// Spans dropped: the queue was full.
    DroppedQueueFull = "spans.dropped.queue_full",
    /// Spans dropped: the collector refused them for good.
    DroppedRefused = "spans.dropped.refused",
    /// Spans dropped: the collector took their message but not them.
    DroppedRejected = "spans.dropped.rejected",
    /// Spans dropped: no collector could be reached in time.
    DroppedUnreachable = "spans.dropped.unreachable",
    /// Spans dropped: one alone is larger than a message may be.
    DroppedTooLarge = "spans.dropped.too_large",
    /// Spans dropped: they came after the shutdown, or the process ended before they were sent.
    DroppedShutdown = "spans.dropped.shutdown",
    /// Spans dropped: a fault of ours while they were sent.
    DroppedFault = "spans.dropped.fault",
    /// Spans dropped: exporting is switched off.
    DroppedDisabled = "spans.dropped.disabled",
    /// Log-based events handed to the exporter: exported, dropped or queued, each one of them.
    LogsRecorded = "logs.recorded",
    /// Log-based events the collector took.
    LogsExported = "logs.exported",
    /// Log-based events dropped: the queue was full.
    LogsQueueFull = "logs.dropped.queue_full",
    /// Log-based events dropped: the collector refused them for good.
    LogsRefused = "logs.dropped.refused",
    /// Log-based events dropped: the collector took their message but not them.
    LogsRejected = "logs.dropped.rejected",
    /// Log-based events dropped: no collector could be reached in time.
    LogsUnreachable = "logs.dropped.unreachable",
    /// Log-based events dropped: one alone is larger than a message may be.
    LogsTooLarge = "logs.dropped.too_large",
    /// Log-based events dropped: they came after the shutdown, or the process ended before they were sent.
    LogsShutdown = "logs.dropped.shutdown",
    /// Log-based events dropped: a fault of ours while they were sent.
    LogsFault = "logs.dropped.fault",
    /// Log-based events dropped: exporting is switched off.
    LogsDisabled = "logs.dropped.disabled",
    /// Messages of metrics the collector took. A later message tells all that an earlier one did, so none is kept.
    MetricsExported = "metrics.exports",
    /// Messages of metrics that did not reach the collector, or were refused.
    MetricsFailed = "metrics.exports.failed",
    /// Lines written to the manifest.
    ManifestWritten = "manifest.written",
    /// Lines that were too long, or beyond the bounds of one process.
    ManifestDropped = "manifest.dropped",
    /// Lines that could not be written.
    ManifestFailed = "manifest.failed",
    /// Errors raised in error mode.
    Raised = "errors.raised",
    /// Flushes that did not finish in time.
    FlushesLate = "flushes.late",
}

/// The books of one signal: `recorded` = `exported` + all the rest + what is queued.
#[derive(Debug, Clone, Copy)]
pub struct Ledger {
    /// What they are.
    pub noun: &'static str,
    /// Handed to the exporter.
    pub recorded: Counter,
    /// Taken by the collector.
    pub exported: Counter,
    /// The queue was full.
    pub queue_full: Counter,
    /// Refused for good.
    pub refused: Counter,
    /// Left out of a message that was taken.
    pub rejected: Counter,
    /// No collector in time.
    pub unreachable: Counter,
    /// Larger than a message may be.
    pub too_large: Counter,
    /// Too late.
    pub shutdown: Counter,
    /// A fault of ours.
    pub fault: Counter,
    /// Exporting is switched off.
    pub disabled: Counter,
}

impl Ledger {
    /// Of spans.
    pub const SPANS: Ledger = Ledger {
        noun: "spans",
        recorded: Counter::SpansRecorded,
        exported: Counter::SpansExported,
        queue_full: Counter::DroppedQueueFull,
        refused: Counter::DroppedRefused,
        rejected: Counter::DroppedRejected,
        unreachable: Counter::DroppedUnreachable,
        too_large: Counter::DroppedTooLarge,
        shutdown: Counter::DroppedShutdown,
        fault: Counter::DroppedFault,
        disabled: Counter::DroppedDisabled,
    };

    /// Of log-based events.
    pub const LOGS: Ledger = Ledger {
        noun: "log-based events",
        recorded: Counter::LogsRecorded,
        exported: Counter::LogsExported,
        queue_full: Counter::LogsQueueFull,
        refused: Counter::LogsRefused,
        rejected: Counter::LogsRejected,
        unreachable: Counter::LogsUnreachable,
        too_large: Counter::LogsTooLarge,
        shutdown: Counter::LogsShutdown,
        fault: Counter::LogsFault,
        disabled: Counter::LogsDisabled,
    };

    /// What was dropped, each with the word for its reason, `error.type` on the wire. OpenTelemetry's own words where it
    /// has them: `queue_full`, `already_shutdown`, and `rejected` for a partial success.
    pub const fn dropped(&self) -> [(&'static str, Counter); 8] {
        [
            ("queue_full", self.queue_full),
            ("refused", self.refused),
            ("rejected", self.rejected),
            ("unreachable", self.unreachable),
            ("too_large", self.too_large),
            ("already_shutdown", self.shutdown),
            ("fault", self.fault),
            ("disabled", self.disabled),
        ]
    }
}

/// Counters of one process.
#[derive(Debug)]
pub struct Stats {
    values: [AtomicU64; Counter::ALL.len()],
    runtimes: Mutex<BTreeMap<String, u64>>,
    faults: Mutex<BTreeMap<String, u64>>,
    export_error: Mutex<Option<String>>,
    reach: Reach,
}

impl Default for Stats {
    fn default() -> Self {
        Stats {
            values: [const { AtomicU64::new(0) }; Counter::ALL.len()],
            runtimes: Mutex::default(),
            faults: Mutex::default(),
            export_error: Mutex::default(),
            reach: Reach::default(),
        }
    }
}

impl Stats {
    /// Places of faults that are told apart; a fault's place is ours, so there are few.
    const PLACES: usize = 256;

    /// Counts `amount` more.
    pub fn add(&self, counter: Counter, amount: usize) {
        self.values[counter as usize].fetch_add(amount as u64, Ordering::Relaxed);
    }

    /// The count so far.
    pub fn get(&self, counter: Counter) -> u64 {
        self.values[counter as usize].load(Ordering::Relaxed)
    }

    /// Counts an event of a runtime, recorded or warm-up.
    pub fn saw(&self, runtime: &str) {
        let mut runtimes = self.runtimes.lock();
        if let Some(count) = runtimes.get_mut(runtime) {
            *count += 1;
        } else if runtimes.len() < Self::PLACES {
            runtimes.insert(runtime.to_owned(), 1);
        }
    }

    /// Events of a runtime.
    pub fn seen(&self, runtime: &str) -> u64 {
        self.runtimes.lock().get(runtime).copied().unwrap_or_default()
    }

    /// Counts a fault of ours at `place`. True if it is the first there: that one is logged.
    pub fn fault(&self, place: &str) -> bool {
        let mut faults = self.faults.lock();
        if !faults.contains_key(place) && faults.len() >= Self::PLACES {
            return false;
        }
        let count = faults.entry(place.to_owned()).or_default();
        *count += 1;
        *count == 1
    }

    /// Faults at places that begin with `prefix`.
    pub fn faults(&self, prefix: &str) -> u64 {
        self.faults.lock().iter().filter(|(place, _)| place.starts_with(prefix)).map(|(_, count)| count).sum()
    }

    /// Remembers why the collector did not take something; the newest reason stays. The first is told.
    pub fn note_export_error(&self, message: &str) {
        let message = printable(message);
        let before = self.export_error.lock().replace(message.clone());
        if before.is_none() && !crate::report::export_failed(&message) {
            self.fault("tracing");
        }
    }

    /// Whether collectors take what is sent to them.
    pub(crate) fn reach(&self) -> &Reach {
        &self.reach
    }

    /// Why the collector last did not take something.
    pub fn export_error(&self) -> Option<String> {
        self.export_error.lock().clone()
    }

    /// All counters, and the faults as `faults.<place>`.
    pub fn snapshot(&self) -> BTreeMap<String, u64> {
        let counters = Counter::ALL.iter().map(|counter| (counter.name().to_owned(), self.get(*counter)));
        let faults = self.faults.lock();
        let faults = faults.iter().map(|(place, count)| (format!("faults.{place}"), *count));
        counters.chain(faults).collect()
    }
}
