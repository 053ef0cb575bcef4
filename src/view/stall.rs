//! What the attributes of a compile, autotune or load say, in words for a person.

use serde_json::Value;

use super::record::{Attributes, Event, Span};
use super::text::{clean, number_of};
use crate::semconv::{attribute, event};

/// `compile add_kernel`: what happened, and to which kernel.
#[must_use]
pub fn label(name: &str, attributes: &Attributes) -> String {
    let verb = noun(name);
    match text(attributes, attribute::KERNEL_NAME) {
        Some(kernel) => format!("{verb} {kernel}"),
        None => verb.to_owned(),
    }
}

/// What one such stall is called, for counting.
#[must_use]
pub fn noun(name: &str) -> &str {
    match name {
        event::COMPILE => "compile",
        event::AUTOTUNE => "autotune",
        event::LOAD => "load",
        event::LAUNCHER => "launcher build",
        other => other,
    }
}

/// Why it happened and what is known about it, the most telling first.
#[must_use]
pub fn details(name: &str, attributes: &Attributes) -> Vec<String> {
    let text = |key| text(attributes, key);
    let mut details = Vec::new();

    let cause = text(attribute::CAUSE).map(|cause| cause.replace('_', " "));
    match (cause, text(attribute::CHANGES)) {
        (Some(cause), Some(changes)) => details.push(format!("{cause}: {changes}")),
        (cause, changes) => details.extend(cause.or(changes)),
    }
    match text(attribute::CACHE_RESULT).as_deref() {
        Some("hit") => details.push("disk cache hit".to_owned()),
        Some("miss") => details.push("disk cache miss".to_owned()),
        _ => {}
    }
    if name == event::AUTOTUNE {
        details.extend(configurations(attributes));
        details.extend(text(attribute::AUTOTUNE_BEST).map(|best| format!("best {best}")));
        details.extend(text(attribute::AUTOTUNE_KEY).map(|key| format!("key {key}")));
    }
    details.extend(text(attribute::RUNTIME));
    details.extend(source(attributes));
    if attributes.get(attribute::FIRST_IN_PROCESS) == Some(&Value::Bool(true)) {
        details.push("first compile of the process".to_owned());
    }
    details
}

/// What went wrong on a span: its exceptions, and else its status and error attributes. Each failure is told once.
#[must_use]
pub fn failures_of_span(span: &Span) -> Vec<String> {
    let mut failures: Vec<String> =
        span.events.iter().filter(|event| event.name == event::EXCEPTION).filter_map(exception).collect();
    let message = Some(clean(&span.status_message)).filter(|message| !message.is_empty());
    let message = message.or_else(|| text(&span.attributes, attribute::EXCEPTION_MESSAGE));
    if failures.is_empty() {
        failures.extend(join(text(&span.attributes, attribute::ERROR_TYPE), message));
    } else if let Some(message) = message.filter(|message| !failures.iter().any(|told| told.contains(message))) {
        failures.push(message);
    }
    failures.dedup();
    failures
}

/// What went wrong in a stall that is told by an event.
#[must_use]
pub fn failure_of_event(event: &Event) -> Option<String> {
    let of_error =
        join(text(&event.attributes, attribute::ERROR_TYPE), text(&event.attributes, attribute::EXCEPTION_MESSAGE));
    of_error.or_else(|| exception(event))
}

/// An attribute as clean text, unless it is absent or empty.
#[must_use]
pub fn text(attributes: &Attributes, key: &str) -> Option<String> {
    let text = match attributes.get(key)? {
        Value::Null => return None,
        Value::String(text) => clean(text),
        other => clean(&other.to_string()),
    };
    Some(text).filter(|text| !text.is_empty())
}

fn exception(event: &Event) -> Option<String> {
    join(text(&event.attributes, attribute::EXCEPTION_TYPE), text(&event.attributes, attribute::EXCEPTION_MESSAGE))
}

fn join(class: Option<String>, message: Option<String>) -> Option<String> {
    match (class, message) {
        (Some(class), Some(message)) if message.contains(&class) => Some(message),
        (Some(class), Some(message)) => Some(format!("{class}: {message}")),
        (class, message) => class.or(message),
    }
}

fn configurations(attributes: &Attributes) -> Option<String> {
    let count = |key| attributes.get(key).and_then(Value::as_u64).and_then(|count| usize::try_from(count).ok());
    match (count(attribute::AUTOTUNE_BENCHMARKED), count(attribute::AUTOTUNE_DECLARED)) {
        (Some(benchmarked), Some(declared)) if benchmarked != declared => {
            Some(format!("{benchmarked} of {} tried", number_of(declared, "configuration")))
        }
        (Some(count), _) | (None, Some(count)) => Some(format!("{} tried", number_of(count, "configuration"))),
        (None, None) => None,
    }
}

/// `kernels.py:42`: the folder says little and takes much room.
fn source(attributes: &Attributes) -> Option<String> {
    let path = text(attributes, attribute::CODE_FILE_PATH)?;
    let file = path.rsplit(['/', '\\']).next().unwrap_or(&path).to_owned();
    match attributes.get(attribute::CODE_LINE_NUMBER).and_then(Value::as_u64) {
        Some(line) => Some(format!("{file}:{line}")),
        None => Some(file),
    }
}
