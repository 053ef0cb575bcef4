//! A kernel is loaded onto the device when it is first launched, after every hook of its compile: `kernel_load_start_hook`
//! and `kernel_load_end_hook` of `triton.knobs.runtime` (3.5 on), which call all that was added to them.
//!
//! On an idle device a load takes milliseconds. On a busy one it waits for the work that runs, and where little memory is
//! left it may fail, so only loads that took long (`JITSPAN_SLOW_LOAD`) or found little memory (`JITSPAN_LOW_MEMORY`) are
//! told. A load that fails calls no hook at its end; Triton raises to the user then.

use std::cell::RefCell;
use std::sync::Arc;

use pyo3::prelude::*;

use super::describe;
use super::package::Package;
use crate::board::record::About;
use crate::model::event::{Kernel, Kind};
use crate::monitor::Pending;
use crate::process::lock::Mutex;
use crate::python::host::boundary::OrNone;
use crate::python::host::convert::{get, text};
use crate::python::host::guard::guard;
use crate::python::host::imports;
use crate::python::patch::{After, Call, Hook, Watch, Wrapper};
use crate::python::stall;

thread_local! {
    /// The load that is going on in this thread, and the free memory that it found, in bytes.
    static LOADING: RefCell<Option<(Arc<Pending>, Option<u64>)>> = const { RefCell::new(None) };
}

/// What was added, and to what.
struct Added {
    chain: Py<PyAny>,
    wrapper: Py<PyAny>,
    hook: Py<Hook>,
}

static ADDED: Mutex<Vec<Added>> = Mutex::new(Vec::new());

/// Adds ours to both.
pub fn install(py: Python<'_>, package: &'static Package, knobs: Option<&Bound<'_, PyAny>>) -> PyResult<bool> {
    let Some(runtime) = knobs.and_then(|knobs| get(knobs, "runtime")) else { return Ok(false) };
    let starts = add(
        py,
        &runtime,
        "kernel_load_start_hook",
        "triton.kernel_load_start_hook",
        move |py: Python<'_>, call: &Call<'_, '_>| begins(py, call, package),
    )?;
    Ok(starts
        && add(
            py,
            &runtime,
            "kernel_load_end_hook",
            "triton.kernel_load_end_hook",
            move |py: Python<'_>, call: &Call<'_, '_>| ends(py, call, package),
        )?)
}

fn add(
    py: Python<'_>,
    runtime: &Bound<'_, PyAny>,
    name: &str,
    place: &'static str,
    watch: impl Watch + 'static,
) -> PyResult<bool> {
    let Some(chain) = get(runtime, name).filter(|chain| get(chain, "add").is_some()) else {
        return Ok(false);
    };
    let (wrapper, hook) = Wrapper::slot(py, None, place, watch)?;
    chain.call_method1("add", (&wrapper,))?;
    ADDED.lock().push(Added { chain: chain.unbind(), wrapper: wrapper.unbind(), hook });
    Ok(true)
}

/// Takes them out.
pub fn forget(py: Python<'_>) {
    let added = std::mem::take(&mut *ADDED.lock());
    for Added { chain, wrapper, hook } in added {
        hook.get().retire();
        guard(py, "triton.loads.forget", || chain.bind(py).call_method1("remove", (&wrapper,)).map(drop));
    }
}

/// `hook(module, function, name, metadata_group, hash)`, before the load.
fn begins(py: Python<'_>, call: &Call<'_, '_>, package: &Package) -> PyResult<Option<After>> {
    let Some(pending) = stall::begin(py) else { return Ok(None) };
    let name = call.arg(2).or_else(|| call.keyword("name"));
    let name = name.and_then(|name| name.extract::<String>().ok()).unwrap_or_else(|| Kernel::UNKNOWN.to_owned());
    pending.shows(About { runtime: package.runtime.name, kind: Kind::Load, kernel: &name });
    let free = if pending.is_armed() { free_memory(py) } else { None };
    LOADING.set(Some((pending, free)));
    Ok(None)
}

/// The same, after it.
fn ends(py: Python<'_>, call: &Call<'_, '_>, package: &Package) -> PyResult<Option<After>> {
    let Some((pending, free)) = LOADING.take() else { return Ok(None) };
    let Some(monitor) = crate::monitor() else { return Ok(None) };
    let (duration, config) = (pending.elapsed(), monitor.config());
    if duration < config.slow_load && free.is_none_or(|free| free > config.low_memory as u64) {
        return Ok(None);
    }
    let name = call.arg(2).or_else(|| call.keyword("name")).map(|name| text(&name));
    let mut event =
        package.runtime.event(Kind::Load, Kernel::named(name.unwrap_or_else(|| Kernel::UNKNOWN.to_owned())));
    event.duration = duration;
    event.free_memory = free;
    describe::add_process(py, &mut event, package);
    let hash = call.arg(4).map(|hash| text(&hash)).unwrap_or_default();
    let (_, raise) = stall::finish(py, &pending, event, &format!("load {hash}"));
    Ok(raise.map(|raise| -> After { Box::new(move |_py, _outcome| Ok(Some(raise))) }))
}

/// As the driver says, which waits for nothing that runs on the device. None: torch is not there, or has not begun to use
/// the device.
fn free_memory(py: Python<'_>) -> Option<u64> {
    let cuda = imports::loaded(py, "torch.cuda")?;
    let begun = cuda.call_method0("is_initialized").or_none()?.is_truthy().or_none()?;
    let free = begun.then(|| cuda.call_method0("mem_get_info").or_none())??;
    free.get_item(0).or_none()?.extract().or_none()
}
