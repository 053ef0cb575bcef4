//! What `jitspan doctor` found.

use serde::Serialize;

use super::status::RuntimeStatus;

/// What `jitspan doctor --json` prints; `docs/doctor.md` tells it field by field.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Of jitspan, with the commit.
    pub version: &'static str,
    /// Which Python was looked at.
    pub python: PythonFound,
    /// Runtimes and engines.
    pub runtimes: Vec<Found>,
    /// Every setting.
    pub settings: Vec<SettingFound>,
    /// Variables of servers that are set and change what jitspan does.
    pub server_variables: Vec<ServerVariable>,
    /// What became of the test span; null: none was sent.
    pub collector: Option<CollectorFound>,
    /// What is wrong, the worst first.
    pub problems: Vec<Problem>,
    /// What `activate()` would raise, or null.
    pub error: Option<String>,
}

/// A Python.
#[derive(Debug, Serialize)]
pub struct PythonFound {
    /// Its program.
    pub executable: String,
    /// Its version.
    pub version: String,
}

/// A runtime or an engine.
#[derive(Debug, Serialize)]
pub struct Found {
    /// As `jitspan.status()` tells it.
    #[serde(flatten)]
    pub status: RuntimeStatus,
    /// The release that tests run, where that is not all that is `tested`: of an engine the others are read only.
    pub ran: Option<&'static str>,
}

/// A setting.
#[derive(Debug, Serialize)]
pub struct SettingFound {
    /// Its name.
    pub variable: String,
    /// null, a Boolean, a number or text.
    pub value: serde_json::Value,
    /// For people, with its unit.
    pub shown: String,
    /// Who said so.
    pub origin: String,
}

/// A server's variable.
#[derive(Debug, Serialize)]
pub struct ServerVariable {
    /// Its name.
    pub variable: &'static str,
    /// Its value.
    pub value: String,
    /// What it changes.
    pub about: &'static str,
}

/// What became of the test span.
#[derive(Debug, Serialize)]
pub struct CollectorFound {
    /// Where it was sent.
    pub address: String,
    /// How.
    pub protocol: &'static str,
    /// Whether the collector took it.
    pub accepted: bool,
    /// Milliseconds until then, or until it was given up.
    pub took_ms: u64,
    /// Why not, in one word, or null.
    pub failure: Option<&'static str>,
    /// What was seen, or null.
    pub detail: Option<String>,
}

/// Something that is wrong, or could be.
#[derive(Debug, Serialize, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// How bad it is.
    pub level: Level,
    /// What it is, and what to do.
    pub text: String,
}

/// How bad a problem is.
#[derive(Debug, Serialize, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Nothing will be seen.
    Error,
    /// Something will not be seen.
    Warning,
    /// This may be meant so.
    Advice,
}
