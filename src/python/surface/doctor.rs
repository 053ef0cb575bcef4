//! `jitspan doctor`: why do I see nothing? Finds out what a server in this environment would find, and says it.
//!
//! The parts of the report are collected here; [`super::doctor_text`] prints it for people.

use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::doctor_report::{CollectorFound, Found, Level, Problem, PythonFound, Report, ServerVariable, SettingFound};
use super::doctor_text;
use super::status::{self, RuntimeStatus};
use crate::board;
use crate::cli::doctor::DoctorArguments;
use crate::cli::{self, VERSION};
use crate::config::environment::{FOREIGN, SGLANG_PLUGINS, Shell, VLLM_PLUGINS};
use crate::config::{Arm, Config, ConfigError, Protocol, Settings, misspelt, variable};
use crate::export::trial::{self, Trial};
use crate::python::engines::ENGINES;
use crate::python::hooks::RUNTIMES;
use crate::python::host::boundary::OrNone;

/// Carries it out. Returns the exit status.
pub fn doctor(py: Python<'_>, arguments: &DoctorArguments) -> PyResult<u8> {
    let report = examine(py, arguments.offline)?;
    let text = if arguments.json {
        serde_json::to_string_pretty(&report).unwrap_or_default() + "\n"
    } else {
        let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stdout());
        doctor_text::render(&report, arguments.color.resolve(&Shell::from_environment(), is_terminal))
    };
    // What Python has printed comes first. A reader who has gone is no reason for a traceback.
    py.import("sys")?.getattr("stdout")?.call_method0("flush").or_none();
    let printed = py.detach(|| cli::print(text.as_bytes()));
    Ok(printed.max(u8::from(report.problems.iter().any(|problem| problem.level == Level::Error))))
}

fn examine(py: Python<'_>, offline: bool) -> PyResult<Report> {
    let python = python(py)?;
    let rows = look_closer(py, &python.executable, status::status(py)?);
    let (config, errors) = resolve();
    let trial = if offline || config.disabled { None } else { py.detach(|| trial::run(&config)) };
    let mut problems: Vec<Problem> = Vec::new();
    problems.extend(errors.iter().map(|error| Problem::error(format!("activate() would fail: {error}"))));
    problems.extend(of_settings(&config, &errors));
    problems.extend(of_plugins(&rows));
    problems.extend(of_runtimes(&rows, &python.executable, &config));
    problems.extend(trial.as_ref().and_then(of_trial));
    problems.sort();
    let settings = config.describe().into_iter().map(|row| SettingFound {
        value: row.value.json(),
        shown: row.value.to_string(),
        variable: row.variable,
        origin: row.origin,
    });
    let foreign = FOREIGN.iter().filter_map(|known| {
        let value = variable(known.name)?;
        Some(ServerVariable { variable: known.name, value, about: known.about })
    });
    Ok(Report {
        version: VERSION,
        python,
        settings: settings.collect(),
        server_variables: foreign.collect(),
        collector: trial.map(CollectorFound::from),
        problems,
        error: errors.first().map(ToString::to_string),
        runtimes: rows.into_iter().map(Found::from).collect(),
    })
}

fn python(py: Python<'_>) -> PyResult<PythonFound> {
    let executable = py.import("sys")?.getattr("executable")?.extract::<Option<String>>()?;
    let version = py.import("platform")?.call_method0("python_version")?.extract()?;
    Ok(PythonFound { executable: executable.unwrap_or_default(), version })
}

/// What we would run with. Of a setting that cannot be used the default is shown: all that are wrong are told at once.
fn resolve() -> (Config, Vec<ConfigError>) {
    let mut errors: Vec<ConfigError> = Vec::new();
    loop {
        let known = |name: &str| errors.iter().any(|error| error.variable == name);
        let resolved = Config::resolve(&Settings::default(), &|name| if known(name) { None } else { variable(name) });
        match resolved {
            Ok(config) => return (config, errors),
            // Each variable is hidden once, so this ends.
            Err(error) if known(&error.variable) => return (Config::defaults(), errors),
            Err(error) => errors.push(error),
        }
    }
}

/// How long the imports of all runtimes may take.
const IMPORT_SECONDS: f64 = 60.0;

/// Imports runtimes, as a server would, and prints what became of their hooks.
const LOOK_CLOSER: &str = r#"
import importlib, json, sys
import jitspan

jitspan.activate()
failed = {}
for name, module in json.loads(sys.argv[1]):
    try:
        importlib.import_module(module)
    except BaseException as error:
        failed[name] = f"its import fails: {type(error).__name__}: {error}"
rows = {row.runtime: [row.state, row.reason, row.standing, row.missing] for row in jitspan.status()}
print()
print(json.dumps([failed, rows]))
"#;

type Closer = (std::collections::HashMap<String, String>, std::collections::HashMap<String, Hooked>);
type Hooked = (String, Option<String>, Vec<String>, Vec<String>);

/// Which places of a runtime are there is known once it is imported: a Python of its own does that, so that nothing it
/// does is done here.
fn look_closer(py: Python<'_>, executable: &str, mut rows: Vec<RuntimeStatus>) -> Vec<RuntimeStatus> {
    let installed = |name: &str| rows.iter().any(|row| row.runtime == name && row.state != "absent");
    let modules: Vec<(&str, &str)> = RUNTIMES
        .iter()
        .filter(|runtime| installed(runtime.name))
        .map(|runtime| (runtime.name, runtime.module))
        .collect();
    if modules.is_empty() || executable.is_empty() {
        return rows;
    }
    match ask(py, executable, &modules) {
        Ok((failed, hooked)) => {
            for row in &mut rows {
                if let Some(reason) = failed.get(row.runtime) {
                    (row.state, row.reason) = ("refused", Some(bounded(reason)));
                } else if let Some((state, reason, standing, missing)) = hooked.get(row.runtime) {
                    row.adopt(state, reason.clone(), standing, missing);
                }
            }
        }
        Err(error) => cli::say(format_args!("doctor: the runtimes' hook points could not be looked at: {error}")),
    }
    rows
}

fn ask(py: Python<'_>, executable: &str, modules: &[(&str, &str)]) -> PyResult<Closer> {
    let environment = py.import("os")?.getattr("environ")?.call_method0("copy")?;
    // It sends nothing, and no setting is an error.
    environment.set_item(crate::config::SWITCH, "0")?;
    let keywords = PyDict::new(py);
    keywords.set_item("env", environment)?;
    keywords.set_item("capture_output", true)?;
    keywords.set_item("text", true)?;
    keywords.set_item("errors", "replace")?;
    keywords.set_item("timeout", IMPORT_SECONDS)?;
    keywords.set_item("stdin", py.import("subprocess")?.getattr("DEVNULL")?)?;
    let modules = serde_json::to_string(modules).unwrap_or_default();
    let command = (executable, "-c", LOOK_CLOSER, modules);
    let done = py.import("subprocess")?.getattr("run")?.call((command,), Some(&keywords))?;
    let output: String = done.getattr("stdout")?.extract()?;
    let answer = output.lines().last().and_then(|line| serde_json::from_str(line).ok());
    answer.ok_or_else(|| {
        let said = done.getattr("stderr").and_then(|said| said.extract::<String>()).or_none().unwrap_or_default();
        let last = said.lines().last().unwrap_or("no answer");
        pyo3::exceptions::PyRuntimeError::new_err(bounded(last))
    })
}

fn bounded(text: &str) -> String {
    crate::model::attribute::bounded(text, 300).to_string()
}

impl Problem {
    fn error(text: impl Into<String>) -> Self {
        Problem { level: Level::Error, text: text.into() }
    }

    fn warning(text: impl Into<String>) -> Self {
        Problem { level: Level::Warning, text: text.into() }
    }

    fn advice(text: impl Into<String>) -> Self {
        Problem { level: Level::Advice, text: text.into() }
    }
}

fn of_settings(config: &Config, errors: &[ConfigError]) -> Vec<Problem> {
    let mut problems: Vec<Problem> = Vec::new();
    problems.extend(misspelt().iter().map(|told| Problem::warning(told.to_string())));
    problems.extend(config.ignored().iter().map(|error| Problem::warning(format!("{error}; it is ignored"))));
    if config.disabled {
        let text = "switched off by JITSPAN or OTEL_SDK_DISABLED: compiles are counted, and nothing is sent";
        problems.push(Problem::warning(text));
    } else if config.traces.otlp.is_none() && !config.traces.console && errors.is_empty() {
        problems.push(Problem::warning("OTEL_TRACES_EXPORTER=none: no span is sent"));
    }
    if let Some(reason) = board::folder::refusal(&config.board) {
        problems.push(Problem::warning(format!("the board is off, so `jitspan top` sees nothing: {reason}")));
    }
    if config.sampler.keeps_no_root() {
        problems.push(Problem::warning("OTEL_TRACES_SAMPLER keeps no trace that begins here"));
    }
    problems
}

/// A plugin that is not named is not loaded.
fn of_plugins(rows: &[RuntimeStatus]) -> Vec<Problem> {
    let is_installed = |name: &str| rows.iter().any(|row| row.runtime == name);
    let of = |(name, engine, title): (&str, &str, &str)| {
        let said = variable(name)?;
        let named = said.split(',').any(|plugin| plugin.trim() == "jitspan");
        let text = format!("{name}={said}: {title} does not load jitspan; add jitspan to it, or unset it");
        let problem = if is_installed(engine) { Problem::error(text) } else { Problem::warning(text) };
        (!named).then_some(problem)
    };
    [(VLLM_PLUGINS, "vllm", "vLLM"), (SGLANG_PLUGINS, "sglang", "SGLang")].into_iter().filter_map(of).collect()
}

fn of_runtimes(rows: &[RuntimeStatus], executable: &str, config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    if !rows.iter().any(|row| RUNTIMES.iter().any(|runtime| runtime.name == row.runtime) && row.state != "absent") {
        let text = format!("{executable} has no runtime that jitspan watches: is it the server's Python?");
        problems.push(Problem::warning(text));
    }
    for row in rows {
        let (name, reason) = (row.runtime, row.reason.as_deref().unwrap_or_default());
        if row.state == "refused" {
            problems.push(Problem::error(format!("{name} is not watched: {reason}")));
        } else if !reason.is_empty() {
            problems.push(Problem::warning(format!("{name}: {reason}")));
        }
        if row.untested {
            let (version, (oldest, newest)) = (row.version.as_deref().unwrap_or_default(), row.tested);
            let text = format!("{name} {version} is outside of what jitspan was tested with, {oldest} to {newest}");
            problems.push(Problem::warning(text));
        }
    }
    if config.arm == Arm::Manual && !rows.iter().any(|row| ENGINES.iter().any(|engine| engine.name == row.runtime)) {
        let text = "nothing here says when warm-up is over: call jitspan.activate(), or set JITSPAN_ARM under \
                    `jitspan run`; until then compiles are only counted";
        problems.push(Problem::advice(text));
    }
    problems
}

fn of_trial(trial: &Trial) -> Option<Problem> {
    let failure = trial.failure.as_ref()?;
    let protocol = word(trial.protocol);
    Some(Problem::error(format!(
        "no span reaches {} over {protocol}: {}; {}",
        trial.address, failure.detail, failure.advice
    )))
}

fn word(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Grpc => "grpc",
        Protocol::HttpProtobuf => "http/protobuf",
    }
}

impl From<Trial> for CollectorFound {
    fn from(trial: Trial) -> Self {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        CollectorFound {
            protocol: word(trial.protocol),
            accepted: trial.failure.is_none(),
            took_ms: millis(trial.took),
            failure: trial.failure.as_ref().map(|failure| failure.kind.word()),
            detail: trial.failure.map(|failure| failure.detail),
            address: trial.address,
        }
    }
}

impl From<RuntimeStatus> for Found {
    fn from(status: RuntimeStatus) -> Self {
        let ran = ENGINES.iter().find(|engine| engine.name == status.runtime).map(|engine| engine.ran);
        Found { status, ran }
    }
}
