//! `.warmup(...)` and `.preload(...)`: compiles that somebody asked for in so many words are no accident. Triton's own
//! flag says so from 3.2 on, and not for `preload`; these methods say it in every version.

use std::cell::Cell;

use pyo3::prelude::*;

use super::package::Package;
use crate::model::event::CacheResult;
use crate::python::host::convert::get;
use crate::python::patch::{After, Call, Patches};

thread_local! {
    static CALLS: Cell<usize> = const { Cell::new(0) };
    /// Those of a tuner: it compiles each configuration and benchmarks none.
    static TUNERS: Cell<usize> = const { Cell::new(0) };
    static REPLAYED: Cell<Option<CacheResult>> = const { Cell::new(None) };
}

/// Whether this thread is in a manual warm-up.
pub fn is_manual() -> bool {
    CALLS.get() > 0
}

/// Whether it is in a tuner's.
pub fn is_tuners() -> bool {
    TUNERS.get() > 0
}

/// This thread replays a manifest: each compile in it was asked for, until [`leave_replay`].
pub fn enter_replay() {
    CALLS.set(CALLS.get() + 1);
}

/// It does so no more.
pub fn leave_replay() {
    CALLS.set(CALLS.get().saturating_sub(1));
}

/// A compile of a launch has ended in this thread.
pub fn replayed(cache: CacheResult) {
    REPLAYED.set(Some(cache));
}

/// What the last compile of this thread found on disk. None: there was none since it was last asked.
pub fn take_replayed() -> Option<CacheResult> {
    REPLAYED.take()
}

/// Stands in front of each class's own methods.
pub fn install(py: Python<'_>, package: &Package, patches: &'static Patches) -> PyResult<()> {
    let functions = package.import(py, "runtime.jit")?;
    for class in ["KernelInterface", "JITFunction"].iter().filter_map(|class| get(functions.as_any(), class)) {
        // Only where it is defined: what is inherited is seen there.
        for name in ["warmup", "preload"] {
            if class.getattr("__dict__")?.contains(name)? {
                patches
                    .wrap(&class, name, "triton.warmup", |_py: Python<'_>, _call: &Call<'_, '_>| watch(&[&CALLS]))?;
            }
        }
    }
    if let Some(tuner) = get(package.import(py, "runtime.autotuner")?.as_any(), "Autotuner") {
        patches.wrap(&tuner, "warmup", "triton.warmup", |_py: Python<'_>, _call: &Call<'_, '_>| {
            watch(&[&CALLS, &TUNERS])
        })?;
    }
    Ok(())
}

fn watch(counts: &'static [&'static std::thread::LocalKey<Cell<usize>>]) -> PyResult<Option<After>> {
    for count in counts {
        count.set(count.get() + 1);
    }
    Ok(Some(Box::new(move |_py, _outcome| {
        for count in counts {
            count.set(count.get().saturating_sub(1));
        }
        Ok(None)
    })))
}
