//! Reads one variable as one type. An empty value is an unset one, as the OpenTelemetry specification says.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::str::FromStr;
use std::time::Duration;

/// A setting cannot be used. Says which, what it was, and what is accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{variable}={value}: expected {accepted}")]
#[non_exhaustive]
pub struct ConfigError {
    /// The environment variable or argument.
    pub variable: String,
    /// What it was set to, quoted; hidden where it may hold a credential.
    pub value: String,
    /// What is accepted.
    pub accepted: String,
}

/// A time-out that is none, and that every clock can still add to now: a year.
pub const UNLIMITED: Duration = Duration::from_secs(365 * 24 * 3600);

/// The environment, as a function: a test passes a table. Remembers which variables were asked for and were set.
pub struct Variables<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    given: RefCell<BTreeSet<String>>,
}

impl<'a> Variables<'a> {
    /// Variables that `lookup` knows.
    pub fn new(lookup: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Variables { lookup, given: RefCell::default() }
    }

    /// The text, without blanks around it; None if unset or empty.
    pub fn text(&self, variable: &str) -> Option<String> {
        let value = (self.lookup)(variable)?;
        let value = value.trim();
        if value.is_empty() {
            return None;
        }
        self.given.borrow_mut().insert(variable.to_owned());
        Some(value.to_owned())
    }

    /// The variables that were asked for and were set.
    pub fn given(&self) -> BTreeSet<String> {
        self.given.borrow().clone()
    }

    /// A truth value: `true` or `false` in any case as OpenTelemetry has it, and `1`, `0`, `on`, `off`, `yes`, `no`.
    pub fn flag(&self, variable: &str) -> Result<Option<bool>, ConfigError> {
        let Some(value) = self.text(variable) else { return Ok(None) };
        match value.to_ascii_lowercase().as_str() {
            "1" | "true" | "on" | "yes" => Ok(Some(true)),
            "0" | "false" | "off" | "no" => Ok(Some(false)),
            _ => Err(wrong(variable, &value, "true or false")),
        }
    }

    /// A whole number from `least` on.
    pub fn count(&self, variable: &str, least: usize) -> Result<Option<usize>, ConfigError> {
        let Some(value) = self.text(variable) else { return Ok(None) };
        match usize::from_str(&value) {
            Ok(count) if count >= least => Ok(Some(count)),
            _ => Err(wrong(variable, &value, format!("a whole number, at least {least}"))),
        }
    }

    /// A time in milliseconds, as OpenTelemetry counts.
    pub fn milliseconds(&self, variable: &str) -> Result<Option<Duration>, ConfigError> {
        let Some(value) = self.text(variable) else { return Ok(None) };
        match u64::from_str(&value) {
            Ok(milliseconds) => Ok(Some(Duration::from_millis(milliseconds))),
            Err(_) => Err(wrong(variable, &value, "a time in whole milliseconds")),
        }
    }

    /// A time-out in milliseconds. OpenTelemetry: 0 is no limit.
    pub fn timeout(&self, variable: &str) -> Result<Option<Duration>, ConfigError> {
        let given = self.milliseconds(variable)?;
        Ok(given.map(|time| if time.is_zero() { UNLIMITED } else { time.min(UNLIMITED) }))
    }

    /// A time in seconds, with a fraction if wanted.
    pub fn seconds(&self, variable: &str) -> Result<Option<Duration>, ConfigError> {
        let Some(value) = self.text(variable) else { return Ok(None) };
        let seconds = f64::from_str(&value).ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        seconds.map(Some).ok_or_else(|| wrong(variable, &value, "a time in seconds"))
    }

    /// Words of a list with commas, each one known to `word`. A list of nothing is an unset one.
    pub fn list<T>(
        &self,
        variable: &str,
        accepted: &str,
        word: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<Vec<T>>, ConfigError> {
        let Some(value) = self.text(variable) else { return Ok(None) };
        let words = value.split(',').map(str::trim).filter(|text| !text.is_empty());
        let read: Option<Vec<T>> = words.map(|text| word(&text.to_ascii_lowercase())).collect();
        let read = read.ok_or_else(|| wrong(variable, &value, accepted))?;
        Ok(Some(read).filter(|words| !words.is_empty()))
    }

    /// `key=value` pairs with commas between them, percent-decoded (W3C Baggage's form, which OpenTelemetry uses for
    /// headers and resource attributes). The error does not show the value: headers hold credentials.
    pub fn pairs(&self, variable: &str) -> Result<Vec<(String, String)>, ConfigError> {
        let Some(value) = self.text(variable) else { return Ok(Vec::new()) };
        let pairs = value.split(',').map(str::trim).filter(|pair| !pair.is_empty());
        pairs
            .map(|pair| {
                let (key, value) = pair.split_once('=')?;
                let key = decoded(key.trim())?;
                (!key.is_empty()).then_some((key, decoded(value.trim())?))
            })
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| hidden(variable, "key=value pairs with commas between them, percent-encoded"))
    }
}

/// An error that shows the value.
pub fn wrong(variable: &str, value: &str, accepted: impl Into<String>) -> ConfigError {
    let value = format!("{:?}", crate::model::attribute::bounded(value, 200));
    ConfigError { variable: variable.to_owned(), value, accepted: accepted.into() }
}

/// An error that does not show the value.
pub fn hidden(variable: &str, accepted: impl Into<String>) -> ConfigError {
    ConfigError { variable: variable.to_owned(), value: "<hidden>".to_owned(), accepted: accepted.into() }
}

fn decoded(text: &str) -> Option<String> {
    percent_encoding::percent_decode_str(text).decode_utf8().ok().map(|text| text.into_owned())
}
