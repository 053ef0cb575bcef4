//! A row of the table of runtimes, and what is done with it.

use pyo3::prelude::*;

use crate::model::event::{CompileEvent, Kernel, Kind};
use crate::process::lock::Mutex;
use crate::python::host::convert::get_text;
use crate::python::host::guard;
use crate::python::patch::Patches;
use crate::python::patch::late;

/// One runtime: what it is called, where it is found, and how it is watched.
pub struct Runtime {
    /// Its name on the wire, and the first word of its hook points and faults.
    pub name: &'static str,
    /// Its name as people write it.
    pub title: &'static str,
    /// The package that users import.
    pub package: &'static str,
    /// Under which its version is installed.
    pub distributions: &'static [&'static str],
    /// The oldest and the newest version that our tests run with.
    pub tested: (&'static str, &'static str),
    /// The module after whose import everything that we patch is there, but for `parts`.
    pub module: &'static str,
    /// What it imports later, by itself.
    pub parts: &'static [Part],
    /// Patches its hook points.
    pub install: fn(&Bound<'_, PyModule>, &'static Patches) -> PyResult<()>,
    /// What is done there when warm-up is over.
    pub armed: fn(&Bound<'_, PyModule>, &Patches) -> PyResult<()>,
    /// Restores what it patched by other means than its `patches`, and forgets what it knows of this process.
    pub forget: fn(Python<'_>),
    /// What is patched.
    pub patches: Patches,
    /// What became of it.
    pub state: Mutex<State>,
}

/// A module that a runtime imports later, and what is patched in it.
pub type Part = (&'static str, fn(&Bound<'_, PyModule>, &'static Patches) -> PyResult<()>);

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

impl Runtime {
    /// What is watched of it, for the log.
    pub fn in_short(&self, py: Python<'_>) -> String {
        let version = late::imported(py, self.package).and_then(|package| get_text(&package, "__version__"));
        let name = version.map_or_else(|| self.title.to_owned(), |version| format!("{} {version}", self.title));
        let points = self.patches.hook_points();
        let missing: Vec<_> = points.iter().filter(|(_, patched)| !patched).map(|(point, _)| *point).collect();
        match self.state() {
            State::Hooked if missing.is_empty() => format!("{name} is watched"),
            State::Hooked => format!("{name} is watched but for {}", missing.join(", ")),
            State::Waiting => format!("{name} is watched once it is imported"),
            State::Refused(reason) => format!("{name} is not watched: {reason}"),
        }
    }

    /// An event of it, of which only the kind and the kernel are known.
    pub fn event(&self, kind: Kind, kernel: Kernel) -> CompileEvent {
        let mut event = CompileEvent::new(kind, self.name, kernel);
        event.runtime_title = self.title.into();
        event
    }

    /// What became of its hook.
    pub fn state(&self) -> State {
        self.state.lock().clone()
    }

    /// Sets that.
    pub fn set(&self, state: State) {
        *self.state.lock() = state;
    }

    /// Warm-up is over.
    pub fn armed(&self, py: Python<'_>) {
        if let Some(module) = late::imported(py, self.module).filter(|_| self.state() == State::Hooked) {
            guard::guard(py, self.name, || (self.armed)(module.cast::<PyModule>()?, &self.patches));
        }
    }

    /// A part is patched with the rest, or by itself when it is imported later than that.
    pub fn stand_in(&'static self, part: &Part, module: &Bound<'_, PyAny>) -> PyResult<()> {
        match self.state() {
            State::Hooked => (part.1)(module.cast::<PyModule>()?, &self.patches),
            State::Waiting | State::Refused(_) => Ok(()),
        }
    }

    /// Also after a reload, which has made the places anew.
    pub fn stand(&'static self, module: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = module.py();
        self.patches.restore(py);
        let reason = match (self.install)(module.cast::<PyModule>()?, &self.patches) {
            Ok(()) if self.patches.is_empty() => "none of its known places is there".to_owned(),
            Ok(()) => {
                self.set(State::Hooked);
                for part in self.parts {
                    if let Some(module) = late::imported(py, part.0) {
                        guard::guard(py, self.name, || self.stand_in(part, &module));
                    }
                }
                if crate::monitor().is_some_and(crate::monitor::Monitor::is_armed) {
                    self.armed(py);
                }
                return Ok(());
            }
            Err(error) => error.to_string(),
        };
        self.patches.restore(py);
        guard::fault(py, self.name, &reason);
        self.set(State::Refused(reason));
        Ok(())
    }
}
