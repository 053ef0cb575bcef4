//! `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_SERVICE_NAME`: who we are.

use std::fmt;

use super::redact;

/// What the user said of this service. Facts of the process (its id, its instance id) are added when it starts to
/// send, so that a forked child says its own.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Resource {
    /// Attributes of every message; a later one wins.
    pub attributes: Vec<(String, String)>,
}

/// Without values that may be credentials.
impl fmt::Debug for Resource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs = self.attributes.iter().map(|(key, value)| (&**key, &**value));
        write!(formatter, "Resource({})", redact::attributes(pairs))
    }
}

impl Resource {
    /// The specification: `OTEL_SERVICE_NAME` wins over `service.name` among the attributes.
    pub(super) fn name(&mut self, name: String) {
        self.attributes.retain(|(key, _)| key != "service.name");
        self.attributes.push(("service.name".to_owned(), name));
    }

    /// The value under a name.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.attributes.iter().rev().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }
}
