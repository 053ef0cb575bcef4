//! What a collector answered, and what that means for the sender
//! (<https://opentelemetry.io/docs/specs/otlp/#otlpgrpc-response>, `#otlphttp-response`).

use std::time::Duration;

use http::StatusCode;
use http::header::{HeaderName, HeaderValue};
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// What became of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Taken, but for this many records.
    Taken {
        /// Records the collector took the message without.
        rejected: usize,
        /// What it says of them.
        message: String,
    },
    /// Not now. The same message may be sent again.
    Later {
        /// How long the collector wants to be left alone.
        after: Option<Duration>,
        /// Why.
        message: String,
    },
    /// Never.
    Refused {
        /// Why.
        message: String,
    },
    /// Nothing of this signal: the collector has no pipeline for it.
    Unsupported {
        /// Why.
        message: String,
    },
}

impl Answer {
    /// A shorter header value is a tenant or a flag: hiding each "1" would make the message unreadable.
    const SECRET_LENGTH: usize = 4;

    /// Taken whole. The Collector sends an empty partial success with every OK: that is none.
    pub fn taken(rejected: i64, message: String) -> Self {
        Answer::Taken { rejected: usize::try_from(rejected).unwrap_or(0), message }
    }

    /// What a gRPC status means.
    pub fn from_grpc(status: &Status) -> Self {
        let message = format!("{:?}: {}", status.code(), status.message());
        let after = status.get_details_retry_info().and_then(|info| info.retry_delay);
        // Not an answer but the failure of the connection, which tonic shows as Unknown with a source.
        let local = status.code() == Code::Unknown && std::error::Error::source(status).is_some();
        match status.code() {
            Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unavailable
            | Code::DataLoss => Answer::Later { after, message },
            Code::ResourceExhausted if after.is_some() => Answer::Later { after, message },
            Code::Unimplemented => Answer::Unsupported { message },
            _ if local => Answer::Later { after: None, message: with_causes(status) },
            _ => Answer::Refused { message },
        }
    }

    /// What an HTTP status other than a success means.
    pub fn from_http(status: StatusCode, retry_after: Option<&str>, reason: &str) -> Self {
        let message = if reason.is_empty() { format!("HTTP {status}") } else { format!("HTTP {status}: {reason}") };
        match status.as_u16() {
            429 | 502 | 503 | 504 => Answer::Later { after: retry_after.and_then(delay), message },
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
        let bare = Status::resource_exhausted("received message larger than max");
        assert!(matches!(Answer::from_grpc(&bare), Answer::Refused { .. }));
        let mut details = tonic_types::ErrorDetails::new();
        details.set_retry_info(Some(Duration::from_secs(3)));
        let told = Status::with_error_details(Code::ResourceExhausted, "busy", details);
        assert!(matches!(Answer::from_grpc(&told), Answer::Later { after: Some(after), .. } if after.as_secs() == 3));
    }

    #[test]
    fn only_the_statuses_that_otlp_names_are_retried_over_http() {
        for status in [429, 502, 503, 504] {
            let status = StatusCode::from_u16(status).unwrap();
            assert!(
                matches!(Answer::from_http(status, Some("2"), ""), Answer::Later { after: Some(_), .. }),
                "{status}"
            );
        }
        for status in [301, 307, 400, 401, 405, 413, 415, 500, 501] {
            let status = StatusCode::from_u16(status).unwrap();
            assert!(matches!(Answer::from_http(status, None, ""), Answer::Refused { .. }), "{status}");
        }
    }

    #[test]
    fn a_signal_without_a_pipeline_is_told_from_a_bad_message() {
        let none = Status::unimplemented("unknown service opentelemetry.proto.collector.metrics.v1.MetricsService");
        assert!(matches!(Answer::from_grpc(&none), Answer::Unsupported { .. }));
        assert!(matches!(Answer::from_http(StatusCode::NOT_FOUND, None, ""), Answer::Unsupported { .. }));
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
