//! Lines from what a tracing backend has: OTLP as JSON, from a file or from Jaeger. So the next roll-out warms what any
//! replica has paid for.
//!
//! The JSON is walked, not typed: files hold one object or many, names are written `startTimeUnixNano` or
//! `start_time_unix_nano`, and Jaeger puts all of it in a `result`.

use std::collections::{HashMap, HashSet};

use serde_json::{Deserializer, Value};

use super::line::Line;
use super::read::{self, Manifest};
use crate::model::recipe::{Recipe, SCHEMA};
use crate::semconv::{attribute as key, event};

/// Stalls that were found.
#[derive(Debug, Default)]
pub struct Stalls {
    /// One for each compile of a process, by what tells it from others.
    stalls: HashMap<String, Stall>,
    /// Recipes that could not be read.
    malformed: usize,
    /// Stalls without a recipe: it was switched off, too long, or another runtime's.
    pub without: usize,
    seen: HashSet<String>,
}

#[derive(Debug)]
struct Stall {
    line: Line,
    /// The spans that tell of it, but for its own: requests.
    requests: HashSet<String>,
}

impl Stalls {
    /// Adds what a text of OTLP JSON holds: one object, or several behind one another.
    ///
    /// # Errors
    /// It is no JSON, in words.
    pub fn add_text(&mut self, text: &[u8]) -> Result<(), String> {
        for value in Deserializer::from_slice(text).into_iter::<Value>() {
            self.add(&value.map_err(|error| error.to_string())?);
        }
        Ok(())
    }

    /// Adds what one object holds, however deep.
    pub fn add(&mut self, value: &Value) {
        self.walk(value, "");
    }

    fn walk(&mut self, value: &Value, process: &str) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.walk(item, process)),
            Value::Object(object) => {
                // Who sent it: two ranks may compile the same in the same moment.
                let own = object.get("resource").map(Value::to_string);
                let process = own.as_deref().unwrap_or(process);
                if is_stall(object.get("name").or_else(|| get(object, "eventName", "event_name"))) {
                    self.stall(object, process, None);
                }
                let span = get(object, "spanId", "span_id").and_then(Value::as_str);
                for (name, inner) in object {
                    match (name.as_str(), inner) {
                        ("events", Value::Array(events)) => {
                            for event in events.iter().filter_map(Value::as_object) {
                                if is_stall(event.get("name")) {
                                    self.stall(event, process, span);
                                }
                            }
                        }
                        ("attributes" | "resource", _) => {}
                        _ => self.walk(inner, process),
                    }
                }
            }
            _ => {}
        }
    }

    fn stall(&mut self, told: &serde_json::Map<String, Value>, process: &str, span: Option<&str>) {
        let attributes = attributes(told.get("attributes"));
        let text = |name: &str| attributes.get(name).and_then(|value| value.as_str()).map(str::to_owned);
        let time = ["timeUnixNano", "time_unix_nano", "startTimeUnixNano", "start_time_unix_nano"];
        let time = time.iter().find_map(|name| told.get(*name)).map(number).unwrap_or_default();
        let Some(written) = text(key::SPECIALIZATION) else {
            // A span and its event tell of one.
            let same = format!("{process} {time} {:?}", text(key::KERNEL_NAME));
            self.without += usize::from(self.seen.insert(same));
            return;
        };
        let identity = format!("{process} {time} {written}");
        let stall = match self.stalls.entry(identity) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(free) => {
                let Some(recipe) = serde_json::from_str::<Recipe>(&written).ok().filter(|recipe| recipe.v == SCHEMA)
                else {
                    self.malformed += 1;
                    return;
                };
                let duration = attributes.get(key::DURATION).and_then(|value| value.as_f64()).unwrap_or_default();
                let changes = text(key::CHANGES).map(|changes| changes.split("; ").map(str::to_owned).collect());
                free.insert(Stall {
                    line: Line {
                        recipe,
                        cause: text(key::CAUSE),
                        changes: changes.unwrap_or_default(),
                        duration: if duration.is_finite() && duration >= 0.0 { duration } else { 0.0 },
                        cache: text(key::CACHE_RESULT).unwrap_or_default(),
                        times: 1,
                        requests: 0,
                        time: time / 1_000_000_000,
                    },
                    requests: HashSet::new(),
                })
            }
        };
        if let Some(span) = span {
            stall.requests.insert(span.to_owned());
        }
    }

    /// The lines, the costliest first.
    pub fn finish(self) -> Manifest {
        let lines = self.stalls.into_values().map(|stall| Line { requests: stall.requests.len() as u64, ..stall.line });
        let mut manifest = read::merge(lines);
        manifest.malformed += self.malformed;
        manifest
    }
}

fn is_stall(name: Option<&Value>) -> bool {
    let name = name.and_then(Value::as_str);
    name.is_some_and(|name| [event::COMPILE, event::LOAD, event::AUTOTUNE].contains(&name))
}

fn get<'a>(object: &'a serde_json::Map<String, Value>, one: &str, other: &str) -> Option<&'a Value> {
    object.get(one).or_else(|| object.get(other))
}

/// A list of `{key, value: {stringValue}}` in OTLP, or a plain object as `jitspan view --json` writes it.
fn attributes(told: Option<&Value>) -> HashMap<&str, &Value> {
    match told {
        Some(Value::Object(plain)) => plain.iter().map(|(name, value)| (name.as_str(), value)).collect(),
        Some(Value::Array(pairs)) => {
            let pairs = pairs.iter().filter_map(|pair| {
                let value = pair.get("value")?.as_object()?.values().next()?;
                Some((pair.get("key")?.as_str()?, value))
            });
            pairs.collect()
        }
        _ => HashMap::new(),
    }
}

/// JSON of protobuf writes large numbers as text.
fn number(value: &Value) -> u64 {
    value.as_u64().or_else(|| value.as_str()?.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(recipe: &str, time: u64) -> Value {
        serde_json::json!({"name": "jit.compile", "timeUnixNano": time.to_string(), "attributes": [
            {"key": "jit.specialization", "value": {"stringValue": recipe}},
            {"key": "jit.duration", "value": {"doubleValue": 0.5}},
            {"key": "jit.changes", "value": {"stringValue": "n: 1 -> any; m: 1 -> any"}},
        ]})
    }

    fn message(instance: &str, spans: &[(&str, Value)]) -> Value {
        let spans: Vec<_> = spans
            .iter()
            .map(|(id, event)| serde_json::json!({"name": "inference", "spanId": id, "events": [event]}))
            .collect();
        serde_json::json!({"resourceSpans": [{"resource": {"attributes": [
            {"key": "service.instance.id", "value": {"stringValue": instance}}]}, "scopeSpans": [{"spans": spans}]}]})
    }

    const RECIPE: &str = r#"{"v":1,"kind":"specialization","runtime":"triton","kernel":{"module":"m","name":"k"}}"#;

    #[test]
    fn a_compile_on_many_requests_is_one_and_on_two_replicas_two() {
        let mut stalls = Stalls::default();
        let one = event(RECIPE, 1_700_000_000_000_000_000);
        let two = serde_json::to_string(&message("b", &[("3", one.clone())])).unwrap();
        stalls.add_text(format!("{}\n{two}", message("a", &[("1", one.clone()), ("2", one)])).as_bytes()).unwrap();
        let [line] = stalls.finish().lines.try_into().unwrap();
        assert_eq!((line.duration, line.times, line.requests, line.time), (1.0, 2, 3, 1_700_000_000));
        assert_eq!(line.changes, ["n: 1 -> any", "m: 1 -> any"]);
    }

    #[test]
    fn jaegers_wrapping_and_a_span_of_its_own_tell_of_the_same() {
        let mut stalls = Stalls::default();
        let one = event(RECIPE, 7);
        let mut own = one.clone();
        own["spanId"] = "9".into();
        own["startTimeUnixNano"] = own["timeUnixNano"].take();
        own.as_object_mut().unwrap().remove("timeUnixNano");
        let mut message = message("a", &[("1", one)]);
        message["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array_mut().unwrap().push(own);
        stalls.add(&serde_json::json!({ "result": message }));
        let [line] = stalls.finish().lines.try_into().unwrap();
        assert_eq!((line.times, line.requests), (1, 1));
    }

    #[test]
    fn what_is_no_recipe_is_counted() {
        let mut stalls = Stalls::default();
        stalls.add(&message("a", &[("1", event("{", 1)), ("2", event("{\"v\":2}", 2))]));
        stalls.add(&serde_json::json!({"name": "jit.load", "attributes": []}));
        assert_eq!(stalls.without, 1);
        let manifest = stalls.finish();
        assert_eq!((manifest.lines.len(), manifest.malformed), (0, 2));
        assert!(Stalls::default().add_text(b"{").is_err());
    }
}
