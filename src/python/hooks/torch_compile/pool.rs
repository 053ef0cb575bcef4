//! A Triton kernel that Inductor gives to its pool of processes. Nothing of Triton's runs in this process; the request
//! waits for the future. It is told of as a compile of Triton, from `AsyncCompile.triton(kernel_name, source_code)` to
//! the end of the pool's work, when somebody waits for it: `LambdaFuture.result`.
//!
//! `triton` is called twice for one kernel, when it is found and when the module is loaded, and gives the same future.
//! Whether the worker compiled it, or found it on disk, it does not say: the files in Triton's cache do, by their age.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyWeakrefReference};

use crate::config::environment;
use crate::model::event::{CacheResult, Kernel, Kind};
use crate::monitor::Pending;
use crate::process::lock::Mutex;
use crate::python::hooks::triton;
use crate::python::host::boundary::OrNone;
use crate::python::host::bounded::each;
use crate::python::host::convert::{get, get_text, text};
use crate::python::host::guard::guard;
use crate::python::host::imports;
use crate::python::patch::{After, Call, Patches};
use crate::python::stall;

/// A kernel that the pool was given.
struct Given {
    future: Py<PyWeakrefReference>,
    name: String,
    /// Finds it again in the thread that compiles it, where the pool is one of threads.
    source: String,
    pending: Arc<Pending>,
    submitted: SystemTime,
    /// How long the pool took, once it is done.
    done: Arc<Mutex<Option<Duration>>>,
}

static GIVEN: Mutex<VecDeque<Given>> = Mutex::new(VecDeque::new());
/// Of those that nobody waits for the oldest are forgotten.
const GIVEN_KEPT: usize = 1024;

/// The clock of a file system may be behind by one tick of the kernel.
const TICK: Duration = Duration::from_millis(10);

/// Stands in front of both ends.
pub fn install(module: &Bound<'_, PyModule>, patches: &'static Patches) -> PyResult<()> {
    let py = module.py();
    if let Some(class) = get(module, "AsyncCompile") {
        patches.wrap(&class, "triton", "torch_compile.pool.triton", gives)?;
    }
    if let Some(class) =
        imports::loaded(py, "torch._inductor.codecache").and_then(|module| get(&module, "LambdaFuture"))
    {
        patches.wrap(&class, "result", "torch_compile.pool.result", waits)?;
    }
    if module.hasattr("_worker_compile_triton_thread")? {
        patches.wrap(module, "_worker_compile_triton_thread", "torch_compile.pool.thread", compiles)?;
    }
    Ok(())
}

/// Forgets what is on its way.
pub fn forget() {
    let given = std::mem::take(&mut *GIVEN.lock());
    // Not under our lock: that may run Python.
    drop(given);
}

/// `AsyncCompile.triton(self, kernel_name, source_code, device_str)`.
fn gives(py: Python<'_>, call: &Call<'_, '_>) -> PyResult<Option<After>> {
    let of = |index, name: &str| call.arg(index).or_else(|| call.keyword(name)).map(|any| text(&any));
    let (Some(name), Some(source)) = (of(1, "kernel_name"), of(2, "source_code")) else { return Ok(None) };
    let Some(pending) = stall::begin(py) else { return Ok(None) };
    let submitted = SystemTime::now();
    Ok(Some(Box::new(move |py, outcome| {
        // Else it was compiled here and now, which Triton's own hook has told, or is one of a cache.
        let Some(task) = outcome.ok().and_then(|future| get(future, "future")) else { return Ok(None) };
        let Ok(future) = outcome.map(|future| PyWeakrefReference::new(future)) else { return Ok(None) };
        let future = future?.unbind();
        if GIVEN.lock().iter().any(|given| given.future.as_ptr() == future.as_ptr()) {
            return Ok(None);
        }
        let done = Arc::new(Mutex::new(None));
        let (clock, finished) = (Arc::clone(&pending), Arc::clone(&done));
        // In a thread of the pool's. It touches nothing of Python's.
        let callback = PyCFunction::new_closure(py, None, None, move |_, _| {
            finished.lock().get_or_insert_with(|| clock.elapsed());
        })?;
        task.call_method1("add_done_callback", (callback,))?;
        let given = Given { future, name, source, pending, submitted, done };
        let mut all = GIVEN.lock();
        let oldest = if all.len() >= GIVEN_KEPT { all.pop_front() } else { None };
        all.push_back(given);
        drop(all);
        drop(oldest);
        Ok(None)
    })))
}

/// `_worker_compile_triton_thread(load_kernel, ...)`: what compiles in this thread nests in the kernel.
fn compiles(_py: Python<'_>, call: &Call<'_, '_>) -> PyResult<Option<After>> {
    // `functools.partial(_load_triton_kernel_from_source, kernel_name, source_code)`.
    let source = call.arg(0).and_then(|load| get(&load, "args")?.get_item(1).or_none()).map(|source| text(&source));
    let Some(source) = source else { return Ok(None) };
    let pending =
        GIVEN.lock().iter().rev().find(|given| given.source == source).map(|given| Arc::clone(&given.pending));
    let Some(pending) = pending else { return Ok(None) };
    stall::enter(&pending);
    Ok(Some(Box::new(move |_py, _outcome| {
        stall::leave(&pending);
        Ok(None)
    })))
}

/// `LambdaFuture.result(self)`.
fn waits(py: Python<'_>, call: &Call<'_, '_>) -> PyResult<Option<After>> {
    let Some(future) = call.arg(0) else { return Ok(None) };
    let Some(given) = take(&future) else { return Ok(None) };
    // Triton finds the binary on disk, in this process: a part of it.
    let _ = py;
    stall::enter(&given.pending);
    triton::expect_from_pool(true);
    Ok(Some(Box::new(move |py, outcome| {
        triton::expect_from_pool(false);
        stall::leave(&given.pending);
        let file = outcome.ok().and_then(|kernel| get_text(kernel, "filename"));
        let hashes = outcome.ok().map(hashes).unwrap_or_default();
        let mut event = triton::RUNTIME.event(Kind::Compile, Kernel { file, ..Kernel::named(given.name) });
        event.duration = given.done.lock().unwrap_or_else(|| given.pending.elapsed());
        event.failure = outcome.err().map(|error| stall::failure(py, error));
        event.cache = guard(py, "torch_compile.pool.age", || Ok(age(&hashes, given.submitted))).unwrap_or_default();
        if event.cache == CacheResult::Hit {
            event.kind = Kind::Load;
        }
        triton::add_process(py, &mut event);
        for hash in &hashes {
            triton::remember(hash);
        }
        Ok(stall::finish(py, &given.pending, event, hashes.first().map_or("", String::as_str)).1)
    })))
}

fn take(future: &Bound<'_, PyAny>) -> Option<Given> {
    let weak = PyWeakrefReference::new(future).ok()?;
    let mut given = GIVEN.lock();
    let at = given.iter().rposition(|given| given.future.as_ptr() == weak.as_ptr())?;
    given.remove(at)
}

/// Of each configuration's kernel, as Triton has it.
fn hashes(tuner: &Bound<'_, PyAny>) -> Vec<String> {
    let results = get(tuner, "compile_results");
    let results = results.iter().flat_map(|results| each(results, 256));
    results.filter_map(|result| get_text(&get(&result, "kernel")?, "hash")).collect()
}

/// Whether the files of these kernels were there before.
fn age(hashes: &[String], since: SystemTime) -> CacheResult {
    let Some(folder) = environment::triton_cache() else { return CacheResult::Unknown };
    let mut found = CacheResult::Unknown;
    for folder in hashes.iter().filter_map(|hash| Some(folder.join(base32(hash)?))) {
        for file in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let written = file.metadata().and_then(|metadata| metadata.modified());
            let Ok(written) = written else { continue };
            if written + TICK >= since {
                return CacheResult::Miss;
            }
            found = CacheResult::Hit;
        }
    }
    found
}

/// The name of a kernel's folder: its hash, which is in hexadecimal, in base 32 without padding.
fn base32(hash: &str) -> Option<String> {
    const DIGITS: [u8; 32] = *b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut name = String::with_capacity(hash.len() * 4 / 5 + 1);
    let (mut bits, mut count) = (0u32, 0);
    for digit in hash.chars() {
        (bits, count) = (bits << 4 | digit.to_digit(16)?, count + 4);
        if count >= 5 {
            count -= 5;
            name.push(char::from(*DIGITS.get((bits >> count) as usize & 31)?));
        }
        bits &= (1 << count) - 1;
    }
    if count > 0 {
        name.push(char::from(*DIGITS.get((bits << (5 - count)) as usize & 31)?));
    }
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::base32;

    #[test]
    fn a_kernels_folder_is_its_hash_in_base_32() {
        let hash = "de120887ecc8a2d04c519fc3afea0ec2ed43ad0b0b3114a4a90435d6b8ae7f57";
        assert_eq!(base32(hash).as_deref(), Some("3YJARB7MZCRNATCRT7B272QOYLWUHLILBMYRJJFJAQ25NOFOP5LQ"));
        assert_eq!(base32("no hash"), None);
    }
}
