//! CuTeDSL (`nvidia-cutlass-dsl`). `cute.compile` is left alone: it is an object with options and methods from 4.3 on,
//! many have bound it before we come, and calling a `@cute.jit` function compiles without it. What is watched are
//! methods of the classes below it, none of which a compiled function calls:
//!
//! | place | when | versions |
//! |---|---|---|
//! | `BaseDSL.generate_mlir` | each trace: every `cute.compile`, and every call of a `@cute.jit` function | all |
//! | `_device_func` of the DSLs | in its place, for `cute.compile[DeviceTarget]` | 4.6 on |
//! | `BaseDSL.compile_and_cache` | inside it, unless memory has the result: a compile, or a load from disk | all |
//! | `Compiler.compile` | inside that, unless the disk has the result: the pass pipeline | all |
//! | `BaseDSL.post_compilation_cleanup` | at its end, before the program runs; error mode raises here | all |

mod describe;
mod trace;

use pyo3::prelude::*;

use crate::process::lock::Mutex;
use crate::python::hooks::{Runtime, State, known};
use crate::python::host::boundary::OrNone;
use crate::python::host::convert::get;
use crate::python::patch::Patches;

/// The row of the table.
pub static RUNTIME: Runtime = Runtime {
    name: "cutedsl",
    title: "CuTeDSL",
    package: "cutlass",
    distributions: &["nvidia-cutlass-dsl"],
    tested: ("4.2.1", "4.8.1"),
    // Not `cutlass`: that is also the name of an older package without a JIT, and it is long before its own end that
    // the classes are there.
    module: "cutlass.cutlass_dsl.cutlass",
    parts: &[],
    install,
    armed: |_, _| Ok(()),
    forget: |_| known::forget(),
    patches: Patches::new(),
    state: Mutex::new(State::Waiting),
};

/// Stands in all places of this version. `module` is `cutlass.cutlass_dsl.cutlass`, which has imported the others.
fn install(module: &Bound<'_, PyModule>, patches: &'static Patches) -> PyResult<()> {
    let modules = module.py().import("sys")?.getattr("modules")?;
    let compiler = modules.get_item("cutlass.base_dsl.compiler")?.getattr("Compiler")?;
    let dsl = modules.get_item("cutlass.base_dsl.dsl")?.getattr("BaseDSL")?;
    describe::learn(&dsl)?;
    describe::remember_version(module.py());
    patches.wrap(&compiler, "compile", "cutedsl.Compiler.compile", trace::pipeline)?;
    patches.wrap(&dsl, "compile_and_cache", "cutedsl.compile_and_cache", trace::build)?;
    patches.wrap(&dsl, "post_compilation_cleanup", "cutedsl.post_compilation_cleanup", trace::clean_up)?;
    patches.wrap(&dsl, "generate_mlir", "cutedsl.generate_mlir", trace::generate)?;
    let devices = [
        ("CuTeDSL", "cutedsl.CuTeDSL._device_func"),
        ("CuteExperimentalDSL", "cutedsl.CuteExperimentalDSL._device_func"),
    ];
    for (class, place) in devices {
        if let Some(class) = get(module, class).filter(|class| class.hasattr("_device_func").or_none().unwrap_or(false))
        {
            patches.wrap(&class, "_device_func", place, trace::device)?;
        }
    }
    Ok(())
}
