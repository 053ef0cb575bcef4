//! `serialize_specialization_data`: what Triton (3.0 to 3.9) writes as JSON for a hook that is set, before it calls it.
//!
//! Constants that JSON cannot hold (Gluon's layouts, an `Enum`, up to 3.6 a `JITFunction`, in 3.4 a `tl.constexpr`) raise
//! there, out of the user's launch, and only because somebody has set a hook. If that is us alone, the launch goes on: we
//! do not read this text. A hook of anybody else gets what it would have got without us, this error included. vLLM (0.33)
//! guards the same function; each of the two works on top of the other.

use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict};

use super::package::Package;
use crate::python::host::boundary::OrNone;
use crate::python::host::convert::{get, get_text};
use crate::python::host::text;
use crate::python::patch::{Patches, Wrapper};

/// Calls the function that is there, and asks us when it fails.
const GUARD: &str = include_str!("serialize.py");

/// In the place of what could not be written. `JITFunction.preload` reads it, and refuses it by its name, as it refuses
/// what was written for another kernel.
const INSTEAD: &str = r#"{"name": null}"#;

/// Frames between Triton's call and ours: those of others who guard it too.
const FRAMES: usize = 8;

/// The hooks' places, which are ours.
pub const BEFORE: &str = "triton.jit_cache_hook";
/// See [`BEFORE`].
pub const AFTER: &str = "triton.jit_post_compile_hook";

/// Stands in front of it. False: this version has none.
///
/// # Errors
/// The module does not let itself be changed.
pub fn install(py: Python<'_>, package: &Package, patches: &Patches) -> PyResult<bool> {
    let Some(functions) = package.loaded(py, "runtime.jit") else { return Ok(false) };
    let Some(original) = get(&functions, "serialize_specialization_data") else { return Ok(false) };
    let forgive = PyCFunction::new_closure(py, None, None, |arguments, _| -> Option<&'static str> {
        is_for_us_alone(arguments.get_item(0).or_none()?).then_some(INSTEAD)
    })?;
    let builtins = py.import("builtins")?;
    let namespace = PyDict::new(py);
    namespace.set_item("__name__", "jitspan")?;
    let code = text::code(py, GUARD)?;
    builtins.getattr("exec")?.call1((code, &namespace))?;
    let guarded = namespace.as_any().get_item("guard")?.call1((original, forgive))?;
    patches.set(&functions, "serialize_specialization_data", guarded)
}

/// Whether the hook that Triton is about to call is ours, with nobody's behind it. Called by anything else than
/// `_call_hook`, the function is none of our business.
fn is_for_us_alone(frame: Bound<'_, PyAny>) -> bool {
    let mut frame = Some(frame);
    for _ in 0..FRAMES {
        let Some(here) = frame.take() else { return false };
        if get(&here, "f_code").and_then(|code| get_text(&code, "co_name")).as_deref() == Some("_call_hook") {
            return hook(&here).is_some_and(|hook| is_ours_alone(&hook));
        }
        frame = get(&here, "f_back");
    }
    false
}

/// From 3.2 on a local variable of `_call_hook`; before, there is one hook.
fn hook<'py>(frame: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
    let local = |name: &str| get(frame, "f_locals").and_then(|locals| locals.get_item(name).or_none());
    local("hook").or_else(|| get(&local("self")?.get_type(), "cache_hook"))
}

/// Also one of ours that has left meanwhile: another thread may be deactivating.
fn is_ours_alone(hook: &Bound<'_, PyAny>) -> bool {
    let Some(ours) = Wrapper::hook(hook) else { return false };
    let ours = ours.get();
    [BEFORE, AFTER].contains(&ours.hook_point()) && ours.original(hook.py()).is_none()
}
