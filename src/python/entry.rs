//! Where CPython enters: `PyInit_jitspan`. What PyO3 gives it, with one step in front: only the main interpreter may
//! have us.
//!
//! Our classes and statics are one for the process. Made in a subinterpreter they would belong to it and die with it,
//! and shared with one they are freed by the wrong allocator: CPython 3.12.1 ended by SIGSEGV. PyO3 0.30 checks that
//! for modules inside modules only, and CPython (3.12 on) for interpreters with a lock of their own only. The check is
//! a step of the module's execution because CPython 3.13 runs `PyInit_jitspan` in the main interpreter for all others.

use std::ffi::{CStr, c_int, c_void};
use std::ptr::{self, null_mut};
use std::sync::Once;

use pyo3::ffi;

use super::jitspan::_PYO3_DEF;

const REFUSAL: &CStr = c"jitspan works in the main interpreter only, not in a subinterpreter";

/// Steps that PyO3 may have: it has two or three.
const STEPS: usize = 8;

type Steps = [ffi::PyModuleDef_Slot; STEPS + 2];

/// # Safety
/// CPython calls it, with the interpreter held.
#[unsafe(export_name = "PyInit_jitspan")]
pub unsafe extern "C" fn initialize() -> *mut ffi::PyObject {
    static ONCE: Once = Once::new();
    let definition = _PYO3_DEF.init_multi_phase();
    if !definition.is_null() {
        // SAFETY: what `PyModuleDef_Init` returns is the static definition that it was given.
        ONCE.call_once(|| unsafe { check_first(definition.cast()) });
    }
    definition
}

/// # Safety
/// `definition` is a module's, with steps that end with a zero, and nobody else uses it yet.
unsafe fn check_first(definition: *mut ffi::PyModuleDef) {
    let nothing = ffi::PyModuleDef_Slot { slot: 0, value: null_mut() };
    let mut steps: Steps = [nothing; STEPS + 2];
    let check: unsafe extern "C" fn(*mut ffi::PyObject) -> c_int = is_main_interpreter;
    let mut next = Some(ffi::PyModuleDef_Slot { slot: ffi::Py_mod_exec, value: check as *mut c_void });
    // SAFETY: see above.
    let mut theirs = unsafe { (*definition).m_slots };
    for step in steps.iter_mut().take(STEPS + 1) {
        let Some(now) = next.take() else { break };
        *step = now;
        // SAFETY: `theirs` is not yet past the zero, after which `next` stays None.
        unsafe {
            if !theirs.is_null() && (*theirs).slot != 0 {
                next = Some(ptr::read(theirs));
                theirs = theirs.add(1);
            }
        }
    }
    // CPython keeps the definition for the life of the process.
    let steps = Box::leak(Box::new(steps));
    // SAFETY: see above.
    unsafe { (*definition).m_slots = steps.as_mut_ptr() };
}

/// # Safety
/// CPython calls it, with the interpreter held.
unsafe extern "C" fn is_main_interpreter(_module: *mut ffi::PyObject) -> c_int {
    // SAFETY: the interpreter is held, so there is a current one. The main one's id is 0.
    unsafe {
        if ffi::PyInterpreterState_GetID(ffi::PyInterpreterState_Get()) == 0 {
            return 0;
        }
        ffi::PyErr_SetString(ffi::PyExc_ImportError, REFUSAL.as_ptr());
    }
    -1
}
