//! Reads variables as types. An empty value is an unset one, as the OpenTelemetry specification says.
//!
//! A value of ours (`JITSPAN_*`) that cannot be used is an error. Of `OTEL_*` the specification says otherwise: an
//! enumeration or a number that cannot be used is ignored with a warning, and a Boolean is true by `true` alone
//! (<https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/#type-specific-guidance>).

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use super::redact;

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

impl ConfigError {
    /// Shows of the value what may be shown.
    pub(super) fn new(variable: &str, value: &str, accepted: impl Into<String>) -> Self {
        ConfigError { variable: variable.to_owned(), value: redact::value(variable, value), accepted: accepted.into() }
    }
}

/// Keys with their values.
pub type Pairs = Vec<(String, String)>;

/// A time-out that is none, and that every clock can still add to now: a year.
pub const UNLIMITED: Duration = Duration::from_secs(365 * 24 * 3600);

/// The largest number that the specification asks for; a larger one is a slip.
const LARGEST: usize = i32::MAX as usize;

/// The environment, as a function: a test passes a table. Remembers what was used and what was ignored.
pub struct Variables<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    used: RefCell<BTreeSet<String>>,
    ignored: RefCell<Vec<ConfigError>>,
    /// Nothing is an error.
    forgiving: Cell<bool>,
}

impl<'a> Variables<'a> {
    /// Variables that `lookup` knows.
    pub fn new(lookup: &'a dyn Fn(&str) -> Option<String>) -> Self {
        let (used, ignored, forgiving) = (RefCell::default(), RefCell::default(), Cell::new(false));
        Variables { lookup, used, ignored, forgiving }
    }

    /// From here on nothing is an error: we are switched off, and in an emergency the switch must work.
    pub fn forgive(&self) {
        self.forgiving.set(true);
    }

    /// The variables of these names, the first one that is set and can be used.
    pub fn said<'v>(&'v self, names: &[&str]) -> Said<'v> {
        Said { variables: self, names: names.iter().map(|name| (*name).to_owned()).collect() }
    }

    /// Whether the variable is set.
    pub fn is_set(&self, name: &str) -> bool {
        self.text(name).is_some()
    }

    /// The variables whose values are used, and what was wrong with those that are not.
    pub fn into_findings(self) -> (BTreeSet<String>, Vec<ConfigError>) {
        (self.used.into_inner(), self.ignored.into_inner())
    }

    /// Takes an error, if it is to be forgiven.
    pub fn forgiven<T: Default>(&self, read: Result<T, ConfigError>) -> Result<T, ConfigError> {
        match read {
            Err(error) if self.forgiving.get() => {
                self.ignore(error);
                Ok(T::default())
            }
            read => read,
        }
    }

    /// Goes on without this value, and says so.
    pub fn ignore(&self, error: ConfigError) {
        let mut ignored = self.ignored.borrow_mut();
        // A general variable is asked for once for each signal.
        if !ignored.contains(&error) {
            ignored.push(error);
        }
    }

    fn text(&self, name: &str) -> Option<String> {
        let value = (self.lookup)(name)?;
        let value = value.trim();
        (!value.is_empty()).then(|| value.to_owned())
    }

    fn use_value(&self, name: &str) {
        self.used.borrow_mut().insert(name.to_owned());
    }
}

/// What the environment says of one setting.
pub struct Said<'a> {
    variables: &'a Variables<'a>,
    names: Vec<String>,
}

impl Said<'_> {
    /// The first value, as it is, and its variable.
    pub fn text(&self) -> Option<(&str, String)> {
        let found = self.first()?;
        self.variables.use_value(found.0);
        Some(found)
    }

    fn first(&self) -> Option<(&str, String)> {
        self.names.iter().find_map(|name| Some((name.as_str(), self.variables.text(name)?)))
    }

    /// The first value that `read` accepts. One that it does not is an error, unless it is to be ignored.
    pub fn value<T>(&self, accepted: &str, read: impl Fn(&str) -> Option<T>) -> Result<Option<T>, ConfigError> {
        for name in &self.names {
            let Some(text) = self.variables.text(name) else { continue };
            match read(&text) {
                Some(value) => {
                    self.variables.use_value(name);
                    return Ok(Some(value));
                }
                None => self.reject(ConfigError::new(name, &text, accepted))?,
            }
        }
        Ok(None)
    }

    fn reject(&self, error: ConfigError) -> Result<(), ConfigError> {
        if is_ours(&error.variable) && !self.variables.forgiving.get() {
            return Err(error);
        }
        self.variables.ignore(error);
        Ok(())
    }

    /// One of these words, in any case.
    pub fn word<T: Copy>(&self, accepted: &str, words: &[(&str, T)]) -> Result<Option<T>, ConfigError> {
        let known =
            |text: &str| words.iter().find(|(word, _)| text.eq_ignore_ascii_case(word)).map(|(_, value)| *value);
        self.value(accepted, known)
    }

    /// Words with commas between them, in any case. Of ours each must be known; of OpenTelemetry's an unknown one is left
    /// out. A list of nothing is an unset one.
    pub fn words<T: Copy>(&self, accepted: &str, words: &[(&str, T)]) -> Result<Option<Vec<T>>, ConfigError> {
        for name in &self.names {
            let Some(text) = self.variables.text(name) else { continue };
            let mut read = Vec::new();
            for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
                match words.iter().find(|(known, _)| word.eq_ignore_ascii_case(known)) {
                    Some((_, value)) => read.push(*value),
                    None => self.reject(ConfigError::new(name, &text, accepted))?,
                }
            }
            if !read.is_empty() {
                self.variables.use_value(name);
                return Ok(Some(read));
            }
        }
        Ok(None)
    }

    /// A truth value. Ours is `true`, `1`, `on`, `yes` or their opposites, in any case; OpenTelemetry's is true by `true`
    /// alone, and anything else is false.
    pub fn flag(&self) -> Result<Option<bool>, ConfigError> {
        if self.is_ours() {
            return self.value("true or false", |text| match text.to_ascii_lowercase().as_str() {
                "1" | "true" | "on" | "yes" => Some(true),
                "0" | "false" | "off" | "no" => Some(false),
                _ => None,
            });
        }
        Ok(self.text().map(|(name, text)| {
            let is_true = text.eq_ignore_ascii_case("true");
            if !is_true && !text.eq_ignore_ascii_case("false") {
                self.variables.ignore(ConfigError::new(name, &text, "true or false; anything but true is false"));
            }
            is_true
        }))
    }

    /// A whole number.
    pub fn count(&self, range: RangeInclusive<usize>) -> Result<Option<usize>, ConfigError> {
        let accepted = format!("a whole number from {} to {}", range.start(), range.end());
        self.value(&accepted, |text| usize::from_str(text).ok().filter(|count| range.contains(count)))
    }

    /// A whole number from `least` to the largest that the specification asks for.
    pub fn count_from(&self, least: usize) -> Result<Option<usize>, ConfigError> {
        self.count(least..=LARGEST)
    }

    /// A time in milliseconds, as OpenTelemetry counts.
    pub fn milliseconds(&self) -> Result<Option<Duration>, ConfigError> {
        let accepted = format!("a time in whole milliseconds, at most {LARGEST}");
        let read = |text: &str| u64::from_str(text).ok().filter(|time| *time <= LARGEST as u64);
        Ok(self.value(&accepted, read)?.map(Duration::from_millis))
    }

    /// A time-out in milliseconds. OpenTelemetry: 0 is no limit.
    pub fn timeout(&self) -> Result<Option<Duration>, ConfigError> {
        let given = self.value("a time in whole milliseconds, 0 for no limit", |text| u64::from_str(text).ok())?;
        Ok(given.map(|time| if time == 0 { UNLIMITED } else { Duration::from_millis(time).min(UNLIMITED) }))
    }

    /// A time in seconds, with a fraction if wanted.
    pub fn seconds(&self, most: Duration) -> Result<Option<Duration>, ConfigError> {
        self.value(&format!("a time in seconds, at most {}", most.as_secs()), |text| seconds(text, most))
    }

    /// `key=value` pairs with commas between them, percent-decoded: W3C Baggage's form, which OpenTelemetry uses for
    /// headers and resource attributes. With the variable that they are of.
    ///
    /// # Errors
    /// They are of another form. The caller knows what follows from that.
    pub fn pairs(&self) -> Result<Option<(&str, Pairs)>, ConfigError> {
        let Some((name, value)) = self.first() else { return Ok(None) };
        let pairs = value.split(',').map(str::trim).filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| {
            let (key, value) = pair.split_once('=')?;
            let key = decoded(key.trim())?;
            (!key.is_empty()).then_some((key, decoded(value.trim())?))
        });
        let accepted = "key=value pairs with commas between them, percent-encoded";
        let pairs = pairs.collect::<Option<_>>().ok_or_else(|| ConfigError::new(name, &value, accepted))?;
        self.variables.use_value(name);
        Ok(Some((name, pairs)))
    }

    /// The same, and none where they are of another form.
    pub fn pairs_or_ignored(&self) -> Option<Pairs> {
        match self.pairs() {
            Ok(pairs) => pairs.map(|(_, pairs)| pairs),
            Err(error) => {
                self.variables.ignore(error);
                None
            }
        }
    }

    /// Only its own variable, none that says the same of more than this.
    pub fn own(&self) -> Said<'_> {
        Said { variables: self.variables, names: self.names.iter().take(1).cloned().collect() }
    }

    fn is_ours(&self) -> bool {
        self.names.first().is_some_and(|name| is_ours(name))
    }
}

/// A number of seconds from 0 to `most`.
pub fn seconds(text: &str, most: Duration) -> Option<Duration> {
    let seconds = f64::from_str(text).ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.filter(|time| *time <= most)
}

fn is_ours(name: &str) -> bool {
    name == "JITSPAN" || name.starts_with("JITSPAN_")
}

fn decoded(text: &str) -> Option<String> {
    percent_encoding::percent_decode_str(text).decode_utf8().ok().map(|text| text.into_owned())
}
