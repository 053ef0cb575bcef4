//! Warm-up, and its end. Before it the hooks only count; whoever knows when it is over says so here: `activate()`, an
//! engine, a readiness probe, a timer.

use pyo3::prelude::*;

use crate::config::{Config, ConfigError, Endpoint, Misspelt, Settings, misspelt};
use crate::process::lock::Mutex;
use crate::python::environment;
use crate::python::hooks;
use crate::python::host::imports;
use crate::python::host::report;
use crate::python::lifetime;
use crate::python::ranks;
use crate::python::replay::receipt;

/// Puts the hooks in place and counts what compiles as warm-up. False: we are switched off (`JITSPAN=0`,
/// `OTEL_SDK_DISABLED=true`), and nothing was done.
///
/// # Errors
/// A setting that cannot be used.
pub fn prepare(py: Python<'_>) -> Result<bool, ConfigError> {
    let config = resolve(&Settings::default())?;
    tell(py, &config);
    if config.disabled {
        return Ok(false);
    }
    if !hooks::are_installed() {
        crate::prepare(config);
        hooks::install(py);
        report::board(py);
    }
    Ok(true)
}

/// As [`prepare`], now that more is known of where spans go. Not once we are armed, or were never prepared.
pub fn prepare_again() {
    if let (true, false, Ok(config)) = (hooks::are_installed(), is_armed(), resolve(&Settings::default())) {
        crate::prepare(config);
    }
}

/// [`arm`], as a user asks for it. Where it was done before with other arguments, the log says that they change nothing.
///
/// # Errors
/// A setting that cannot be used.
pub fn activate(py: Python<'_>, settings: &Settings) -> Result<(), ConfigError> {
    if !is_armed() {
        return arm(py, settings);
    }
    let (asked, running) = (resolve(settings), crate::monitor().map(|monitor| monitor.config()));
    let word = |config: &Config| format!("mode={}, verbose={}", config.mode.word(), config.verbose);
    if let (Ok(asked), Some(running)) = (asked, running)
        && word(&asked) != word(running)
    {
        let text = format!(
            "activate() asks for {}, but jitspan is active with {}: that stays until deactivate()",
            word(&asked),
            word(running)
        );
        report::log(py, "warning", &text);
    }
    Ok(())
}

/// Warm-up is over. Does nothing if it was over already.
///
/// # Errors
/// A setting that cannot be used.
pub fn arm(py: Python<'_>, settings: &Settings) -> Result<(), ConfigError> {
    if is_armed() {
        return Ok(());
    }
    let config = resolve(settings)?;
    tell(py, &config);
    let sending = if config.disabled { ", sending nothing" } else { "" };
    let (mode, verbose) = (config.mode.word(), config.verbose);
    let text = format!("Kernel JIT monitor activated (mode={mode}, verbose={verbose}{sending})");
    let collector = config.traces.otlp.as_ref().filter(|_| !config.disabled).map(Endpoint::shown_uri);
    imports::prepare(py);
    // Before anything is sent: this also finds out who we are.
    lifetime::watch_exit(py);
    let monitor = py.detach(|| crate::install_for(config, &hooks::names()));
    receipt::send(monitor);
    report::board(py);
    report::forget();
    if hooks::are_installed() {
        hooks::armed(py);
    } else {
        hooks::install(py);
    }
    report::log(py, "info", &format!("{text}: {}", describe(py, collector.as_deref())));
    Ok(())
}

/// What an operator wants to read once: which version, where spans go, what is watched and what is not.
fn describe(py: Python<'_>, collector: Option<&str>) -> String {
    let mut parts = vec![format!("jitspan {}", env!("CARGO_PKG_VERSION"))];
    parts.extend(ranks::whose());
    parts.extend(collector.map(|collector| format!("spans go to {collector}")));
    parts.push(hooks::in_short(py));
    parts.join("; ")
}

/// Whether a compile is unexpected now.
pub fn is_armed() -> bool {
    hooks::are_installed() && crate::monitor().is_some_and(crate::monitor::Monitor::is_armed)
}

/// Says once in one line which variables are not used, and why.
fn tell(py: Python<'_>, config: &Config) {
    static TOLD: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let ignored = config.ignored().iter().map(|error| format!("{error}; it is ignored"));
    let found: Vec<String> = ignored.chain(misspelt().iter().map(Misspelt::to_string)).collect();
    {
        let mut told = TOLD.lock();
        if *told == found {
            return;
        }
        told.clone_from(&found);
    }
    if !found.is_empty() {
        report::log(py, "warning", &format!("settings: {}", found.join(". ")));
    }
}

fn resolve(settings: &Settings) -> Result<Config, ConfigError> {
    Config::resolve(settings, &environment::variable)
}
