//! Asks Jaeger for stalled traces, by its HTTP API of version 3, which answers in OTLP.

use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::traces::Stalls;
use crate::config::endpoint_at;
use crate::export::otlp::connection;
use crate::semconv::span;

/// Traces in one answer. Jaeger has a limit of its own, mostly of 1,500; where an answer is full, its time is halved.
const TRACES: usize = 400;

/// Bytes of one answer.
const ANSWER: usize = 256 << 20;

/// Seconds for one answer.
const TIMEOUT: Duration = Duration::from_secs(60);

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Query {
    /// Where Jaeger is: `http://localhost:16686`, with its base path.
    pub url: String,
    /// The service.
    pub service: String,
    /// From when to when, in seconds since 1970.
    pub from: u64,
    /// Until when.
    pub to: u64,
}

/// All stalls in that time.
///
/// # Errors
/// Jaeger cannot be reached, or refuses: in words.
pub fn stalls(query: &Query) -> Result<Stalls, String> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let mut stalls = Stalls::default();
        let mut windows = vec![(query.from, query.to)];
        while let Some((from, to)) = windows.pop() {
            let answer = ask(query, from, to).await?;
            if traces(&answer) >= TRACES && to - from > 1 {
                let middle = from + (to - from) / 2;
                windows.extend([(from, middle), (middle, to)]);
            } else {
                stalls.add(&answer);
            }
        }
        Ok(stalls)
    })
}

async fn ask(query: &Query, from: u64, to: u64) -> Result<Value, String> {
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let attributes = serde_json::json!({ span::STALLED: "true" }).to_string();
    let address = format!(
        "{}/api/v3/traces?query.service_name={}&query.start_time_min={}&query.start_time_max={}&query.num_traces={TRACES}&query.attributes={}",
        query.url.trim_end_matches('/'),
        encoded(&query.service),
        encoded(&rfc3339(from)),
        encoded(&rfc3339(to)),
        encoded(&attributes),
    );
    // One client for all: with the certificates that the exporter's settings name.
    let endpoint = endpoint_at(&query.url).map_err(|error| error.to_string())?;
    let client = connection::client(&endpoint).map_err(|error| error.to_string())?;
    let uri: http::Uri = address.parse().map_err(|error| format!("{}: {error}", query.url))?;
    let answer = tokio::time::timeout(TIMEOUT, async {
        let response = client.get(uri).await.map_err(|error| chain(&error))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER).collect().await.map_err(|error| error.to_string())?;
        Ok::<_, String>((status, body.to_bytes()))
    });
    let (status, body) = answer.await.map_err(|_| format!("{}: no answer in {} s", query.url, TIMEOUT.as_secs()))??;
    // It says so when there is nothing.
    if status == http::StatusCode::NOT_FOUND && body.windows(15).any(|part| part == b"No traces found") {
        return Ok(Value::Null);
    }
    if !status.is_success() {
        let text = String::from_utf8_lossy(&body);
        return Err(format!("{}: {status}: {}", query.url, crate::model::attribute::bounded(&text, 200)));
    }
    // Several objects behind one another, as it streams them.
    let values: Result<Vec<Value>, _> = serde_json::Deserializer::from_slice(&body).into_iter::<Value>().collect();
    values.map(Value::Array).map_err(|error| format!("{}: no JSON: {error}", query.url))
}

fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}

/// Traces in an answer.
fn traces(answer: &Value) -> usize {
    let mut ids = std::collections::HashSet::new();
    collect_ids(answer, &mut ids);
    ids.len()
}

fn collect_ids<'a>(value: &'a Value, to: &mut std::collections::HashSet<&'a str>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect_ids(item, to)),
        Value::Object(object) => {
            if let Some(id) = object.get("traceId").or_else(|| object.get("trace_id")).and_then(Value::as_str) {
                to.insert(id);
            }
            object.iter().filter(|(name, _)| *name != "attributes").for_each(|(_, inner)| collect_ids(inner, to));
        }
        _ => {}
    }
}

/// A time as Jaeger takes it.
fn rfc3339(seconds: u64) -> String {
    // Days since 1970 as a date: Howard Hinnant's `civil_from_days`.
    let days = (seconds / 86_400) as i64 + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let (day, month) = (of_year - (153 * shifted + 2) / 5 + 1, if shifted < 10 { shifted + 3 } else { shifted - 9 });
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_as_a_date() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(rfc3339(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339(1_764_000_000), "2025-11-24T16:00:00Z");
    }
}
