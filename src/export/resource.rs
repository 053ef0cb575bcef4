//! Who sends: what the user said, what an SDK in the same process says, and the facts of this process.

use std::sync::Arc;

use bytes::Bytes;
use opentelemetry_proto::tonic::resource::v1::Resource as Proto;
use prost::Message;

use crate::config::Resource;
use crate::export::otlp::encode;
use crate::model::attribute::Value;
use crate::process::lock::Mutex;
use crate::semconv::resource as key;

/// Attributes that somebody else knows of this process: the resource of an SDK in it, the runtime it is.
pub type Foreign = Vec<(String, Value)>;

/// The resource of every message from here on, encoded. An SDK may come into the process after we have begun to
/// send, so it can change.
#[derive(Debug)]
pub struct SharedResource {
    said: Resource,
    instance: Arc<str>,
    encoded: Mutex<Bytes>,
}

impl SharedResource {
    /// What the user `said`, what is known from elsewhere, and the facts of this process.
    pub fn new(said: Resource, foreign: &[(String, Value)]) -> Self {
        let resource = Self::of(said, crate::clock::uuid().into());
        resource.adopt(foreign);
        resource
    }

    /// What the user `said`, and which instance of the service it is; the rest with the first
    /// [`adopt`](Self::adopt).
    pub(crate) fn of(said: Resource, instance: Arc<str>) -> Self {
        SharedResource { said, instance, encoded: Mutex::default() }
    }

    /// Says nothing at all, for a test that compares all that leaves us.
    #[doc(hidden)]
    pub fn empty() -> Self {
        Self::of(Resource::default(), "".into())
    }

    /// Takes over what somebody else knows.
    pub fn adopt(&self, foreign: &[(String, Value)]) {
        let attributes = merged(&self.said, &self.instance, foreign);
        let attributes = attributes.iter().map(|(key, value)| encode::pair(key, value)).collect();
        *self.encoded.lock() = Proto { attributes, ..Default::default() }.encode_to_vec().into();
    }

    /// As it stands in a message.
    pub fn encoded(&self) -> Bytes {
        self.encoded.lock().clone()
    }
}

/// Later wins: the facts of this process, then what an SDK in it says, then what the user said, and last what says
/// that it is we who send.
///
/// The SDK has read the same variables, so it and the user differ only where the program set something in code; and
/// where a variable was set for us alone, it must hold.
fn merged(said: &Resource, instance: &str, foreign: &[(String, Value)]) -> Vec<(String, Value)> {
    let mut to: Vec<(String, Value)> = Vec::new();
    let mut set = |key: &str, value: Value| match to.iter_mut().find(|(known, _)| known == key) {
        Some(pair) => pair.1 = value,
        None => to.push((key.to_owned(), value)),
    };
    for (key, value) in facts(instance) {
        set(key, value);
    }
    // An SDK that was inherited over a fork still tells its parent's identity.
    let inherited = foreign
        .iter()
        .any(|(key, value)| key == key::PROCESS_PID && *value != Value::Int(i64::from(std::process::id())));
    for (key, value) in foreign {
        if !(inherited && [key::PROCESS_PID, key::SERVICE_INSTANCE_ID].contains(&key.as_str())) {
            set(key, value.clone());
        }
    }
    for (key, value) in &said.attributes {
        set(key, Value::from(value.clone()));
    }
    set(key::SDK_NAME, "jitspan".into());
    set(key::SDK_LANGUAGE, "rust".into());
    set(key::SDK_VERSION, env!("CARGO_PKG_VERSION").into());
    to
}

/// What the system says of this process. Not its command line: that is where API keys are given.
fn facts(instance: &str) -> Vec<(&'static str, Value)> {
    let executable = std::env::current_exe().ok();
    let name = executable.as_deref().and_then(|path| path.file_name()).map(|name| name.to_string_lossy().into_owned());
    let service = format!("unknown_service:{}", name.as_deref().unwrap_or("unknown"));
    let mut facts: Vec<(&'static str, Value)> = vec![
        (key::SERVICE_NAME, service.into()),
        (key::SERVICE_INSTANCE_ID, instance.into()),
        (key::PROCESS_PID, i64::from(std::process::id()).into()),
        (key::HOST_ARCH, architecture().into()),
        (key::OS_TYPE, std::env::consts::OS.into()),
    ];
    if let Some(name) = name {
        facts.push((key::PROCESS_EXECUTABLE_NAME, name.into()));
    }
    if let Ok(host) = std::fs::read_to_string("/proc/sys/kernel/hostname") {
        facts.push((key::HOST_NAME, host.trim().into()));
    }
    facts
}

/// OpenTelemetry's word for the processor.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value<'a>(attributes: &'a [(String, Value)], key: &str) -> Option<&'a Value> {
        attributes.iter().find(|(known, _)| known == key).map(|(_, value)| value)
    }

    #[test]
    fn the_users_word_wins_over_the_sdks_and_both_over_the_facts() {
        let said = Resource { attributes: vec![("service.name".into(), "said".into())] };
        let foreign = vec![("service.name".into(), "sdk".into()), ("host.name".into(), "node-7".into())];
        let merged = merged(&said, "own", &foreign);
        assert_eq!(value(&merged, "service.name"), Some(&"said".into()));
        assert_eq!(value(&merged, "host.name"), Some(&"node-7".into()));
        assert_eq!(value(&merged, "service.instance.id"), Some(&"own".into()));
    }

    #[test]
    fn an_sdk_that_was_inherited_over_a_fork_does_not_lend_its_identity() {
        let foreign = vec![
            ("process.pid".into(), Value::Int(1)),
            ("service.instance.id".into(), "parent".into()),
            ("service.name".into(), "sdk".into()),
        ];
        let merged = merged(&Resource::default(), "own", &foreign);
        assert_eq!(value(&merged, "service.instance.id"), Some(&"own".into()));
        assert_eq!(value(&merged, "process.pid"), Some(&Value::Int(i64::from(std::process::id()))));
        assert_eq!(value(&merged, "service.name"), Some(&"sdk".into()));
    }

    #[test]
    fn the_command_line_stays_at_home() {
        let merged = merged(&Resource::default(), "own", &[]);
        assert!(merged.iter().all(|(key, _)| !key.starts_with("process.command")), "{merged:?}");
    }
}
