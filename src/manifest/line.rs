//! One line: what to compile again, and what it cost when somebody had to wait for it.

use serde::{Deserialize, Serialize};

use crate::model::event::{CompileEvent, Kind};
use crate::model::recipe::{KernelName, Recipe, What};

/// Bytes of a line, its end included. Longer ones are neither written nor read.
pub const LINE: usize = 1 << 20;

/// One line of a manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// What to compile again.
    #[serde(flatten)]
    pub recipe: Recipe,
    /// Why it was compiled: `first_use`, ...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// What differed from the nearest specialization known, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<String>,
    /// Seconds that it took, all times together.
    #[serde(default)]
    pub duration: f64,
    /// Whether the runtime's cache on disk had it: `hit`, `miss`, `unknown`.
    #[serde(default)]
    pub cache: String,
    /// How often it was seen: by several processes, or starts.
    #[serde(default = "once")]
    pub times: u64,
    /// Requests that waited.
    #[serde(default)]
    pub requests: u64,
    /// When it was last seen, in seconds since 1970.
    #[serde(default)]
    pub time: u64,
}

fn once() -> u64 {
    1
}

impl Line {
    /// A line for what was recorded. Without a recipe it says what compiled, for the report.
    pub fn of(event: &CompileEvent, requests: usize) -> Self {
        let mut recipe = match &event.recipe {
            Some(recipe) => Recipe::clone(recipe),
            None => {
                let what = if event.kind == Kind::Autotune { What::Tuning } else { What::Specialization };
                let kernel = KernelName {
                    module: event.kernel.module.clone().unwrap_or_default(),
                    name: event.kernel.name.clone(),
                    ..KernelName::default()
                };
                let mut recipe = Recipe::new(what, event.runtime.clone(), kernel);
                recipe.runtime_version = event.runtime_version.clone().unwrap_or_default();
                recipe.unsupported = Some(format!("{} cannot be replayed", event.runtime));
                recipe
            }
        };
        if let Some(failure) = &event.failure {
            recipe.unsupported = Some(format!("it failed: {}", failure.error_type));
        }
        Line {
            recipe,
            cause: event.cause.map(|cause| cause.as_str().to_owned()),
            changes: event.changes.clone(),
            duration: event.duration.as_secs_f64(),
            cache: event.cache.as_str().to_owned(),
            times: 1,
            requests: requests as u64,
            time: event.ended() / 1_000_000_000,
        }
    }

    /// What a baseline is asked for: the call, whichever source the kernel has by now, and on whichever device.
    pub fn call(&self) -> String {
        let recipe = &self.recipe;
        let key = recipe.tuning.as_ref().map(|tuning| &tuning.key);
        let kernel = (&recipe.runtime, &recipe.kernel.module, &recipe.kernel.name);
        serde_json::json!([recipe.kind, kernel, recipe.arguments, recipe.options, recipe.tuned, key]).to_string()
    }

    /// As bytes, its end included. None: it is too long.
    pub fn bytes(&self) -> Option<Vec<u8>> {
        let mut bytes = serde_json::to_vec(self).ok()?;
        bytes.push(b'\n');
        (bytes.len() <= LINE).then_some(bytes)
    }

    /// Adds another line about the same thing.
    pub fn add(&mut self, other: Line) {
        self.duration += other.duration;
        self.times = self.times.saturating_add(other.times);
        self.requests = self.requests.saturating_add(other.requests);
        self.time = self.time.max(other.time);
        if self.recipe.had.is_empty() {
            self.recipe.had = other.recipe.had;
        }
    }
}
