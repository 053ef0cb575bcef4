//! Whether a compile found what it wanted on disk. Inductor's caches count, and say nothing else.

use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::model::event::CacheResult;
use crate::python::host::boundary::OrNone;
use crate::python::host::convert::get;
use crate::python::host::imports;

/// The counters at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counters {
    hits: u64,
    misses: u64,
}

/// `torch._dynamo.utils.counters`: by part of torch, by name. A hit of AOTAutograd's cache counts as one of the graph
/// cache too, and its miss means nothing: the graph cache is asked next.
const HITS: [(&str, &str); 2] = [("inductor", "fxgraph_cache_hit"), ("aot_autograd", "autograd_cache_hit")];
const MISSES: [(&str, &str); 2] = [("inductor", "fxgraph_cache_miss"), ("inductor", "fxgraph_cache_bypass")];

impl Counters {
    /// As they are now.
    pub fn now(py: Python<'_>) -> Self {
        let counters = imports::loaded(py, "torch._dynamo.utils").and_then(|utils| get(&utils, "counters"));
        let Some(counters) = counters else { return Counters::default() };
        // `PyDict::get_item` does not call `__missing__`: these are default dictionaries.
        let count = |(part, name): (&str, &str)| -> Option<u64> {
            let part = counters.cast::<PyDict>().ok()?.get_item(part).or_none()??;
            part.cast::<PyDict>().ok()?.get_item(name).or_none()??.extract().or_none()
        };
        let sum = |names: [(&str, &str); 2]| names.into_iter().filter_map(count).sum();
        Counters { hits: sum(HITS), misses: sum(MISSES) }
    }

    /// What has happened since. `compiled`: whether Inductor was at work, whose caches may be off.
    pub fn since(self, py: Python<'_>, compiled: bool) -> CacheResult {
        let now = Counters::now(py);
        match (now.hits > self.hits, now.misses > self.misses) {
            (_, true) => CacheResult::Miss,
            (true, false) => CacheResult::Hit,
            (false, false) if compiled => CacheResult::Miss,
            // Another backend than Inductor.
            (false, false) => CacheResult::Unknown,
        }
    }
}
