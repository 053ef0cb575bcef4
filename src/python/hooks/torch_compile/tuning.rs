//! What Inductor benchmarks, and what it records.

use std::cell::Cell;

use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::RUNTIME;
use super::frame;
use crate::board::record::About;
use crate::model::event::{Autotune, CacheResult, Kernel, Kind};
use crate::python::host::boundary::OrNone;
use crate::python::host::convert::{get, get_text, item, text};
use crate::python::patch::{After, Call, Patches};
use crate::python::stall;

/// Configurations looked at.
const CONFIGURATIONS: usize = 1024;

thread_local! {
    /// Whether the `lookup` that this thread is in has benchmarked.
    static BENCHMARKED: Cell<bool> = const { Cell::new(false) };
}

/// `CachingAutotuner`: its first run chooses one of its configurations.
pub fn install(module: &Bound<'_, PyModule>, patches: &'static Patches) -> PyResult<()> {
    let Some(class) = get(module, "CachingAutotuner") else { return Ok(()) };
    patches.wrap(&class, "autotune_to_one_config", "torch_compile.autotune", tunes)?;
    patches.wrap(&class, "coordinate_descent_tuning", "torch_compile.coordinate_descent", descends)?;
    Ok(())
}

/// `max-autotune`: which of several kernels, and of their configurations, is chosen by benchmark, inside a compile.
pub fn install_selection(module: &Bound<'_, PyModule>, patches: &'static Patches) -> PyResult<()> {
    let Some(class) = get(module, "AlgorithmSelectorCache") else { return Ok(()) };
    patches.wrap(&class, "lookup", "torch_compile.max_autotune", selects)?;
    for (name, place) in [
        ("benchmark_in_current_process", "torch_compile.benchmark_in_current_process"),
        ("benchmark_in_sub_process", "torch_compile.benchmark_in_sub_process"),
    ] {
        patches.wrap(&class, name, place, benchmarks)?;
    }
    Ok(())
}

/// A CUDA graph is recorded: the graph is run once more for it, with the device waited for.
pub fn install_recording(module: &Bound<'_, PyModule>, patches: &'static Patches) -> PyResult<()> {
    let Some(class) = get(module, "CUDAGraphTreeManager") else { return Ok(()) };
    patches.wrap(&class, "record_function", "torch_compile.record_function", records)?;
    Ok(())
}

/// `autotune_to_one_config(self, *args, **kwargs)`: benchmarks each launcher, and keeps the best.
fn tunes(py: Python<'_>, call: &Call<'_, '_>) -> PyResult<Option<After>> {
    let Some(tuner) = call.arg(0) else { return Ok(None) };
    let launchers = get(&tuner, "launchers").and_then(|launchers| launchers.len().or_none());
    benchmark(py, &tuner, launchers.map(|count| count as u64))
}

/// `coordinate_descent_tuning(self, launcher, *args, **kwargs)`: gives the launcher back where it is not wanted.
fn descends(py: Python<'_>, call: &Call<'_, '_>) -> PyResult<Option<After>> {
    let Some(tuner) = call.arg(0) else { return Ok(None) };
    benchmark(py, &tuner, None)
}

fn benchmark(py: Python<'_>, tuner: &Bound<'_, PyAny>, benchmarked: Option<u64>) -> PyResult<Option<After>> {
    let Some(pending) = stall::begin_holding(py) else { return Ok(None) };
    pending.shows(About { runtime: RUNTIME.name, kind: Kind::Autotune, kernel: &kernel(tuner).name });
    let tuner = tuner.clone().unbind();
    stall::enter(&pending);
    Ok(Some(Box::new(move |py, outcome| {
        stall::leave(&pending);
        let tuner = tuner.bind(py);
        let mut event = RUNTIME.event(Kind::Autotune, kernel(tuner));
        event.duration = pending.elapsed();
        event.cache = CacheResult::Miss;
        event.id = get(tuner, "compile_id").and_then(|id| super::id(&id));
        event.failure = outcome.err().map(|error| stall::failure(py, error));
        event.autotune = Some(Autotune {
            declared: get(tuner, "configs").and_then(|configs| configs.len().or_none()).map(|count| count as u64),
            benchmarked,
            best: outcome.ok().and_then(|value| best(tuner, value)),
            ..Autotune::default()
        });
        super::add_process(py, &mut event);
        Ok(frame::record(py, &pending, event))
    })))
}

/// The kernel as Inductor names it; `fn` may have been left behind in the process that compiled it.
fn kernel(tuner: &Bound<'_, PyAny>) -> Kernel {
    let of_inductor = get(tuner, "inductor_meta").and_then(|meta| item(&meta, "kernel_name")).map(|name| text(&name));
    let of_function = || get(tuner, "fn").and_then(|function| get_text(&function, "__name__"));
    Kernel { file: get_text(tuner, "filename"), ..Kernel::named(of_inductor.or_else(of_function).unwrap_or_default()) }
}

/// The configuration of the launcher that is left, or that was given back.
fn best(tuner: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> Option<String> {
    let left = get(tuner, "launchers").and_then(|launchers| launchers.get_item(0).or_none());
    let launcher = if value.is_none() { left? } else { value.clone() };
    let config = get(&launcher, "config")?;
    let mut words: Vec<String> = get(&config, "kwargs")
        .and_then(|kwargs| kwargs.cast_into::<PyDict>().ok())
        .map(|kwargs| {
            kwargs.iter().take(64).map(|(name, value)| format!("{}: {}", text(&name), text(&value))).collect()
        })
        .unwrap_or_default();
    for option in ["num_warps", "num_stages"] {
        words.extend(get(&config, option).map(|value| format!("{option}: {}", text(&value))));
    }
    Some(words.join(", "))
}

/// `lookup(self, choices, op, inputs, benchmark)`: gives what is known, and calls `benchmark`, if it is given one, for
/// what is not.
fn selects(py: Python<'_>, call: &Call<'_, '_>) -> PyResult<Option<After>> {
    if call.arg(4).or_else(|| call.keyword("benchmark")).is_none_or(|benchmark| benchmark.is_none()) {
        return Ok(None);
    }
    let Some(pending) = stall::begin(py) else { return Ok(None) };
    let name = call.arg(2).or_else(|| call.keyword("op")).map(|name| text(&name)).unwrap_or_default();
    let choices = call.arg(1).or_else(|| call.keyword("choices"));
    let choices = choices.and_then(|choices| choices.len().or_none()).map(|choices| choices as u64);
    pending.shows(About { runtime: RUNTIME.name, kind: Kind::Autotune, kernel: &name });
    let outer = BENCHMARKED.replace(false);
    stall::enter(&pending);
    Ok(Some(Box::new(move |py, outcome| {
        stall::leave(&pending);
        if !BENCHMARKED.replace(outer) {
            return Ok(None);
        }
        let mut event = RUNTIME.event(Kind::Autotune, Kernel::named(name));
        event.duration = pending.elapsed();
        event.cache = CacheResult::Miss;
        event.id = super::current_id(py);
        event.failure = outcome.err().map(|error| stall::failure(py, error));
        let timings = outcome.ok().and_then(|timings| timings.cast::<PyDict>().ok());
        // From a kernel to its time in milliseconds.
        let timings: Vec<(String, f64)> = timings
            .into_iter()
            .flat_map(|timings| timings.iter())
            .take(CONFIGURATIONS)
            .filter_map(|(choice, time)| Some((get_text(&choice, "name")?, time.extract().or_none()?)))
            .collect();
        let best = timings.iter().min_by(|one, other| one.1.total_cmp(&other.1)).map(|(name, _)| name.clone());
        let benchmarked = (!timings.is_empty()).then_some(timings.len() as u64);
        event.autotune = Some(Autotune { declared: choices, benchmarked, best, timings, ..Autotune::default() });
        super::add_process(py, &mut event);
        Ok(frame::record(py, &pending, event))
    })))
}

/// Both of these benchmark what they are given.
fn benchmarks(_py: Python<'_>, _call: &Call<'_, '_>) -> PyResult<Option<After>> {
    BENCHMARKED.set(true);
    Ok(None)
}

/// `record_function(self, new_inputs, function_id)`.
fn records(py: Python<'_>, call: &Call<'_, '_>) -> PyResult<Option<After>> {
    let Some(pending) = stall::begin_holding(py) else { return Ok(None) };
    let id = call.arg(0).and_then(|manager| super::id(&get(&manager, "compile_id")?));
    let function = call.arg(2).or_else(|| call.keyword("function_id"));
    let number = function.and_then(|function| get(&function, "id")).map(|id| text(&id)).unwrap_or_default();
    let frame = id.as_deref().and_then(frame::of_id).unwrap_or_default();
    let of = if frame.name.is_empty() { format!("function {number}") } else { frame.name.clone() };
    let kernel = Kernel { name: format!("CUDA graph of {of}"), ..frame };
    pending.shows(About { runtime: RUNTIME.name, kind: Kind::Compile, kernel: &kernel.name });
    stall::enter(&pending);
    Ok(Some(Box::new(move |py, outcome| {
        stall::leave(&pending);
        let mut event = RUNTIME.event(Kind::Compile, kernel);
        event.duration = pending.elapsed();
        event.id = id;
        event.failure = outcome.err().map(|error| stall::failure(py, error));
        super::add_process(py, &mut event);
        Ok(frame::record(py, &pending, event))
    })))
}
