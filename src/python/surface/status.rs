//! `jitspan.status()`: what became of each runtime's hook. Imports no runtime to find out.

use std::path::{Path, PathBuf};

use pyo3::prelude::*;
use serde::Serialize;

use crate::python::engines::{self, ENGINES, Engine, Point};
use crate::python::hooks::{self, RUNTIMES, Runtime, State};
use crate::python::host::boundary;
use crate::python::host::boundary::OrNone;
use crate::python::host::convert::{get, get_text};
use crate::python::patch::late;
use crate::python::replay::receipt;

/// One runtime, as `status()` found it.
#[pyclass(frozen, get_all, module = "jitspan")]
#[derive(Debug, Clone, Serialize)]
pub struct RuntimeStatus {
    /// The runtime's name on the wire: "triton", "cutedsl".
    pub(super) runtime: &'static str,
    /// The package that users import.
    pub(super) package: &'static str,
    /// The version imported, else the one installed.
    pub(super) version: Option<String>,
    /// The oldest and the newest version that jitspan was tested with.
    pub(super) tested: (&'static str, &'static str),
    /// Whether `version` is outside of `tested`.
    pub(super) untested: bool,
    /// "hooked", "not yet imported" (it will be hooked when it is), "absent" (not installed), "refused" (see `reason`),
    /// or "not active": it is imported, and `activate()` has not been called.
    pub(super) state: &'static str,
    /// Why it was refused.
    pub(super) reason: Option<String>,
    /// Places that jitspan stands in.
    pub(super) standing: Vec<String>,
    /// Places that this version does not have.
    pub(super) missing: Vec<String>,
    /// Compiles, autotunes and loads seen.
    pub(super) events: u64,
    /// What came of the manifest that was replayed in this process, if one was.
    pub(super) preloaded: Option<String>,
    /// Faults of jitspan's own in this runtime's hook; `stats()` tells where.
    pub(super) faults: u64,
}

impl RuntimeStatus {
    /// Takes over what another Python has found.
    pub(super) fn adopt(&mut self, state: &str, reason: Option<String>, standing: &[String], missing: &[String]) {
        const STATES: [&str; 5] = ["hooked", "not yet imported", "absent", "refused", "not active"];
        if let Some(known) = STATES.into_iter().find(|known| *known == state) {
            self.state = known;
        }
        (self.reason, self.standing, self.missing) = (reason, standing.to_vec(), missing.to_vec());
    }
}

#[pymethods]
impl RuntimeStatus {
    fn __repr__(&self) -> String {
        let version = self.version.as_deref().unwrap_or("no version");
        format!("<jitspan.RuntimeStatus {} ({version}) {}>", self.runtime, self.state)
    }
}

/// What became of each runtime that jitspan knows, and of each engine (vLLM, SGLang) that is installed: one row each.
/// Imports none of them. Of an engine each process has some places only: its front end has no worker.
#[pyfunction]
#[pyo3(signature = () -> "list[RuntimeStatus]")]
pub fn status(py: Python<'_>) -> PyResult<Vec<RuntimeStatus>> {
    boundary::native(py, "status", Vec::new, || Ok(rows(py)))
}

fn rows(py: Python<'_>) -> Vec<RuntimeStatus> {
    hooks::catch_up(py);
    let engines = ENGINES.iter().filter_map(|engine| engine_row(py, engine));
    RUNTIMES.iter().map(|runtime| row(py, runtime)).chain(engines).collect()
}

fn row(py: Python<'_>, runtime: &Runtime) -> RuntimeStatus {
    let version = version(py, runtime);
    let (state, reason) = match runtime.state() {
        State::Hooked => ("hooked", None),
        State::Refused(reason) => ("refused", Some(reason)),
        State::Waiting if late::imported(py, runtime.module).is_some() => ("not active", None),
        State::Waiting if version.is_some() || is_there(py, runtime) => ("not yet imported", None),
        State::Waiting => ("absent", None),
    };
    let places = runtime.patches.hook_points();
    let of = |stands: bool| {
        let places = places.iter().filter(|place| place.1 == stands);
        let mut names: Vec<String> = places.map(|place| place.0.to_owned()).collect();
        // Of a package whose functions are one place all together.
        names.dedup();
        names
    };
    let stats = crate::monitor().map(|monitor| monitor.stats());
    RuntimeStatus {
        runtime: runtime.name,
        package: runtime.package,
        untested: version.as_deref().is_some_and(|version| is_outside(version, runtime.tested)),
        version,
        tested: runtime.tested,
        state,
        reason,
        standing: of(true),
        missing: of(false),
        events: stats.map_or(0, |stats| stats.seen(runtime.name)),
        preloaded: receipt::sentence().filter(|_| runtime.name == "triton"),
        faults: stats.map_or(0, |stats| stats.faults(runtime.name)),
    }
}

/// An engine that is not installed has no row.
fn engine_row(py: Python<'_>, engine: &Engine) -> Option<RuntimeStatus> {
    let metadata = py.import("importlib.metadata").or_none()?;
    let version: String = metadata.call_method1("version", (engine.name,)).or_none()?.extract().or_none()?;
    let root = package_folder(py, engine.name);
    let of = |wanted: &dyn Fn(&Point) -> bool| -> Vec<&'static str> {
        engine.points.iter().filter(|point| wanted(point)).map(|point| point.name).collect()
    };
    let standing = of(&|point| matches!(point.state(), engines::State::Stands(_)));
    let missing = of(&|point| match point.state() {
        engines::State::Missing(_) => true,
        engines::State::Waiting => root.as_ref().is_some_and(|root| point.has_no_module(root)),
        engines::State::Stands(_) => false,
    });
    let lost: Vec<_> =
        engine.points.iter().filter(|point| missing.contains(&point.name)).map(|point| point.without).collect();
    let is_imported = late::imported(py, engine.name).is_some();
    let (state, reason) = match standing.is_empty() {
        false => ("hooked", (!lost.is_empty()).then(|| lost.join("; ")).or_else(|| (engine.note)())),
        true if is_imported => ("not active", engine.why_not_called()),
        true => ("not yet imported", (!lost.is_empty()).then(|| lost.join("; "))),
    };
    Some(RuntimeStatus {
        runtime: engine.name,
        package: engine.name,
        untested: is_outside(&version, engine.tested),
        version: Some(version),
        tested: engine.tested,
        state,
        reason,
        standing: standing.into_iter().map(str::to_owned).collect(),
        missing: missing.into_iter().map(str::to_owned).collect(),
        events: 0,
        preloaded: None,
        faults: crate::monitor().map_or(0, |monitor| monitor.stats().faults(engine.name)),
    })
}

/// Where the package is, without importing it.
fn package_folder(py: Python<'_>, package: &str) -> Option<PathBuf> {
    let spec = py.import("importlib.util").or_none()?.call_method1("find_spec", (package,)).or_none()?;
    PathBuf::from(get_text(&spec, "origin")?).parent()?.parent().map(Path::to_path_buf)
}

fn version(py: Python<'_>, runtime: &Runtime) -> Option<String> {
    let imported = late::imported(py, runtime.module).and_then(|_| late::imported(py, runtime.package));
    imported.and_then(|package| get_text(&package, "__version__")).or_else(|| {
        let metadata = py.import("importlib.metadata").or_none()?;
        let installed = |name: &&str| metadata.call_method1("version", (*name,)).or_none()?.extract().or_none();
        runtime.distributions.iter().find_map(installed)
    })
}

/// Without an installed distribution of a known name. A package's own finder is asked; nothing is imported.
fn is_there(py: Python<'_>, runtime: &Runtime) -> bool {
    // `cutlass` alone may be an older package that has nothing to hook.
    runtime.module == runtime.package
        && py.import("importlib.util").or_none().is_some_and(|util| {
            let spec = util.call_method1("find_spec", (runtime.package,));
            spec.is_ok_and(|spec| get(&spec, "loader").is_some())
        })
}

fn is_outside(version: &str, (oldest, newest): (&str, &str)) -> bool {
    // As far as it is numbers: `3.6.0+git123` is 3.6.0.
    let parts = |version: &str| -> Vec<u64> {
        let numbers = version.split(['+', '-']).next().unwrap_or_default().split('.');
        numbers.map_while(|part| part.parse().ok()).collect()
    };
    let version = parts(version);
    version < parts(oldest) || version > parts(newest)
}
