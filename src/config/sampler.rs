//! `OTEL_TRACES_SAMPLER`: which traces are kept. A request's own `sampled` flag decides, unless told otherwise.

use std::fmt;

use opentelemetry::trace::{SpanContext, TraceId};

use super::read::{ConfigError, Said};

/// The specification's built-in samplers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampler {
    /// Ask the parent first.
    parent_based: bool,
    root: Root,
    /// Share of root traces that are kept, 0 to 1.
    ratio: f64,
}

impl Default for Sampler {
    fn default() -> Self {
        Sampler { parent_based: true, root: Root::All, ratio: 1.0 }
    }
}

/// What decides where no parent does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Root {
    All,
    None,
    Ratio,
}

impl Sampler {
    /// `OTEL_TRACES_SAMPLER`.
    pub(super) fn read(&mut self, said: &Said<'_>) -> Result<(), ConfigError> {
        const ACCEPTED: &str = "always_on, always_off, traceidratio, parentbased_always_on, parentbased_always_off or parentbased_traceidratio";
        const WORDS: [(&str, (bool, Root)); 6] = [
            ("always_on", (false, Root::All)),
            ("always_off", (false, Root::None)),
            ("traceidratio", (false, Root::Ratio)),
            ("parentbased_always_on", (true, Root::All)),
            ("parentbased_always_off", (true, Root::None)),
            ("parentbased_traceidratio", (true, Root::Ratio)),
        ];
        if let Some((parent_based, root)) = said.word(ACCEPTED, &WORDS)? {
            let ratio = if root == Root::None { 0.0 } else { 1.0 };
            *self = Sampler { parent_based, root, ratio };
        }
        Ok(())
    }

    /// `OTEL_TRACES_SAMPLER_ARG`, which means nothing without a sampler that has a ratio.
    pub(super) fn read_ratio(&mut self, said: &Said<'_>) -> Result<(), ConfigError> {
        if self.root == Root::Ratio {
            let read = |text: &str| text.parse::<f64>().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
            self.ratio = said.value("a number from 0 to 1", read)?.unwrap_or(1.0);
        }
        Ok(())
    }

    /// The ratio, where one is used.
    pub(super) fn ratio_text(&self) -> Option<f64> {
        (self.root == Root::Ratio).then_some(self.ratio)
    }

    /// Whether it keeps no trace that begins here.
    pub fn keeps_no_root(&self) -> bool {
        self.ratio <= 0.0
    }

    /// Whether a span with this parent is kept.
    pub fn keeps(&self, parent: Option<&SpanContext>, trace_id: TraceId) -> bool {
        match parent {
            Some(parent) if self.parent_based => parent.is_sampled(),
            _ if self.ratio >= 1.0 => true,
            // The last seven bytes are the ones the specification wants random.
            _ => {
                let random = u128::from_be_bytes(trace_id.to_bytes()) as u64 & 0x00ff_ffff_ffff_ffff;
                (random as f64) < self.ratio * (1u64 << 56) as f64
            }
        }
    }
}

/// As the variable would say it.
impl fmt::Display for Sampler {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = if self.parent_based { "parentbased_" } else { "" };
        match self.ratio {
            ratio if ratio >= 1.0 => write!(formatter, "{prefix}always_on"),
            ratio if ratio <= 0.0 => write!(formatter, "{prefix}always_off"),
            ratio => write!(formatter, "{prefix}traceidratio({ratio})"),
        }
    }
}
