//! The C launcher: up to 3.6 Triton builds it with the C compiler at the first launch of a signature, after every hook,
//! for a quarter of a second. Its constructor is only on that path. It is a stall of its own: the launch may be another
//! request's than the compile. `_build`, which it calls only where the cache on disk has no such launcher, tells a build
//! from a load: a stall begins there, and counts from the constructor's start.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyDictMethods, PyType, PyWeakrefReference};

use super::package::{self, Package};
use crate::board::record::About;
use crate::model::event::{CompileEvent, Kind, UnixNanos};
use crate::monitor::{Pending, Recorded};
use crate::process::lock::Mutex;
use crate::python::host::convert::{get, item, text};
use crate::python::patch::{After, Call, Patches, Wrapper};
use crate::python::stall;

thread_local! {
    /// The launcher that is being made in this thread.
    static MAKING: RefCell<Option<Making>> = const { RefCell::new(None) };
}

struct Making {
    compiled: Recorded,
    started: UnixNanos,
    began: Instant,
    /// The stall, once the C compiler was called.
    building: Option<Arc<Pending>>,
}

/// Compiles that were not launched yet. From a pool of threads several come before the first launch.
static RECENT: Mutex<VecDeque<(Py<PyWeakrefReference>, Recorded)>> = Mutex::new(VecDeque::new());
const RECENT_KEPT: usize = 64;

/// Stands in front of the launchers' constructors, in versions that build them.
pub fn install(py: Python<'_>, package: &Package, patches: &'static Patches) -> PyResult<()> {
    package.launcher.store(false, Ordering::Relaxed);
    if package.version().is_some_and(|version| version >= (3, 7)) {
        return Ok(());
    }
    let mut builders = vec![package.import(py, "runtime.build")?.dict()];
    for driver in package.backends(py, "driver") {
        // Triton loads these modules under no name of their own: the one that `import` gives is another.
        let Some(globals) = get(&driver, "__init__").and_then(|function| get(&function, "__globals__")) else {
            continue;
        };
        let Ok(globals) = globals.cast_into::<PyDict>() else { continue };
        builders.push(globals.clone());
        let classes = globals.items();
        for (name, class) in
            classes.iter().filter_map(|pair| pair.extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>)>().ok())
        {
            if text(&name).ends_with("Launcher") && class.is_instance_of::<PyType>() {
                let stands = patches.wrap(&class, "__init__", "triton.launcher", watch)?;
                package.launcher.fetch_or(stands, Ordering::Relaxed);
            }
        }
    }
    for globals in builders {
        // Up to 3.3 each driver has imported the name.
        if let Some(build) = item(globals.as_any(), "_build") {
            let ours = Wrapper::around(&build, "triton.build", builds)?;
            patches.set_item(globals.as_any(), "_build", ours)?;
        }
    }
    Ok(())
}

/// `_build(name, src, ...)`: the C compiler is called.
fn builds(py: Python<'_>, _call: &Call<'_, '_>) -> PyResult<Option<After>> {
    let Some(mut making) = MAKING.take() else { return Ok(None) };
    if making.building.is_none() {
        making.building = stall::begin_after(py, Some(&making.compiled));
        let CompileEvent { runtime, kernel, .. } = &*making.compiled.event;
        let about = About { runtime, kind: Kind::Launcher, kernel: &kernel.name };
        making.building.iter().for_each(|building| building.shows(about));
    }
    let building = making.building.clone();
    MAKING.set(Some(making));
    // The C compiler is a part of it.
    let Some(building) = building else { return Ok(None) };
    stall::enter(&building);
    Ok(Some(Box::new(move |_py, _outcome| {
        stall::leave(&building);
        Ok(None)
    })))
}

/// Keeps a compile for the launcher that may follow it.
pub fn remember(source: &Bound<'_, PyAny>, recorded: Recorded) {
    if !package::of(source).launcher.load(Ordering::Relaxed) {
        return;
    }
    let Ok(weak) = PyWeakrefReference::new(source) else { return };
    let mut recent = RECENT.lock();
    let oldest = if recent.len() >= RECENT_KEPT { recent.pop_front() } else { None };
    recent.push_back((weak.unbind(), recorded));
    drop(recent);
    // Not under our lock: that may run Python.
    drop(oldest);
}

/// `CudaLauncher(src, metadata)`, `HIPLauncher(src, metadata)`.
fn watch(_py: Python<'_>, call: &Call<'_, '_>) -> PyResult<Option<After>> {
    let Some(source) = call.arg(1).or_else(|| call.keyword("src")) else { return Ok(None) };
    let (Some(compiled), Some(monitor)) = (take(&source), crate::monitor()) else { return Ok(None) };
    MAKING.set(Some(Making { compiled, started: monitor.now(), began: Instant::now(), building: None }));
    Ok(Some(Box::new(move |py, outcome| {
        let Some(making) = MAKING.take() else { return Ok(None) };
        if let (Ok(_), Some(pending)) = (outcome, making.building) {
            let event = making.compiled.event.launcher(making.started, making.began.elapsed());
            // Nothing is raised for a launcher: what error mode has to say it has said of the compile.
            stall::finish(py, &pending, event, "");
        }
        Ok(None)
    })))
}

fn take(source: &Bound<'_, PyAny>) -> Option<Recorded> {
    let weak = PyWeakrefReference::new(source).ok()?;
    let found = {
        let mut recent = RECENT.lock();
        let at = recent.iter().rposition(|(known, _)| known.bind(source.py()).is(&weak))?;
        recent.remove(at)
    };
    found.map(|(_, recorded)| recorded)
}
