//! The runtimes that are watched, in one table. Adding one is a file and a row.

mod cutedsl;
pub mod triton;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::prelude::*;

use crate::process::lock::Mutex;
use crate::python::host::guard;
use crate::python::host::report;
use crate::python::patch::intercept::Standings;
use crate::python::patch::late;

/// One runtime.
pub struct Runtime {
    /// Its name on the wire, and the name of its faults.
    pub name: &'static str,
    /// The package that users import.
    pub package: &'static str,
    /// Under which its version is installed.
    pub distributions: &'static [&'static str],
    /// The oldest and the newest version that our tests run with.
    pub tested: (&'static str, &'static str),
    /// The module after whose import everything that we stand on is there.
    pub module: &'static str,
    /// Stands in its places.
    install: fn(&Bound<'_, PyModule>, &'static Standings) -> PyResult<()>,
    /// What is done there when warm-up is over.
    armed: fn(&Bound<'_, PyModule>, &Standings) -> PyResult<()>,
    /// What stands.
    pub standings: Standings,
    /// What became of it.
    state: Mutex<State>,
}

/// What became of a runtime's hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It has not been imported, or we are not active.
    Waiting,
    /// It stands.
    Hooked,
    /// It was imported and does not let itself be hooked.
    Refused(String),
}

/// All of them.
pub static RUNTIMES: [Runtime; 2] = [
    Runtime {
        name: "triton",
        package: "triton",
        distributions: &["triton", "pytorch-triton", "pytorch-triton-rocm", "triton-windows"],
        tested: ("3.0.0", "3.9.0"),
        module: "triton",
        install: triton::install,
        armed: triton::print_autotuning,
        standings: Standings::new(),
        state: Mutex::new(State::Waiting),
    },
    Runtime {
        name: "cutedsl",
        package: "cutlass",
        distributions: &["nvidia-cutlass-dsl"],
        tested: ("4.2.1", "4.8.1"),
        // Not `cutlass`: that is also the name of an older package without a JIT, and it is long before its own end that
        // the classes are there.
        module: "cutlass.cutlass_dsl.cutlass",
        install: cutedsl::install,
        armed: |_, _| Ok(()),
        standings: Standings::new(),
        state: Mutex::new(State::Waiting),
    },
];

static ACTIVE: AtomicBool = AtomicBool::new(false);

/// Whether the hooks stand.
pub fn are_active() -> bool {
    ACTIVE.load(Ordering::Relaxed)
}

/// Stands in the places of every runtime that is there, and of each other when it is imported.
pub fn install(py: Python<'_>) {
    ACTIVE.store(true, Ordering::Relaxed);
    for runtime in &RUNTIMES {
        late::when_imported(py, runtime.module, Arc::new(|module| runtime.stand(module)));
        if runtime.state() == State::Waiting {
            report::log(py, "debug", &format!("{} is not imported; it is watched once it is", runtime.name));
        }
    }
}

/// Stands where it should and does not: the import was under way when we came, or a finder before ours gave the
/// module, which ours then never saw.
pub fn catch_up(py: Python<'_>) {
    if !are_active() {
        return;
    }
    late::catch_up(py);
    for runtime in RUNTIMES.iter().filter(|runtime| runtime.state() == State::Waiting) {
        if let Some(module) = late::imported(py, runtime.module) {
            guard::guard(py, runtime.name, || runtime.stand(&module));
        }
    }
}

/// Warm-up is over: what is not wanted before is done now.
pub fn armed(py: Python<'_>) {
    RUNTIMES.iter().for_each(|runtime| runtime.armed(py));
}

/// Leaves all of them.
pub fn remove(py: Python<'_>) {
    ACTIVE.store(false, Ordering::Relaxed);
    for runtime in RUNTIMES.iter().rev() {
        late::forget(py, runtime.module);
        runtime.standings.leave(py);
        runtime.set(State::Waiting);
    }
    triton::leave_functions(py);
}

impl Runtime {
    /// What became of its hook.
    pub fn state(&self) -> State {
        self.state.lock().clone()
    }

    fn set(&self, state: State) {
        *self.state.lock() = state;
    }

    fn armed(&self, py: Python<'_>) {
        if let Some(module) = late::imported(py, self.module).filter(|_| self.state() == State::Hooked) {
            guard::guard(py, self.name, || (self.armed)(module.cast::<PyModule>()?, &self.standings));
        }
    }

    /// Also after a reload, which has made the places anew.
    fn stand(&'static self, module: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = module.py();
        self.standings.leave(py);
        let reason = match (self.install)(module.cast::<PyModule>()?, &self.standings) {
            Ok(()) if self.standings.is_empty() => "none of its known places is there".to_owned(),
            Ok(()) => {
                self.set(State::Hooked);
                if crate::monitor().is_some_and(crate::monitor::Monitor::is_armed) {
                    self.armed(py);
                }
                return Ok(());
            }
            Err(error) => error.to_string(),
        };
        self.standings.leave(py);
        guard::fault(py, self.name, &reason);
        self.set(State::Refused(reason));
        Ok(())
    }
}
