//! `jitspan.status()` and `jitspan doctor`: what became of each runtime's hook. Imports no runtime to find out.

use std::path::{Path, PathBuf};

use pyo3::prelude::*;
use serde::Serialize;

use crate::config::{Config, Mode, Settings};
use crate::python::engines::{self, ENGINES, Engine, Point};
use crate::python::hooks::{self, RUNTIMES, Runtime, State};
use crate::python::host::convert::{get, get_text};
use crate::python::patch::late;
use crate::python::replay::receipt;

/// One runtime, as `status()` found it.
#[pyclass(frozen, get_all, module = "jitspan")]
#[derive(Debug, Clone, Serialize)]
pub struct RuntimeStatus {
    /// The runtime's name on the wire: "triton", "cutedsl".
    runtime: &'static str,
    /// The package that users import.
    package: &'static str,
    /// The version imported, else the one installed.
    version: Option<String>,
    /// The oldest and the newest version that jitspan was tested with.
    tested: (&'static str, &'static str),
    /// Whether `version` is outside of `tested`.
    untested: bool,
    /// "hooked", "not yet imported" (it will be hooked when it is), "absent" (not installed), "refused" (see `reason`),
    /// or "not active": it is imported, and `activate()` has not been called.
    state: &'static str,
    /// Why it was refused.
    reason: Option<String>,
    /// Places that jitspan stands in.
    standing: Vec<&'static str>,
    /// Places that this version does not have.
    missing: Vec<&'static str>,
    /// Compiles, autotunes and loads seen.
    events: u64,
    /// What came of the manifest that was replayed in this process, if one was.
    preloaded: Option<String>,
    /// Faults of jitspan's own in this runtime's hook; `stats()` tells where.
    faults: u64,
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
pub fn status(py: Python<'_>) -> Vec<RuntimeStatus> {
    hooks::catch_up(py);
    let engines = ENGINES.iter().filter_map(|engine| engine_row(py, engine));
    RUNTIMES.iter().map(|runtime| row(py, runtime)).chain(engines).collect()
}

/// `jitspan doctor`: the rows for what is installed, and the configuration that the environment gives.
pub fn doctor(py: Python<'_>, json: bool) -> PyResult<u8> {
    let rows = status(py);
    let (settings, error) = match Config::from_environment(&Settings { mode: Mode::Warn, verbose: false }) {
        Ok(config) => (config.describe(), None),
        Err(error) => (Vec::new(), Some(error.to_string())),
    };
    let text = if json {
        let settings: serde_json::Map<_, _> = settings
            .iter()
            .map(|setting| {
                let said = serde_json::json!({ "value": setting.value, "origin": setting.origin });
                (setting.variable.clone(), said)
            })
            .collect();
        let all = serde_json::json!({
            "version": env!("CARGO_PKG_VERSION"),
            "runtimes": rows,
            "settings": settings,
            "error": error,
        });
        format!("{all:#}")
    } else {
        let mut lines = vec![format!("jitspan {}", env!("CARGO_PKG_VERSION")), String::new()];
        let head = ["runtime", "version", "tested with", "state"].map(str::to_owned);
        lines.extend(table(std::iter::once(head).chain(rows.iter().map(RuntimeStatus::cells)).collect()));
        lines.push(String::new());
        let head = ["setting", "value", "from"].map(str::to_owned);
        let settings = settings.into_iter().map(|setting| [setting.variable, setting.value, setting.origin]);
        lines.extend(table(std::iter::once(head).chain(settings).collect()));
        lines.extend(error.map(|error| format!("\nactivate() would fail: {error}")));
        lines.join("\n")
    };
    py.import("builtins")?.call_method1("print", (text,))?;
    Ok(0)
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
    let places = runtime.standings.places();
    let of = |stands: bool| places.iter().filter(|place| place.1 == stands).map(|place| place.0).collect();
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
    let metadata = py.import("importlib.metadata").ok()?;
    let version: String = metadata.call_method1("version", (engine.name,)).ok()?.extract().ok()?;
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
    Some(RuntimeStatus {
        runtime: engine.name,
        package: engine.name,
        untested: is_outside(&version, engine.tested),
        version: Some(version),
        tested: engine.tested,
        state: if standing.is_empty() { "not yet imported" } else { "hooked" },
        reason: (!lost.is_empty()).then(|| lost.join("; ")),
        standing,
        missing,
        events: 0,
        preloaded: None,
        faults: crate::monitor().map_or(0, |monitor| monitor.stats().faults(engine.name)),
    })
}

/// Where the package is, without importing it.
fn package_folder(py: Python<'_>, package: &str) -> Option<PathBuf> {
    let spec = py.import("importlib.util").ok()?.call_method1("find_spec", (package,)).ok()?;
    PathBuf::from(get_text(&spec, "origin")?).parent()?.parent().map(Path::to_path_buf)
}

impl RuntimeStatus {
    fn cells(&self) -> [String; 4] {
        let version = self.version.clone().unwrap_or_else(|| "-".to_owned());
        let untested = if self.untested { ", untested" } else { "" };
        let reason = self.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        let (oldest, newest) = self.tested;
        let state = format!("{}{untested}{reason}", self.state);
        [self.runtime.to_owned(), version, format!("{oldest} to {newest}"), state]
    }
}

fn version(py: Python<'_>, runtime: &Runtime) -> Option<String> {
    let imported = late::imported(py, runtime.module).and_then(|_| late::imported(py, runtime.package));
    imported.and_then(|package| get_text(&package, "__version__")).or_else(|| {
        let metadata = py.import("importlib.metadata").ok()?;
        let installed = |name: &&str| metadata.call_method1("version", (*name,)).ok()?.extract().ok();
        runtime.distributions.iter().find_map(installed)
    })
}

/// Without an installed distribution of a known name. A package's own finder is asked; nothing is imported.
fn is_there(py: Python<'_>, runtime: &Runtime) -> bool {
    // `cutlass` alone may be an older package that has nothing to hook.
    runtime.module == runtime.package
        && py.import("importlib.util").is_ok_and(|util| {
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

/// Columns as wide as they must be, the last one as it comes.
fn table<const N: usize>(rows: Vec<[String; N]>) -> Vec<String> {
    let widths: [usize; N] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default());
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}
