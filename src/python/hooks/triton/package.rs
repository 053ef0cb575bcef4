//! The packages that have Triton's code. vLLM pins a fork of it under a name of its own (`tokenspeed_triton`), beside
//! Triton itself: one process may have both, in two versions. What is watched is the same; what depends on the version is
//! kept here, for each.

use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyType};

use super::{RUNTIME, TOKENSPEED};
use crate::process::lock::Mutex;
use crate::python::hooks::Runtime;
use crate::python::host::boundary::OrNone;
use crate::python::host::convert::{get, get_text};
use crate::python::host::imports;

/// Triton under one name.
pub struct Package {
    /// The row of the table.
    pub runtime: &'static Runtime,
    version: Mutex<Option<String>>,
    /// Whether it has a hook after the compile.
    pub post_hook: AtomicBool,
    /// Whether its listener times the stages, so that we need not.
    pub listener: AtomicBool,
    /// Whether it builds launchers.
    pub launcher: AtomicBool,
    /// Whether its first compile is behind us.
    pub behind: AtomicBool,
}

/// Triton itself.
pub static TRITON: Package = Package::new(&RUNTIME);
/// See above.
static FORK: Package = Package::new(&TOKENSPEED);

/// Classes that an object's class is derived from, of which one is Triton's.
const BASES: usize = 16;

/// The package whose kernel, source or tuner it is.
pub fn of(any: &Bound<'_, PyAny>) -> &'static Package {
    let bases = any.get_type().mro();
    let mut modules = bases.iter().take(BASES).filter_map(|base| get_text(&base, "__module__"));
    if modules.any(|module| FORK.has(&module)) { &FORK } else { &TRITON }
}

/// The package that has a row.
pub fn named(module: &Bound<'_, PyModule>) -> &'static Package {
    if module.name().or_none().is_some_and(|name| name.to_string_lossy() == FORK.import_name()) {
        &FORK
    } else {
        &TRITON
    }
}

/// Whether a class is Triton's own.
pub fn has_class(class: &Bound<'_, PyType>) -> bool {
    class
        .module()
        .or_none()
        .is_some_and(|module| [&TRITON, &FORK].iter().any(|package| package.has(&module.to_string_lossy())))
}

impl Package {
    const fn new(runtime: &'static Runtime) -> Self {
        Package {
            runtime,
            version: Mutex::new(None),
            post_hook: AtomicBool::new(false),
            listener: AtomicBool::new(false),
            launcher: AtomicBool::new(false),
            behind: AtomicBool::new(false),
        }
    }

    /// Its name in an import.
    pub fn import_name(&self) -> &'static str {
        self.runtime.package
    }

    fn has(&self, module: &str) -> bool {
        module.strip_prefix(self.import_name()).is_some_and(|rest| rest.starts_with('.'))
    }

    /// One of its modules, of those that are imported with it.
    ///
    /// # Errors
    /// Python's, where this version has none of that name.
    pub fn import<'py>(&self, py: Python<'py>, module: &str) -> PyResult<Bound<'py, PyModule>> {
        py.import(format!("{}.{module}", self.import_name()))
    }

    /// One of its modules, if it is there.
    pub fn loaded<'py>(&self, py: Python<'py>, module: &str) -> Option<Bound<'py, PyAny>> {
        imports::loaded(py, &format!("{}.{module}", self.import_name()))
    }

    /// Keeps its `__version__`.
    pub fn remember_version(&self, module: &Bound<'_, PyModule>) {
        let version = get_text(module, "__version__");
        *self.version.lock() = version;
    }

    /// Its `__version__`.
    pub fn whole_version(&self) -> Option<String> {
        self.version.lock().clone()
    }

    /// The version's first two numbers.
    pub fn version(&self) -> Option<(u32, u32)> {
        let version = self.whole_version()?;
        let mut numbers = version.split('.').map_while(|number| number.parse().ok());
        Some((numbers.next()?, numbers.next()?))
    }

    /// Whether its hooks give a kernel's qualified name: from 3.4 on. A kernel must have one name everywhere.
    pub fn is_qualified(&self) -> bool {
        self.version().is_none_or(|version| version >= (3, 4))
    }

    /// The compiler's or the driver's class of each backend that is installed (NVIDIA's, AMD's, others').
    pub fn backends<'py>(&self, py: Python<'py>, part: &str) -> Vec<Bound<'py, PyAny>> {
        let backends = self.loaded(py, "backends").and_then(|module| get(&module, "backends"));
        let backends = backends.and_then(|backends| backends.cast_into::<PyDict>().ok()).map(|all| all.values());
        backends.iter().flatten().filter_map(|backend| get(&backend, part)).collect()
    }

    /// Whether its next compile is the process's first: `triton_key()` then hashes the whole installation, 0.4 to 1 s,
    /// once. It is a cached function, and its cache says whether it has run.
    pub fn first_in_process(&self, py: Python<'_>) -> bool {
        if self.behind.load(Ordering::Relaxed) {
            return false;
        }
        let first = ["runtime.cache", "compiler.compiler"].iter().any(|module| {
            let key = self.loaded(py, module).and_then(|module| get(&module, "triton_key"));
            let info = key.and_then(|key| key.call_method0("cache_info").or_none());
            info.and_then(|info| get(&info, "currsize")?.extract::<u64>().or_none()) == Some(0)
        });
        self.behind.store(!first, Ordering::Relaxed);
        first
    }
}
