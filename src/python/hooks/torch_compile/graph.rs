//! A graph that Inductor compiles: `compile_fx._compile_fx_inner(gm, example_inputs, **graph_kwargs)`. Inside a frame it
//! is a part of that one. Alone it is a backward that is compiled when it first runs, or a piece that a server compiles
//! by itself (vLLM's piecewise backend, `standalone_compile`).

use pyo3::prelude::*;

use super::RUNTIME;
use super::cache::Counters;
use super::frame;
use crate::board::record::About;
use crate::model::event::{CacheResult, Cause, Kernel, Kind};
use crate::python::host::boundary::OrNone;
use crate::python::host::bounded::each;
use crate::python::host::convert::{get, get_text};
use crate::python::patch::{After, Call, Patches};
use crate::python::stall;

/// A graph that belongs to no frame.
const UNNAMED: &str = "inductor_graph";

/// Nodes that are looked at, to see whether there is anything to compile.
const NODES: usize = 10_000;

/// Stands in front of it.
pub fn install(module: &Bound<'_, PyModule>, patches: &'static Patches) -> PyResult<()> {
    patches.wrap(module, "_compile_fx_inner", "torch_compile.graph", compiles)?;
    Ok(())
}

fn compiles(py: Python<'_>, call: &Call<'_, '_>) -> PyResult<Option<After>> {
    let graph = call.arg(0).or_else(|| call.keyword("gm"));
    if frame::has_graph() || !graph.as_ref().is_some_and(computes) {
        return Ok(None);
    }
    let Some(pending) = stall::begin_holding(py) else { return Ok(None) };
    let id = super::current_id(py);
    let backward = call.keyword("is_backward").is_some_and(|flag| flag.is_truthy().or_none().unwrap_or(false));
    let kernel = kernel(id.as_deref(), backward);
    let cause = backward.then_some(Cause::FirstUse);
    let counters = Counters::now(py);
    pending.shows(About { runtime: RUNTIME.name, kind: Kind::Compile, kernel: &kernel.name });
    stall::enter(&pending);
    Ok(Some(Box::new(move |py, outcome| {
        stall::leave(&pending);
        let mut event = RUNTIME.event(Kind::Compile, kernel);
        event.duration = pending.elapsed();
        event.id = id;
        event.cause = cause;
        event.failure = outcome.err().map(|error| stall::failure(py, error));
        event.cache = counters.since(py, true);
        if event.cache == CacheResult::Hit && event.failure.is_none() {
            event.kind = Kind::Load;
        }
        super::add_process(py, &mut event);
        Ok(frame::record(py, &pending, event))
    })))
}

/// Of the frame that it was made for, where that is known.
fn kernel(id: Option<&str>, backward: bool) -> Kernel {
    match id.and_then(frame::of_id) {
        Some(kernel) if backward => Kernel { name: format!("{} (backward)", kernel.name), ..kernel },
        Some(kernel) => kernel,
        None => Kernel::named(UNNAMED),
    }
}

/// Whether the graph has a call in it: one that only hands its inputs on is not compiled.
fn computes(graph: &Bound<'_, PyAny>) -> bool {
    let nodes = get(graph, "graph").and_then(|graph| get(&graph, "nodes"));
    let Some(nodes) = nodes else { return true };
    let mut nodes = each(&nodes, NODES);
    let computes = nodes.any(|node| get_text(&node, "op").is_some_and(|op| op.starts_with("call_")));
    computes || nodes.has_failed()
}
