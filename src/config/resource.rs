//! `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_SERVICE_NAME`: who we are.

use super::read::{ConfigError, Variables};

/// What the user said of this service. Facts of the process (its id, its instance id) are added when it starts to
/// send, so that a forked child says its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resource {
    /// Attributes of every message; a later one wins.
    pub attributes: Vec<(String, String)>,
}

impl Resource {
    pub(super) fn resolve(variables: &Variables<'_>) -> Result<Self, ConfigError> {
        let mut attributes = variables.pairs("OTEL_RESOURCE_ATTRIBUTES")?;
        // The specification: OTEL_SERVICE_NAME wins over service.name among the resource attributes.
        if let Some(name) = variables.text("OTEL_SERVICE_NAME") {
            attributes.retain(|(key, _)| key != "service.name");
            attributes.push(("service.name".to_owned(), name));
        }
        Ok(Resource { attributes })
    }

    /// The value under a name.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.attributes.iter().rev().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }
}
