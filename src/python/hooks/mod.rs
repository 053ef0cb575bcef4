//! The runtimes that are watched, in one table. Adding one is a file and a row.

mod triton;

use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::prelude::*;

use super::guard::guard;
use super::intercept::Standings;

/// One runtime.
pub struct Runtime {
    /// Its name on the wire, and the name of its faults.
    pub name: &'static str,
    /// The module whose presence says that it is there.
    pub module: &'static str,
    /// Stands in its places.
    pub install: fn(&Bound<'_, PyModule>, &'static Standings) -> PyResult<()>,
    /// What stands.
    standings: Standings,
}

static RUNTIMES: [Runtime; 1] =
    [Runtime { name: "triton", module: "triton", install: triton::install, standings: Standings::new() }];

static ACTIVE: AtomicBool = AtomicBool::new(false);

/// Whether the hooks stand.
pub fn are_active() -> bool {
    ACTIVE.load(Ordering::Relaxed)
}

/// Stands in the places of every runtime that is there.
pub fn install(py: Python<'_>) {
    ACTIVE.store(true, Ordering::Relaxed);
    for runtime in &RUNTIMES {
        guard(py, runtime.name, || {
            let modules = py.import("sys")?.getattr("modules")?;
            match modules.get_item(runtime.module) {
                Ok(module) => (runtime.install)(module.cast::<PyModule>()?, &runtime.standings),
                Err(_) => Ok(()),
            }
        });
    }
}

/// Leaves all of them.
pub fn remove(py: Python<'_>) {
    ACTIVE.store(false, Ordering::Relaxed);
    for runtime in RUNTIMES.iter().rev() {
        runtime.standings.leave(py);
    }
    triton::leave_functions(py);
}
