//! Triton. What is watched, and when each is called (a launch that compiles nothing calls none of them):
//!
//! | place | when | versions |
//! |---|---|---|
//! | `jit_cache_hook` / `JITFunction.cache_hook` | before a compile | all |
//! | `compile` of the one `JITFunction` | the compile itself, put there by the hook before | all |
//! | `compilation.listener` | inside it: stage times, cache hit; also `triton.compile` called directly | 3.4 on |
//! | `jit_post_compile_hook` / `JITFunction.compiled_hook` | after a compile; error mode raises here | 3.2 on |

mod compile;
mod describe;
mod listener;

use pyo3::prelude::*;

use crate::python::convert::get;
use crate::python::intercept::Standings;

/// Stands in all places of this version.
pub fn install(triton: &Bound<'_, PyModule>, standings: &'static Standings) -> PyResult<()> {
    let py = triton.py();
    describe::remember_version(triton);
    let post_hook = match knobs(triton) {
        Some(knobs) => {
            let runtime = knobs.getattr("runtime")?;
            standings.chain(&runtime, "jit_cache_hook", "triton.jit_cache_hook", compile::before)?;
            standings.chain(&knobs.getattr("compilation")?, "listener", "triton.listener", listener::heard)?;
            standings.chain(&runtime, "jit_post_compile_hook", "triton.jit_post_compile_hook", compile::after)?
        }
        None => {
            let function = py.import("triton.runtime.jit")?.getattr("JITFunction")?;
            standings.chain(&function, "cache_hook", "triton.cache_hook", compile::before)?;
            standings.chain(&function, "compiled_hook", "triton.compiled_hook", compile::after)?
        }
    };
    compile::set_post_hook(post_hook);
    Ok(())
}

/// Leaves the kernels' own `compile` attributes.
pub fn leave_functions(py: Python<'_>) {
    compile::FUNCTIONS.leave(py);
}

/// `triton.knobs`, from 3.4 on.
fn knobs<'py>(triton: &Bound<'py, PyModule>) -> Option<Bound<'py, PyAny>> {
    let knobs = get(triton, "knobs")?;
    get(get(&knobs, "runtime")?.as_any(), "__class__").map(|_| knobs)
}

/// As vLLM's monitor does: Triton prints its tunings unless the user has said `TRITON_PRINT_AUTOTUNING=0`. Not before
/// arming: the tunings of a warm-up are many, and expected.
pub fn print_autotuning(triton: &Bound<'_, PyAny>, standings: &Standings) -> PyResult<()> {
    let py = triton.py();
    let Some(autotuning) = get(triton, "knobs").and_then(|knobs| get(&knobs, "autotuning")) else { return Ok(()) };
    let environment = py.import("os")?.getattr("environ")?;
    let said = environment.call_method1("get", ("TRITON_PRINT_AUTOTUNING",))?;
    if said.extract::<String>().is_ok_and(|said| said == "0") {
        return Ok(());
    }
    standings.set(&autotuning, "print", true.into_pyobject(py)?.to_owned().into_any())?;
    Ok(())
}
