//! The step that runs in this thread, found when something compiles: in the host's own frames. So a step in which
//! nothing compiles runs none of our code.
//!
//! What is left in the frame is dropped when the frame ends, however it ends: that is the end of the step.

use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::clock::{Source, System};
use crate::model::attribute::Attributes;
use crate::process;
use crate::process::lock::Mutex;
use crate::python::host::boundary::OrNone;
use crate::python::host::guard::guard;
use crate::python::host::imports;
use crate::python::host::prepared::names;
use crate::scope::{Request, Scope as Core, ScopeOptions};

/// Under this name it is among the frame's locals. No variable can have it.
const KEY: &str = "<jitspan step>";
/// Frames looked at: a compile by torch has some hundreds below it.
const DEPTH: usize = 2000;
/// `co_flags` of a function: its locals are not a namespace of somebody's.
const CO_OPTIMIZED: u32 = 1;

/// How an engine's steps are found.
pub struct Steps {
    /// Functions that run a step, or a part of one.
    pub functions: &'static [&'static str],
    /// Who waits in a frame of such a function, by its locals. None: it is no step.
    pub who: fn(&Bound<'_, PyAny>) -> Option<Found>,
}

/// Those of the engine in this process, if there is one whose steps could be found.
static STEPS: Mutex<Option<&'static Steps>> = Mutex::new(None);

/// Who waits in a frame that runs a step.
pub enum Found {
    /// These requests.
    Step(Step),
    /// Nobody: it is a rehearsal.
    Nobody,
}

/// A step of an engine.
pub struct Step {
    /// Name of the spans.
    pub name: &'static str,
    /// Attributes of every span.
    pub attributes: Attributes,
    /// Who waits, as spans show it.
    pub requests: Vec<Request>,
    /// Who waits, as the engine names them.
    pub ids: Vec<String>,
    /// Told of the step's end, if something compiled in it. Runs where the frame ends: an exception of the host may be
    /// on its way, so it runs no Python.
    pub ended: fn(&Core, &[String]),
}

/// From now on steps are looked for.
pub fn look(steps: &'static Steps) {
    *STEPS.lock() = Some(steps);
}

/// The scope of the step that runs in this thread.
pub fn current(py: Python<'_>) -> Option<Core> {
    let steps = (*STEPS.lock())?;
    guard(py, "engines.step", || find(py, steps)).flatten()
}

fn find(py: Python<'_>, steps: &Steps) -> PyResult<Option<Core>> {
    let names = names(py)?;
    // No frame at all: a thread of C++ compiles.
    let mut frame = imports::loaded(py, "sys").and_then(|sys| sys.call_method1(&names._getframe, (0,)).or_none());
    for _ in 0..DEPTH {
        let Some(here) = frame else { break };
        if is_step(&here, steps)? {
            let locals = here.getattr(&names.f_locals)?;
            if let Some(running) = locals.get_item(KEY).or_none().and_then(|left| left.cast_into::<Running>().ok())
                && running.get().generation == process::generation()
            {
                return Ok(Some(running.get().core.clone()));
            }
            match (steps.who)(&locals) {
                Some(Found::Step(step)) => {
                    let running = Running::new(step);
                    let core = running.core.clone();
                    locals.set_item(KEY, Py::new(py, running)?)?;
                    return Ok(Some(core));
                }
                Some(Found::Nobody) => return Ok(None),
                None => {}
            }
        }
        frame = here.getattr(&names.f_back).or_none().filter(|frame| !frame.is_none());
    }
    Ok(None)
}

fn is_step(frame: &Bound<'_, PyAny>, steps: &Steps) -> PyResult<bool> {
    let names = names(frame.py())?;
    let code = frame.getattr(&names.f_code)?;
    let name = code.getattr(&names.co_name)?.cast_into::<PyString>()?;
    let is_known = steps.functions.iter().any(|known| name == *known);
    Ok(is_known && code.getattr(&names.co_flags)?.extract::<u32>()? & CO_OPTIMIZED != 0)
}

/// A step in which something compiles, left in its frame.
#[pyclass(frozen, module = "jitspan", name = "RunningStep")]
struct Running {
    core: Core,
    ids: Vec<String>,
    ended: fn(&Core, &[String]),
    /// A forked child has a copy of the frame; the step is its parent's.
    generation: u64,
}

impl Running {
    fn new(step: Step) -> Self {
        let Step { name, attributes, requests, ids, ended } = step;
        let options = ScopeOptions { name: name.into(), attributes, requests, started: System.now() };
        let core = Core::new(options, crate::monitor().map_or(128, |monitor| monitor.config().max_requests));
        Running { core, ids, ended, generation: process::generation() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.generation != process::generation() {
            return;
        }
        // Nothing of ours may unwind into the host's frame.
        let _ = catch_unwind(AssertUnwindSafe(|| {
            if self.core.has_stalled() {
                (self.ended)(&self.core, &self.ids);
            }
            if let Some(monitor) = crate::monitor() {
                monitor.close(&self.core);
            }
        }));
    }
}
