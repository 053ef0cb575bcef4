//! What a replay has done, in one sentence, as counts, and as a span; and what came of it: how many of its kernels were
//! launched, and how many compiles came all the same.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::Monitor;
use crate::manifest::line::Line;
use crate::model::attribute::Attributes;
use crate::model::event::{CacheResult, UnixNanos, nanos};
use crate::model::recipe::What;
use crate::model::span::{Span, Status};
use crate::process;
use crate::process::lock::Mutex;
use crate::semconv::{event, preload as key};
use crate::stats::Counter;

/// Problems that are named.
const PROBLEMS: usize = 20;

/// What became of one line.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Its kernel is in memory: it was there, was on disk, or was compiled.
    Warm(Option<CacheResult>),
    /// This process has no such kernel.
    Gone,
    /// It did not compile.
    Failed(String),
    /// It cannot be replayed: a constant, a type.
    Unsupported(String),
}

/// What a replay has done.
#[derive(Debug, Clone, Default)]
pub struct Receipt {
    total: u64,
    warm: u64,
    compiled: u64,
    loaded: u64,
    tunings: u64,
    tunings_warm: u64,
    gone: u64,
    failed: u64,
    unsupported: u64,
    late: u64,
    /// Replayed, though the kernel's source is another by now.
    pub changed: usize,
    /// Lines that are none.
    pub malformed: usize,
    /// Lines beyond the bounds.
    pub dropped: usize,
    /// Seconds that it took.
    pub seconds: f64,
    /// When it began.
    pub started: UnixNanos,
    problems: Vec<String>,
    notes: Vec<String>,
    refused: bool,
}

/// The last one of this process, and whether its span has been sent.
struct Kept {
    generation: u64,
    receipt: Receipt,
    sent: bool,
}

static KEPT: Mutex<Option<Kept>> = Mutex::new(None);

/// Kernels of replays that have been launched since.
static USED: AtomicU64 = AtomicU64::new(0);

impl Receipt {
    /// Something worth knowing.
    pub fn note(&mut self, text: &str) {
        self.notes.push(text.to_owned());
    }

    /// The whole of it, or a file, could not be used.
    pub fn refuse(&mut self, reason: &str) {
        self.refused = true;
        self.note(reason);
    }

    /// Counts what became of each line. What has no outcome had no time; or, where nothing was done, no kernel.
    pub fn count(&mut self, lines: &[Line], outcomes: &[Option<Outcome>], done: bool) {
        for (line, outcome) in lines.iter().zip(outcomes) {
            let is_tuning = line.recipe.kind == What::Tuning;
            *(if is_tuning { &mut self.tunings } else { &mut self.total }) += 1;
            let problem = match outcome {
                Some(Outcome::Warm(cache)) => {
                    match (is_tuning, cache) {
                        (true, _) => self.tunings_warm += 1,
                        (false, None) => {}
                        (false, Some(CacheResult::Hit)) => self.loaded += 1,
                        (false, Some(_)) => self.compiled += 1,
                    }
                    self.warm += u64::from(!is_tuning);
                    continue;
                }
                Some(Outcome::Gone) => {
                    self.gone += 1;
                    "no such kernel in this process"
                }
                Some(Outcome::Failed(reason)) => {
                    self.failed += 1;
                    reason
                }
                Some(Outcome::Unsupported(reason)) => {
                    self.unsupported += 1;
                    reason
                }
                None if done && !self.refused => {
                    self.late += 1;
                    "no time was left"
                }
                None => {
                    self.gone += 1;
                    continue;
                }
            };
            if self.problems.len() < PROBLEMS {
                let kernel = &line.recipe.kernel;
                let text = format!("{}.{}: {problem}", kernel.module, kernel.shown());
                self.problems.push(crate::model::attribute::bounded(&text, 400).into_owned());
            }
        }
    }

    /// Of Python's `logging`.
    pub fn level(&self) -> u32 {
        const DEBUG: u32 = 10;
        const INFO: u32 = 20;
        const WARNING: u32 = 30;
        match self {
            _ if self.refused || self.failed + self.late > 0 || self.malformed > 0 => WARNING,
            _ if self.total + self.tunings == 0 => DEBUG,
            _ => INFO,
        }
    }

    fn numbers(&self) -> [(&'static str, u64); 13] {
        [
            (key::TOTAL, self.total),
            (key::WARM, self.warm),
            (key::COMPILED, self.compiled),
            (key::LOADED, self.loaded),
            (key::TUNINGS, self.tunings),
            (key::TUNINGS_WARM, self.tunings_warm),
            (key::GONE, self.gone),
            (key::CHANGED, self.changed as u64),
            (key::FAILED, self.failed),
            (key::UNSUPPORTED, self.unsupported),
            (key::MALFORMED, self.malformed as u64),
            (key::DROPPED, self.dropped as u64),
            (key::LATE, self.late),
        ]
    }

    /// For who called.
    ///
    /// # Errors
    /// Python's, when there is no memory.
    pub fn counts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let to = PyDict::new(py);
        for (name, number) in self.numbers() {
            to.set_item(name.strip_prefix(key::PREFIX).unwrap_or(name), number)?;
        }
        to.set_item("seconds", self.seconds)?;
        to.set_item("problems", self.notes.iter().chain(&self.problems).collect::<Vec<_>>())?;
        Ok(to)
    }

    fn span(&self, monitor: &Monitor) -> Span {
        let mut attributes = Attributes::new();
        for (name, number) in self.numbers() {
            attributes.int(name, i64::try_from(number).unwrap_or(i64::MAX));
        }
        let seconds = std::time::Duration::try_from_secs_f64(self.seconds).unwrap_or_default();
        Span {
            context: monitor.new_context(),
            parent: None,
            name: event::PRELOAD.into(),
            started: self.started,
            ended: self.started.saturating_add(nanos(seconds)),
            attributes,
            events: Arc::default(),
            dropped_events: 0,
            status: Status::Unset,
        }
    }
}

impl fmt::Display for Receipt {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            to,
            "preload: {} of {} specializations warm ({} compiled, {} loaded in {:.1} s), {} of {} tunings restored, \
             {} gone, {} unsupported",
            self.warm,
            self.total,
            self.compiled,
            self.loaded,
            self.seconds,
            self.tunings_warm,
            self.tunings,
            self.gone,
            self.unsupported,
        )?;
        let more = [("changed", self.changed as u64), ("failed", self.failed), ("out of time", self.late)];
        let more = more.into_iter().chain([("malformed", self.malformed as u64), ("dropped", self.dropped as u64)]);
        for (word, number) in more.filter(|(_, number)| *number > 0) {
            write!(to, ", {number} {word}")?;
        }
        for text in self.notes.iter().chain(&self.problems).take(5) {
            write!(to, "; {text}")?;
        }
        Ok(())
    }
}

/// Keeps it for [`sentence`], and sends its span once there is where to send it.
pub fn keep(receipt: Receipt) {
    USED.store(0, Ordering::Relaxed);
    *KEPT.lock() = Some(Kept { generation: process::generation(), receipt, sent: false });
    if let Some(monitor) = crate::monitor().filter(|monitor| monitor.is_armed()) {
        send(monitor);
    }
}

/// Sends the span of a replay that came before arming.
pub fn send(monitor: &Monitor) {
    let receipt = {
        let mut kept = KEPT.lock();
        match kept.as_mut() {
            Some(kept) if !kept.sent && kept.generation == process::generation() => {
                kept.sent = true;
                kept.receipt.clone()
            }
            _ => return,
        }
    };
    if receipt.total + receipt.tunings > 0 {
        monitor.send(receipt.span(monitor));
    }
}

/// A kernel that was compiled ahead is launched for the first time.
#[pyfunction]
pub fn used() {
    USED.fetch_add(1, Ordering::Relaxed);
}

/// What came of the last replay, by now. None: there was none in this process.
pub fn sentence() -> Option<String> {
    let kept = KEPT.lock();
    let kept = kept.as_ref().filter(|kept| kept.generation == process::generation())?;
    let monitor = crate::monitor()?;
    let came = monitor.stats().get(Counter::Compiles) + monitor.stats().get(Counter::Loads);
    Some(format!(
        "{}; since then {} of {} used, {came} compiles came all the same",
        kept.receipt,
        USED.load(Ordering::Relaxed),
        kept.receipt.warm,
    ))
}

/// For `stats()`.
pub fn numbers() -> Vec<(String, u64)> {
    let kept = KEPT.lock();
    let Some(kept) = kept.as_ref().filter(|kept| kept.generation == process::generation()) else { return Vec::new() };
    let numbers = kept.receipt.numbers().into_iter();
    let named =
        numbers.map(|(name, number)| (format!("preload.{}", name.strip_prefix(key::PREFIX).unwrap_or(name)), number));
    named.chain([("preload.used".to_owned(), USED.load(Ordering::Relaxed))]).collect()
}
