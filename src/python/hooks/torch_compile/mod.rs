//! torch.compile: Dynamo, which turns Python into graphs, and Inductor, which compiles them. Each of these places is
//! called only when something compiles; a call whose guards hold calls none of them:
//!
//! | place | when | versions |
//! |---|---|---|
//! | `convert_frame._compile` | a frame: its begin, its end, its failure, its code object | all |
//! | `convert_frame.get_and_maybe_log_recompilation_reasons` | inside it: why it is compiled again | all |
//! | `compile_fx._compile_fx_inner` | a graph: inside a frame, or alone (a backward when first run, vLLM's pieces) | all |
//! | `AsyncCompile.triton`, `LambdaFuture.result` | a Triton kernel that Inductor's pool compiles: see `pool.rs` | all |
//! | `async_compile._worker_compile_triton_thread` | the same in a thread instead of a process | 2.15 on |
//! | `CachingAutotuner.autotune_to_one_config`, `.coordinate_descent_tuning` | tuning at the first run | all |
//! | `AlgorithmSelectorCache.lookup`, `.benchmark_in_*_process` | `max-autotune`: a kernel is chosen by benchmark | all |
//! | `CUDAGraphTreeManager.record_function` | a CUDA graph is recorded | all |
//!
//! Module globals and classes, not Dynamo's callbacks: `torch._dynamo.reset()` clears those, from 2.8 on they are
//! counted over all threads (a compile calls nobody's while another thread records a graph), and an error out of one
//! leaves that count wrong for good.
//!
//! Nothing raises inside: Dynamo would wrap it as an error of its own. The outermost operation raises.

mod cache;
mod frame;
mod graph;
mod pool;
mod tuning;

use pyo3::prelude::*;

use crate::model::event::CompileEvent;
use crate::process::lock::Mutex;
use crate::python::hooks::{Runtime, State};
use crate::python::host::boundary::OrNone;
use crate::python::host::convert::{get, get_text, text};
use crate::python::host::here;
use crate::python::host::imports;
use crate::python::patch::Patches;

/// The row of the table.
pub static RUNTIME: Runtime = Runtime {
    name: "torch_compile",
    title: "torch.compile",
    package: "torch",
    distributions: &["torch"],
    tested: ("2.8.0", "2.15.0"),
    module: "torch._dynamo.convert_frame",
    parts: &[
        ("torch._inductor.compile_fx", graph::install),
        ("torch._inductor.async_compile", pool::install),
        ("torch._inductor.runtime.triton_heuristics", tuning::install),
        ("torch._inductor.select_algorithm", tuning::install_selection),
        ("torch._inductor.cudagraph_trees", tuning::install_recording),
    ],
    install,
    armed: |_, _| Ok(()),
    forget: |_| {
        frame::forget();
        pool::forget();
    },
    patches: Patches::new(),
    state: Mutex::new(State::Waiting),
};

fn install(module: &Bound<'_, PyModule>, patches: &'static Patches) -> PyResult<()> {
    patches.wrap(module, "_compile", "torch_compile.frame", frame::compiles)?;
    let reasons = "get_and_maybe_log_recompilation_reasons";
    patches.wrap(module, reasons, "torch_compile.recompilation_reasons", frame::explains)?;
    Ok(())
}

/// Adds what holds for all events of this process and thread.
fn add_process(py: Python<'_>, event: &mut CompileEvent) {
    event.runtime_version = imports::loaded(py, "torch").and_then(|torch| get_text(&torch, "__version__"));
    event.thread = here::thread(py);
}

/// Dynamo's id of a compile, as its own log has it: `0/1`. Its `__str__` is not asked.
fn id(compile_id: &Bound<'_, PyAny>) -> Option<String> {
    let number = |name: &str| get(compile_id, name).map(|number| text(&number));
    let id = format!("{}/{}", number("frame_id")?, number("frame_compile_id")?);
    Some(match number("compiled_autograd_id") {
        Some(outer) => format!("!{outer}/{id}"),
        None => id,
    })
}

/// The id of what is compiled in this thread now.
fn current_id(py: Python<'_>) -> Option<String> {
    let context = get(&imports::loaded(py, "torch._guards")?, "CompileContext")?;
    id(&context.call_method0("current_compile_id").or_none().filter(|id| !id.is_none())?)
}
