//! `OTEL_TRACES_SAMPLER`: which traces are kept. A request's own `sampled` flag decides, unless told otherwise.

use std::fmt;

use opentelemetry::trace::{SpanContext, TraceId};

use super::read::{ConfigError, Variables, wrong};

/// The specification's built-in samplers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampler {
    /// Ask the parent first.
    parent_based: bool,
    /// Share of root traces that are kept, 0 to 1.
    ratio: f64,
}

impl Default for Sampler {
    fn default() -> Self {
        Sampler { parent_based: true, ratio: 1.0 }
    }
}

impl Sampler {
    pub(super) fn resolve(variables: &Variables<'_>) -> Result<Self, ConfigError> {
        const ACCEPTED: &str = "always_on, always_off, traceidratio, parentbased_always_on, parentbased_always_off or parentbased_traceidratio";
        let Some(name) = variables.text("OTEL_TRACES_SAMPLER") else { return Ok(Sampler::default()) };
        let lower = name.to_ascii_lowercase();
        let (parent_based, root) = match lower.strip_prefix("parentbased_") {
            Some(root) => (true, root),
            None => (false, lower.as_str()),
        };
        let ratio = match root {
            "always_on" => 1.0,
            "always_off" => 0.0,
            "traceidratio" => match variables.text("OTEL_TRACES_SAMPLER_ARG") {
                None => 1.0,
                Some(text) => match text.parse::<f64>() {
                    Ok(ratio) if (0.0..=1.0).contains(&ratio) => ratio,
                    _ => return Err(wrong("OTEL_TRACES_SAMPLER_ARG", &text, "a number from 0 to 1")),
                },
            },
            _ => return Err(wrong("OTEL_TRACES_SAMPLER", &name, ACCEPTED)),
        };
        Ok(Sampler { parent_based, ratio })
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
