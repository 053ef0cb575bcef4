//! `jitspan report`: which kernels compiled late, over which arguments, what it cost, and what to add to the warm-up.
//!
//! [`finding`] adds the lines of a manifest up by kernel, [`advice`] says what to do in one sentence; the rest writes:
//! [`text`], [`markdown`], [`html`], [`junit`], [`github`], and JSON as it stands.

pub mod advice;
pub mod finding;
pub mod github;
pub mod html;
pub mod junit;
pub mod markdown;
pub mod text;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};

use serde::Serialize;

use crate::manifest::line::Line;
use crate::manifest::read::Manifest;
use advice::CacheAdvice;
use finding::Finding;

/// What a manifest comes to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Seconds lost: each compile once, however many requests waited for it.
    pub seconds: f64,
    /// Specializations that compiled late.
    pub specializations: usize,
    /// Tunings that came late.
    pub tunings: usize,
    /// How often all of that was seen.
    pub times: u64,
    /// Requests that waited, each as often as it did.
    pub requests: u64,
    /// Things that the baseline does not have. None: there is no baseline.
    pub new: Option<usize>,
    /// By kernel, the costliest first.
    pub kernels: Vec<Finding>,
    /// What a cache on disk would spare the next start.
    pub caches: Vec<CacheAdvice>,
    /// Lines that could not be read.
    pub malformed: usize,
    /// Lines beyond the bounds.
    pub dropped: usize,
}

impl Report {
    /// Adds up a manifest; with a baseline, says what is new.
    pub fn new(manifest: &Manifest, baseline: Option<&Manifest>) -> Self {
        let known: Option<HashSet<String>> = baseline.map(|baseline| baseline.lines.iter().map(Line::call).collect());
        let mut by_kernel: BTreeMap<(&str, &str, &str), Vec<&Line>> = BTreeMap::new();
        for line in &manifest.lines {
            let kernel = &line.recipe.kernel;
            let name = kernel.function.as_ref().unwrap_or(&kernel.name);
            by_kernel.entry((&line.recipe.runtime, &kernel.module, name)).or_default().push(line);
        }
        let mut kernels: Vec<Finding> =
            by_kernel.into_values().filter_map(|lines| Finding::new(&lines, known.as_ref())).collect();
        for finding in &mut kernels {
            finding.advice = advice::sentence(finding);
        }
        kernels.sort_by(|one, other| other.seconds.total_cmp(&one.seconds));
        Report {
            // Not `sum`, which is -0.0 of nothing.
            seconds: kernels.iter().fold(0.0, |seconds, kernel| seconds + kernel.seconds),
            specializations: kernels.iter().map(|kernel| kernel.specializations).sum(),
            tunings: kernels.iter().map(|kernel| kernel.tunings).sum(),
            times: kernels.iter().map(|kernel| kernel.times).sum(),
            requests: kernels.iter().map(|kernel| kernel.requests).sum(),
            new: known.is_some().then(|| kernels.iter().map(|kernel| kernel.new).sum()),
            kernels,
            caches: advice::caches(&manifest.lines),
            malformed: manifest.malformed,
            dropped: manifest.dropped,
        }
    }

    /// The first line of it: `7.1 s of late compiles: 18 specializations and 3 tunings of 5 kernels`.
    pub fn headline(&self) -> String {
        format!(
            "{:.1} s of late compiles: {} and {} of {}",
            self.seconds,
            count(self.specializations, "specialization"),
            count(self.tunings, "tuning"),
            count(self.kernels.len(), "kernel"),
        )
    }
}

/// `1 kernel`, `2 kernels`.
pub fn count(number: usize, word: &str) -> String {
    format!("{number} {word}{}", if number == 1 { "" } else { "s" })
}
