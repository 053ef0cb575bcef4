//! What a collector answered, and what that means for the sender
//! (<https://opentelemetry.io/docs/specs/otlp/#otlpgrpc-response>, `#otlphttp-response`).

use std::time::Duration;

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;

use super::status::Code;
use crate::export::answer::Answer;

/// The answer of a collector is small; whatever answers more is no collector.
pub const ANSWER_BYTES: usize = 64 * 1024;

impl Answer {
    /// A shorter header value is a tenant or a flag: hiding each "1" would make the message unreadable.
    const SECRET_LENGTH: usize = 4;

    /// Taken whole. The Collector sends an empty partial success with every OK: that is none.
    pub fn taken(rejected: i64, message: String) -> Self {
        Answer::Taken { rejected: usize::try_from(rejected).unwrap_or(0), message }
    }

    /// What a gRPC status means that is not OK; `after` is when the server wants to be asked again.
    pub fn from_grpc(code: Code, reason: &str, after: Option<Duration>) -> Self {
        let message = format!("{code}: {reason}");
        match code {
            code if Code::RETRIED.contains(&code) => Answer::Later { after, message },
            Code::RESOURCE_EXHAUSTED if after.is_some() => Answer::Later { after, message },
            Code::UNIMPLEMENTED => Answer::Unsupported { message },
            _ => Answer::Refused { message },
        }
    }

    /// What an HTTP status means that is no success.
    pub fn from_http(status: StatusCode, headers: &HeaderMap, reason: &str) -> Self {
        let message = if reason.is_empty() { format!("HTTP {status}") } else { format!("HTTP {status}: {reason}") };
        match status.as_u16() {
            429 | 502 | 503 | 504 => {
                let after = headers.get(RETRY_AFTER).and_then(|value| delay(value.to_str().ok()?));
                Answer::Later { after, message }
            }
            404 => Answer::Unsupported { message },
            _ => Answer::Refused { message },
        }
    }

    /// The same, less the values of these headers: a collector's error may quote the credential it did not like, and
    /// the message ends in `stats()` and in logs.
    pub fn without(mut self, headers: &[(HeaderName, HeaderValue)]) -> Self {
        let (Answer::Taken { message, .. }
        | Answer::Later { message, .. }
        | Answer::Refused { message }
        | Answer::Unsupported { message }) = &mut self;
        for (_, value) in headers {
            let Ok(value) = value.to_str() else { continue };
            // `Bearer <token>`: the token alone is the secret.
            for secret in [value, value.rsplit(' ').next().unwrap_or(value)] {
                if secret.len() >= Self::SECRET_LENGTH && message.contains(secret) {
                    *message = message.replace(secret, "<hidden>");
                }
            }
        }
        self
    }
}

/// `Retry-After`: seconds, or a date.
fn delay(value: &str) -> Option<Duration> {
    let value = value.trim();
    match value.parse::<u64>() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => httpdate::parse_http_date(value).ok()?.duration_since(std::time::SystemTime::now()).ok(),
    }
}

/// The three signals' answers are one message on the wire: `partial_success` (1) of a count (1) and a text (2).
pub fn taken(answer: Bytes) -> Answer {
    let partial = ExportTraceServiceResponse::decode(answer).unwrap_or_default().partial_success.unwrap_or_default();
    Answer::taken(partial.rejected_spans, partial.error_message)
}

/// An error with the errors behind it: "client error (Connect): tcp connect error: Connection refused".
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    crate::model::attribute::bounded(&text, 400).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resource_exhausted_is_retried_only_if_the_collector_says_when() {
        let answer = |after| Answer::from_grpc(Code::RESOURCE_EXHAUSTED, "received message larger than max", after);
        assert!(matches!(answer(None), Answer::Refused { .. }));
        let after = Some(Duration::from_secs(3));
        assert!(matches!(answer(after), Answer::Later { after: told, .. } if told == after));
    }

    #[test]
    fn only_the_codes_that_otlp_names_are_retried_over_grpc() {
        let of = |code: usize| Answer::from_grpc(Code::from_bytes(code.to_string().as_bytes()), "", None);
        let retried: Vec<usize> = (1..20).filter(|code| matches!(of(*code), Answer::Later { .. })).collect();
        assert_eq!(retried, [1, 4, 10, 11, 14, 15]);
        assert_eq!(Answer::from_grpc(Code::from_bytes(b"abc"), "", None), of(2));
    }

    #[test]
    fn only_the_statuses_that_otlp_names_are_retried_over_http() {
        let asked = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static("2"))]);
        for status in [429, 502, 503, 504] {
            let status = StatusCode::from_u16(status).unwrap();
            assert!(matches!(Answer::from_http(status, &asked, ""), Answer::Later { after: Some(_), .. }), "{status}");
        }
        for status in [301, 307, 400, 401, 405, 413, 415, 500, 501] {
            let status = StatusCode::from_u16(status).unwrap();
            assert!(matches!(Answer::from_http(status, &asked, ""), Answer::Refused { .. }), "{status}");
        }
    }

    #[test]
    fn a_signal_without_a_pipeline_is_told_from_a_bad_message() {
        let none = Answer::from_grpc(Code::UNIMPLEMENTED, "unknown service", None);
        assert!(matches!(none, Answer::Unsupported { .. }));
        let none = Answer::from_http(StatusCode::NOT_FOUND, &HeaderMap::new(), "");
        assert!(matches!(none, Answer::Unsupported { .. }));
    }

    #[test]
    fn a_credential_that_the_collector_quotes_is_hidden() {
        let headers = [(http::header::AUTHORIZATION, HeaderValue::from_static("Bearer s3cret-token"))];
        let quoted = Answer::Refused { message: "Unauthenticated: no such token: s3cret-token".to_owned() };
        let hidden = Answer::Refused { message: "Unauthenticated: no such token: <hidden>".to_owned() };
        assert_eq!(quoted.without(&headers), hidden);
    }

    #[test]
    fn retry_after_may_be_a_date() {
        let date = httpdate::fmt_http_date(std::time::SystemTime::now() + Duration::from_secs(100));
        assert!(delay(&date).is_some_and(|delay| delay.as_secs() > 90));
        assert_eq!(delay("soon"), None);
        // Over already: our own back-off decides.
        assert_eq!(delay("Wed, 21 Oct 2015 07:28:00 GMT"), None);
    }
}
