//! Warm-up, and its end. Before it the hooks only count; whoever knows when it is over says so here: `activate()`, an
//! engine, a readiness probe, a timer.

use pyo3::prelude::*;

use crate::config::{Config, ConfigError, Settings};
use crate::python::hooks;
use crate::python::host::imports;
use crate::python::host::lifetime;
use crate::python::host::report;
use crate::python::replay::receipt;
use crate::semconv;

/// Puts the hooks in place and counts what compiles as warm-up. False: we are switched off (`JITSPAN=0`,
/// `OTEL_SDK_DISABLED=true`), and nothing was done.
///
/// # Errors
/// A setting that cannot be used.
pub fn prepare(py: Python<'_>) -> Result<bool, ConfigError> {
    let config = resolve(&Settings::default())?;
    if config.disabled {
        return Ok(false);
    }
    if !hooks::are_active() {
        crate::prepare(config);
        hooks::install(py);
    }
    Ok(true)
}

/// As [`prepare`], now that more is known of where spans go. Not once we are armed, or were never prepared.
pub fn prepare_again() {
    if let (true, false, Ok(config)) = (hooks::are_active(), is_armed(), resolve(&Settings::default())) {
        crate::prepare(config);
    }
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
    let sending = if config.disabled { ", sending nothing" } else { "" };
    let (mode, verbose) = (config.mode.word(), config.verbose);
    let text = format!("Kernel JIT monitor activated (mode={mode}, verbose={verbose}{sending})");
    imports::prepare(py);
    // Before anything is sent: this also finds out who we are.
    lifetime::watch_exit(py);
    let monitor = py.detach(|| crate::install_for(config, semconv::RUNTIMES));
    receipt::send(monitor);
    report::forget();
    if hooks::are_active() {
        hooks::armed(py);
    } else {
        hooks::install(py);
    }
    report::log(py, "info", &text);
    Ok(())
}

/// Whether a compile is unexpected now.
pub fn is_armed() -> bool {
    hooks::are_active() && crate::monitor().is_some_and(crate::monitor::Monitor::is_armed)
}

fn resolve(settings: &Settings) -> Result<Config, ConfigError> {
    Config::resolve(settings, &crate::python::engines::variable)
}
