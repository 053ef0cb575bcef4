//! When module X has been imported, run f: now if it is in, else right after its import. Imports nothing itself.
//!
//! A finder (`late.py`) at the front of `sys.meta_path` answers for the names in the table only. It takes the spec that the other
//! finders give, and puts an `exec_module` on that spec's loader, the instance, which takes itself off when it runs:
//! the loader that the module ends up with is the one that it would have without us. (A loader of our own around it
//! would have to be taken off `__spec__` and `__loader__` afterwards, and would be missed by whoever looks meanwhile.)

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::process::lock::Mutex;
use crate::python::host::boundary;
use crate::python::host::boundary::OrNone;
use crate::python::host::convert::get;
use crate::python::host::guard::guard;
use crate::python::host::imports;
use crate::python::host::text::{self, Text};

/// What runs when a module has been imported, or imported again (`importlib.reload`).
pub type Imported = Arc<dyn Fn(&Bound<'_, PyAny>) -> PyResult<()> + Send + Sync>;

static TABLE: Mutex<BTreeMap<&'static str, Vec<Imported>>> = Mutex::new(BTreeMap::new());
/// Modules whose code was running already when they were asked for: nothing tells of their end, so it is looked for at
/// each later import.
static HALFWAY: Mutex<Vec<&'static str>> = Mutex::new(Vec::new());
static ANY_HALFWAY: AtomicBool = AtomicBool::new(false);

static FINDER: Mutex<Option<Py<PyAny>>> = Mutex::new(None);

thread_local! {
    /// Names whose spec this thread is asking the other finders for: some of them ask the whole path again.
    static ASKING: RefCell<Vec<&'static str>> = const { RefCell::new(Vec::new()) };
}

/// Runs `run` when `module` has been imported; at once if it has been.
pub fn when_imported(py: Python<'_>, module: &'static str, run: Imported) {
    TABLE.lock().entry(module).or_default().push(Arc::clone(&run));
    guard(py, "late.watch", || watch(py));
    match imported(py, module) {
        Some(module) => {
            guard(py, "late.run", || run(&module));
        }
        None if imports::loaded(py, module).is_some() => {
            HALFWAY.lock().push(module);
            ANY_HALFWAY.store(true, Ordering::Relaxed);
        }
        None => {}
    }
}

/// Runs what waits for modules that were halfway in, and are in now.
pub fn catch_up(py: Python<'_>) {
    if !ANY_HALFWAY.load(Ordering::Relaxed) {
        return;
    }
    // Bound first: a lock in the head of a `for` is held to its end.
    let names = std::mem::take(&mut *HALFWAY.lock());
    for name in names {
        match imported(py, name) {
            Some(module) => run_all(name, &module),
            // Not there at all: its import failed, and the next one goes through the finder.
            None if imports::loaded(py, name).is_some() => HALFWAY.lock().push(name),
            None => {}
        }
    }
    ANY_HALFWAY.store(!HALFWAY.lock().is_empty(), Ordering::Relaxed);
}

/// Forgets what waits for `module`. Takes the finder out when nothing waits for anything.
pub fn forget(py: Python<'_>, module: &str) {
    let empty = {
        let mut table = TABLE.lock();
        table.remove(module);
        table.is_empty()
    };
    HALFWAY.lock().retain(|halfway| *halfway != module);
    if !empty {
        return;
    }
    let finder = FINDER.lock().take();
    if let Some(finder) = finder {
        guard(py, "late.forget", || {
            let path = meta_path(py)?;
            // Not `remove`: it compares, which runs the `__eq__` of others.
            if let Some(at) = path.iter().position(|other| other.is(&finder)) {
                path.del_item(at)?;
            }
            Ok(())
        });
    }
}

/// The module, if its import has ended. While its code still runs, it is in `sys.modules` already.
pub fn imported<'py>(py: Python<'py>, name: &str) -> Option<Bound<'py, PyAny>> {
    let module = imports::loaded(py, name)?;
    let initializing = get(&module, "__spec__").and_then(|spec| get(&spec, "_initializing"));
    let initializing = initializing.is_some_and(|flag| flag.is_truthy().or_none().unwrap_or(false));
    (!initializing).then_some(module)
}

fn watch(py: Python<'_>) -> PyResult<()> {
    if FINDER.lock().is_some() {
        return Ok(());
    }
    let finder = TEXT.get(py, "ImportWatch")?.call0()?;
    let kept = FINDER.lock().replace(finder.clone().unbind());
    // Two threads at once: one stays.
    if let Some(other) = kept {
        *FINDER.lock() = Some(other);
        return Ok(());
    }
    meta_path(py)?.insert(0, finder)
}

fn meta_path(py: Python<'_>) -> PyResult<Bound<'_, PyList>> {
    Ok(py.import("sys")?.getattr("meta_path")?.cast_into::<PyList>()?)
}

fn watched(name: &str) -> Option<&'static str> {
    TABLE.lock().get_key_value(name).map(|(name, _)| *name)
}

static TEXT: Text = Text::new(include_str!("late.py"));

/// Compiles the text. Called when the module is imported.
pub fn prepare(py: Python<'_>) -> PyResult<()> {
    let globals = text::natives(
        py,
        [wrap_pyfunction!(begins, py)?, wrap_pyfunction!(ends, py)?, wrap_pyfunction!(has_been_imported, py)?],
    )?;
    for name in ["perform", "fault"] {
        globals.set_item(name, boundary::TEXT.get(py, name)?)?;
    }
    TEXT.compile(py, &globals)
}

/// For the text: the search for a module begins. Whether it is one that is waited for.
#[pyfunction]
fn begins(py: Python<'_>, name: &str) -> PyResult<bool> {
    boundary::native(
        py,
        "late.find",
        || false,
        || {
            catch_up(py);
            let Some(name) = watched(name) else { return Ok(false) };
            Ok(ASKING.with_borrow_mut(|asking| {
                let asks = !asking.contains(&name);
                if asks {
                    asking.push(name);
                }
                asks
            }))
        },
    )
}

/// For the text: it has ended.
#[pyfunction]
fn ends(name: &str) {
    ASKING.with_borrow_mut(|asking| asking.retain(|other| *other != name));
}

/// For the text: the module's code has run.
#[pyfunction]
fn has_been_imported(py: Python<'_>, name: &str, module: &Bound<'_, PyAny>) -> PyResult<()> {
    boundary::native(
        py,
        "late.run",
        || (),
        || {
            run_all(name, module);
            Ok(())
        },
    )
}

fn run_all(name: &str, module: &Bound<'_, PyAny>) {
    let runs = TABLE.lock().get(name).cloned().unwrap_or_default();
    for run in runs {
        guard(module.py(), "late.run", || run(module));
    }
}
