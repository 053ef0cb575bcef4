//! When module X has been imported, run f: now if it is in, else right after its import. Imports nothing itself.
//!
//! A finder at the front of `sys.meta_path` answers for the names in the table only. It takes the spec that the other
//! finders give, and puts an `exec_module` on that spec's loader, the instance, which takes itself off when it runs:
//! the loader that the module ends up with is the one that it would have without us. (A loader of our own around it
//! would have to be taken off `__spec__` and `__loader__` afterwards, and would be missed by whoever looks meanwhile.)

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::exceptions::PyImportError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyType, PyWeakrefMethods, PyWeakrefReference};
use pyo3::{PyTraverseError, PyVisit};

use crate::process::lock::Mutex;
use crate::python::host::convert::get;
use crate::python::host::guard::guard;
use crate::python::host::imports;

/// What runs when a module has been imported, or imported again (`importlib.reload`).
pub type Imported = Arc<dyn Fn(&Bound<'_, PyAny>) -> PyResult<()> + Send + Sync>;

static TABLE: Mutex<BTreeMap<&'static str, Vec<Imported>>> = Mutex::new(BTreeMap::new());
/// Modules whose code was running already when they were asked for: nothing tells of their end, so it is looked for at
/// each later import.
static HALFWAY: Mutex<Vec<&'static str>> = Mutex::new(Vec::new());
static ANY_HALFWAY: AtomicBool = AtomicBool::new(false);

static FINDER: Mutex<Option<Py<Finder>>> = Mutex::new(None);

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
    let initializing = initializing.is_some_and(|flag| flag.is_truthy().unwrap_or(false));
    (!initializing).then_some(module)
}

fn watch(py: Python<'_>) -> PyResult<()> {
    let finder = {
        let mut finder = FINDER.lock();
        match &*finder {
            Some(_) => return Ok(()),
            None => finder.insert(Py::new(py, Finder)?).clone_ref(py),
        }
    };
    meta_path(py)?.insert(0, finder)
}

fn meta_path(py: Python<'_>) -> PyResult<Bound<'_, PyList>> {
    Ok(py.import("sys")?.getattr("meta_path")?.cast_into::<PyList>()?)
}

fn watched(name: &str) -> Option<&'static str> {
    TABLE.lock().get_key_value(name).map(|(name, _)| *name)
}

/// In `sys.meta_path`, first.
#[pyclass(frozen, module = "jitspan", name = "ImportWatch")]
struct Finder;

#[pymethods]
impl Finder {
    #[pyo3(signature = (name, path = None, target = None))]
    fn find_spec<'py>(
        slf: &Bound<'py, Self>,
        name: &str,
        path: Option<Bound<'py, PyAny>>,
        target: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        catch_up(slf.py());
        let Some(name) = watched(name) else { return Ok(None) };
        if ASKING.with_borrow(|asking| asking.contains(&name)) {
            return Ok(None);
        }
        ASKING.with_borrow_mut(|asking| asking.push(name));
        let spec = ask_others(slf, name, path, target);
        ASKING.with_borrow_mut(|asking| asking.retain(|other| *other != name));
        if let Some(loader) = spec.as_ref().ok().and_then(Option::as_ref).and_then(|spec| get(spec, "loader")) {
            guard(slf.py(), "late.loader", || watch_loader(&loader, name));
        }
        spec
    }
}

/// What the finders after us answer; an exception of theirs is theirs.
fn ask_others<'py>(
    finder: &Bound<'py, Finder>,
    name: &str,
    path: Option<Bound<'py, PyAny>>,
    target: Option<Bound<'py, PyAny>>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let all: Vec<_> = meta_path(finder.py())?.iter().collect();
    let after = all.iter().position(|other| other.is(finder)).map_or(0, |at| at + 1);
    for other in all.iter().skip(after) {
        let Some(find) = get(other, "find_spec") else { continue };
        let spec = find.call1((name, &path, &target))?;
        if !spec.is_none() {
            return Ok(Some(spec));
        }
    }
    Ok(None)
}

fn watch_loader(loader: &Bound<'_, PyAny>, name: &'static str) -> PyResult<()> {
    // `importlib.util.LazyLoader` only prepares the module; the loader inside it runs when it is first used.
    let lazy = loader.get_type().name()? == "LazyLoader";
    let inner = if lazy { get(loader, "loader") } else { None };
    let loader = inner.as_ref().unwrap_or(loader);
    // A class is the loader of built-in and frozen modules, and cannot be changed.
    if get(loader, "exec_module").is_none() || loader.is_instance_of::<PyType>() {
        return Ok(());
    }
    let before = own_execution(loader);
    let ours = before.as_ref().and_then(|before| before.cast::<Execution>().ok());
    if ours.is_some_and(|ours| ours.get().name == name) {
        return Ok(());
    }
    let weak = PyWeakrefReference::new(loader)?.unbind();
    let execution = Execution { loader: weak, before: before.map(Bound::unbind), name };
    loader.setattr(EXECUTE, Py::new(loader.py(), execution)?)
}

/// What is set on the loader, the instance; not its class's method.
fn own_execution<'py>(loader: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
    loader.getattr("__dict__").ok()?.cast_into::<PyDict>().ok()?.get_item(EXECUTE).ok().flatten()
}

const EXECUTE: &str = "exec_module";

/// `exec_module` of one loader, until it has run.
#[pyclass(frozen, module = "jitspan")]
struct Execution {
    /// Weak: the loader has us, and is not always used.
    loader: Py<PyWeakrefReference>,
    /// What somebody else had put there.
    before: Option<Py<PyAny>>,
    name: &'static str,
}

#[pymethods]
impl Execution {
    fn __call__(slf: &Bound<'_, Self>, module: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let py = slf.py();
        let Some(loader) = slf.get().loader.bind(py).upgrade() else {
            return Err(PyImportError::new_err("the loader is gone"));
        };
        let name = get(module, "__name__").and_then(|name| name.extract::<String>().ok());
        // zipimport has one loader for all modules of an archive.
        if name.as_deref() != Some(slf.get().name) {
            return slf.get().behind(&loader)?.call1((module,)).map(Bound::unbind);
        }
        if own_execution(&loader).is_some_and(|now| now.is(slf)) {
            match &slf.get().before {
                Some(before) => loader.setattr(EXECUTE, before)?,
                None => loader.delattr(EXECUTE)?,
            }
        }
        let result = slf.get().behind(&loader)?.call1((module,))?;
        run_all(slf.get().name, module);
        Ok(result.unbind())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.before)
    }
}

impl Execution {
    /// What the loader would have run without us.
    fn behind<'py>(&self, loader: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = loader.py();
        match &self.before {
            Some(before) => Ok(before.bind(py).clone()),
            None => py.import("builtins")?.getattr("super")?.call1((loader.get_type(), loader)).and_then(|parent| {
                // `super` starts above the class itself.
                let own = loader.get_type().getattr("__dict__")?.get_item(EXECUTE);
                match own {
                    Ok(own) if own.hasattr("__get__")? => own.call_method1("__get__", (loader, loader.get_type())),
                    Ok(own) => Ok(own),
                    Err(_) => parent.getattr(EXECUTE),
                }
            }),
        }
    }
}

fn run_all(name: &str, module: &Bound<'_, PyAny>) {
    let runs = TABLE.lock().get(name).cloned().unwrap_or_default();
    for run in runs {
        guard(module.py(), "late.run", || run(module));
    }
}
