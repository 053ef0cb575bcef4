//! A histogram of seconds, with exemplars.

use opentelemetry::trace::{SpanId, TraceId};
use serde::Serialize;

use crate::model::event::UnixNanos;

/// Upper bounds, s. A compile takes milliseconds to minutes, an autotune up to ten.
///
/// Rules that name a bucket should name one with a fraction (0.5, 2.5, 7.5): Prometheus writes the whole ones as
/// `le="1"` or `le="1.0"`, depending on the format it was scraped in.
pub const BOUNDS: [f64; 17] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 7.5, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0];

/// One measurement that can be looked up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exemplar {
    /// What was measured.
    pub seconds: f64,
    /// When.
    pub time: UnixNanos,
    /// The trace of a request that waited.
    pub trace_id: TraceId,
    /// Its span.
    pub span_id: SpanId,
}

/// Counts by bucket; the last bucket is for all above the last bound.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Histogram {
    /// Values in each bucket.
    pub counts: [u64; BOUNDS.len() + 1],
    /// Sum of all values, s.
    pub sum: f64,
    /// The smallest and the largest, s.
    pub range: Option<(f64, f64)>,
    /// The latest of each bucket since the last export.
    #[serde(skip)]
    exemplars: [Option<Exemplar>; BOUNDS.len() + 1],
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { counts: [0; BOUNDS.len() + 1], sum: 0.0, range: None, exemplars: [None; BOUNDS.len() + 1] }
    }
}

impl Histogram {
    /// Adds a value.
    pub fn add(&mut self, seconds: f64, exemplar: Option<Exemplar>) {
        // A bound belongs to the bucket below it.
        let bucket = BOUNDS.partition_point(|bound| *bound < seconds);
        self.counts[bucket] += 1;
        self.sum += seconds;
        let (least, most) = self.range.unwrap_or((seconds, seconds));
        self.range = Some((least.min(seconds), most.max(seconds)));
        if exemplar.is_some() {
            self.exemplars[bucket] = exemplar;
        }
    }

    /// How many values.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Measurements that can be looked up.
    pub fn exemplars(&self) -> impl Iterator<Item = &Exemplar> {
        self.exemplars.iter().flatten()
    }

    /// They have been sent.
    pub fn forget_exemplars(&mut self) {
        self.exemplars = [None; BOUNDS.len() + 1];
    }
}
