//! FlashInfer's tuner benchmarks only inside `autotune()`. Outside of it a shape that no tuning covers takes a fallback,
//! which is correct and may be slow, for ever. `AutoTunerStatistics.cache_misses` would count these; no version from 0.3
//! to 0.7 writes to it. What they do is log, through the module's `logger`:
//!
//! | call | when | versions |
//! |---|---|---|
//! | `warning("[AutoTuner]: No tuned config covers ...")` | once for a shape, if the operation was tuned at all | 0.7 on |
//! | `debug("[AutoTuner]: Using fallback tactic ...")` | each time, also of an operation that nobody tuned | all |
//!
//! `choose_one` is on the path of every launch and stays unwrapped. The first is used where there is one.

use std::collections::BTreeSet;

use pyo3::prelude::*;

use super::RUNTIME;
use crate::model::event::{Autotune, CacheResult, Kernel, Kind};
use crate::process::lock::Mutex;
use crate::python::host::boundary::OrNone;
use crate::python::host::bounded::each;
use crate::python::host::convert::{get, text};
use crate::python::host::here;
use crate::python::patch::{After, Call, Patches};
use crate::python::stall;

// After `[AutoTuner]: `, which is `[AutoTunner]: ` in old versions.
const UNCOVERED: &str = "No tuned config covers ";
const FALLBACK: &str = "Using fallback tactic for ";

/// Misses that were told, which the second call repeats; of more, the rest is not told.
static TOLD: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
const TOLD_KEPT: usize = 4096;

/// Names in the code of a constructor.
const NAMES: usize = 1024;

/// Stands in front of one of the logger's methods.
pub fn install(module: &Bound<'_, PyModule>, patches: &'static Patches) -> PyResult<()> {
    // A package that only hands on what the module in it has.
    let Some(tuner) = get(module, "AutoTuner").filter(|tuner| {
        let of = get(tuner, "__module__").map(|of| text(&of));
        of.is_some_and(|of| module.name().or_none().is_some_and(|name| name.to_string_lossy() == of))
    }) else {
        return Ok(());
    };
    let Some(logger) = get(module, "logger") else { return Ok(()) };
    let names = get(&tuner, "__init__").and_then(|init| get(&get(&init, "__code__")?, "co_names"));
    let warns = names.is_some_and(|names| each(&names, NAMES).any(|name| text(&name) == "_logged_cache_miss_oor"));
    match warns {
        true => patches.wrap(&logger, "warning", "flashinfer.tuner.warning", hears)?,
        false => patches.wrap(&logger, "debug", "flashinfer.tuner.debug", hears)?,
    };
    Ok(())
}

/// Forgets what was told.
pub fn forget() {
    TOLD.lock().clear();
}

fn hears(py: Python<'_>, call: &Call<'_, '_>) -> PyResult<Option<After>> {
    let message = call.arg(0).map(|message| text(&message)).unwrap_or_default();
    let Some((operation, shapes, runner)) = read(&message) else { return Ok(None) };
    let key = format!("{operation} {shapes}");
    {
        let mut told = TOLD.lock();
        if told.contains(&key) || told.len() >= TOLD_KEPT {
            return Ok(None);
        }
        told.insert(key.clone());
    }
    let Some(pending) = stall::begin(py) else { return Ok(None) };
    let mut event = RUNTIME.event(Kind::TunerMiss, Kernel::named(operation));
    event.cache = CacheResult::Miss;
    event.options.extend(runner.map(|runner| ("runner".to_owned(), runner)));
    event.autotune = Some(Autotune { key: vec![("input_shapes".to_owned(), shapes)], ..Autotune::default() });
    event.thread = here::thread(py);
    // Before the launch, which then runs with the fallback; the line itself is logged after.
    let (_, raise) = stall::finish(py, &pending, event, &key);
    Ok(raise.map(|raise| -> After { Box::new(move |_py, _outcome| Ok(Some(raise))) }))
}

/// The operation, the shapes, and the runner that is fallen back to.
fn read(message: &str) -> Option<(String, String, Option<String>)> {
    let (_, message) = message.split_once("]: ")?;
    if let Some(said) = message.strip_prefix(UNCOVERED) {
        let (operation, rest) = said.split_once(" input_shapes=")?;
        let (shapes, rest) = rest.split_once("; ").unwrap_or((rest, ""));
        let runner = rest.split_once("runner=").map(|(_, rest)| rest.split([' ', '.']).next().unwrap_or(rest));
        return Some((operation.to_owned(), shapes.to_owned(), runner.map(str::to_owned)));
    }
    let (operation, shapes) = message.strip_prefix(FALLBACK)?.split_once(" with input shapes ")?;
    let operation = operation.strip_suffix(',').unwrap_or(operation);
    Some((operation.to_owned(), shapes.to_owned(), None))
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn both_lines_are_read() {
        let line = "[AutoTuner]: No tuned config covers trtllm::moe input_shapes=((4000, 128), (1,)); falling back to \
                    runner=MoERunner tactic=-1.  This shape is outside the tuning bucket range";
        let runner = Some("MoERunner".to_owned());
        assert_eq!(read(line), Some(("trtllm::moe".to_owned(), "((4000, 128), (1,))".to_owned(), runner)));
        let line = "[AutoTunner]: Using fallback tactic for fp4_gemm with input shapes ((8, 16),)";
        assert_eq!(read(line), Some(("fp4_gemm".to_owned(), "((8, 16),)".to_owned(), None)));
        assert_eq!(read("[Autotuner]: Config cache hit for fp4_gemm"), None);
    }
}
