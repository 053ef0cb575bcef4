//! Warp. A module's kernels are compiled together when one of them is first launched on a device:
//!
//! | place | when | versions |
//! |---|---|---|
//! | `Module._compile` | it is looked for on disk, and compiled if it is not there, which this says | from 1.10 on |
//! | `warp.build.build_cpu`, `build_cuda` | it is compiled | before |
//! | `ModuleExec.__init__` | it has been loaded, from disk or after it was compiled | all |
//!
//! Error mode raises at the last: an error out of a build marks the module as broken for good.
//! `Module.load`, which is around all of it, is on the path of each launch.

use std::cell::RefCell;
use std::sync::Arc;

use pyo3::prelude::*;

use super::build::{self, Asked, Did};
use crate::board::record::About;
use crate::model::event::{Kernel, Kind};
use crate::monitor::Pending;
use crate::process::lock::Mutex;
use crate::python::hooks::{Runtime, State, known};
use crate::python::host::boundary::OrNone;
use crate::python::host::convert::{get, get_text, item, text};
use crate::python::host::imports;
use crate::python::host::prepared::names;
use crate::python::patch::{After, Call, Patches};
use crate::python::stall;

/// The row of the table.
pub static RUNTIME: Runtime = Runtime {
    name: "warp",
    title: "Warp",
    package: "warp",
    distributions: &["warp-lang"],
    tested: ("1.5.1", "1.19.0"),
    module: "warp",
    parts: &[],
    install,
    armed: |_, _| Ok(()),
    forget: |_| known::forget(),
    patches: Patches::new(),
    state: Mutex::new(State::Waiting),
};

thread_local! {
    /// What this thread has compiled, or found on disk, and has not loaded yet.
    static FOUND: RefCell<Option<(Arc<Pending>, Did)>> = const { RefCell::new(None) };
}

/// Frames between a place of ours and Warp's `load`, our own among them.
const FRAMES: usize = 12;

fn install(module: &Bound<'_, PyModule>, patches: &'static Patches) -> PyResult<()> {
    let py = module.py();
    let Some(context) = ["warp._src.context", "warp.context"].iter().find_map(|name| imports::loaded(py, name)) else {
        return Ok(());
    };
    let class = get(&context, "Module");
    if let Some(class) = class.filter(|class| get(class, "_compile").is_some()) {
        patches.wrap(&class, "_compile", "warp.compile", compiles)?;
    } else if let Some(build) = imports::loaded(py, "warp.build") {
        patches.wrap(&build, "build_cpu", "warp.build_cpu", builds)?;
        patches.wrap(&build, "build_cuda", "warp.build_cuda", builds)?;
    }
    if let Some(class) = get(&context, "ModuleExec") {
        patches.wrap(&class, "__init__", "warp.load", loaded)?;
    }
    Ok(())
}

/// `_compile(self, device, ...)`: whether it had to.
fn compiles(py: Python<'_>, _call: &Call<'_, '_>) -> PyResult<Option<After>> {
    Ok(follow(py, |value| value.is_truthy().or_none().unwrap_or(false)))
}

/// `build_cpu(...)`, `build_cuda(...)`.
fn builds(py: Python<'_>, _call: &Call<'_, '_>) -> PyResult<Option<After>> {
    Ok(follow(py, |_| true))
}

fn follow(py: Python<'_>, did: fn(&Bound<'_, PyAny>) -> bool) -> Option<After> {
    let pending = stall::begin_holding(py)?;
    FOUND.take();
    let name = asked(py, None).kernel.name;
    pending.shows(About { runtime: RUNTIME.name, kind: Kind::Compile, kernel: &name });
    stall::enter(&pending);
    Some(Box::new(move |py, outcome| {
        stall::leave(&pending);
        // It is kept for a load that may never come.
        pending.hides();
        match outcome {
            Ok(value) => {
                let did = if did(value) { Did::Built } else { Did::Loaded };
                FOUND.set(Some((pending, did)));
                Ok(None)
            }
            Err(_) => Ok(build::finish(py, &pending, asked(py, None), Did::Built, outcome)),
        }
    }))
}

/// `ModuleExec(handle, module_hash, device, ...)`.
fn loaded(py: Python<'_>, call: &Call<'_, '_>) -> PyResult<Option<After>> {
    let found = FOUND.take().or_else(|| stall::begin_holding(py).map(|pending| (pending, Did::Loaded)));
    let Some((pending, did)) = found else { return Ok(None) };
    let asked = asked(py, Some(call));
    Ok(Some(Box::new(move |py, outcome| Ok(build::finish(py, &pending, asked, did, outcome)))))
}

fn asked(py: Python<'_>, call: Option<&Call<'_, '_>>) -> Asked {
    let module = module(py).and_then(|module| get_text(&module, "name"));
    let mut specialization = Vec::new();
    if let Some(call) = call {
        let hash = call.arg(2).and_then(|hash| hash.extract::<Vec<u8>>().or_none()).unwrap_or_default();
        let hash: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        specialization.push(("module_hash".to_owned(), hash));
        let device = call.arg(3).and_then(|device| get(&device, "alias")).map(|alias| text(&alias));
        specialization.extend(device.map(|device| ("device".to_owned(), device)));
        let block = call.arg(5).or_else(|| call.keyword("block_dim")).map(|block| text(&block));
        specialization.extend(block.map(|block| ("block_dim".to_owned(), block)));
    }
    let name = module.unwrap_or_else(|| Kernel::UNKNOWN.to_owned());
    Asked { runtime: &RUNTIME, kernel: Kernel::named(name), specialization }
}

/// The module that is being loaded: `self` of the `load` that this thread is in.
fn module(py: Python<'_>) -> Option<Bound<'_, PyAny>> {
    let names = names(py).ok()?;
    let mut frame = imports::loaded(py, "sys")?.call_method0(&names._getframe).or_none()?;
    for _ in 0..FRAMES {
        let code = frame.getattr(&names.f_code).or_none()?;
        if get_text(&code, "co_name").as_deref() == Some("load") {
            return item(&frame.getattr(&names.f_locals).or_none()?, "self");
        }
        frame = frame.getattr(&names.f_back).or_none().filter(|frame| !frame.is_none())?;
    }
    None
}
