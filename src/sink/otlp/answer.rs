//! What a collector answered, and what that means for the sender
//! (<https://opentelemetry.io/docs/specs/otlp/#otlpgrpc-response>, `#otlphttp-response`).

use std::time::Duration;

use http::StatusCode;
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
}

impl Answer {
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
            _ if local => Answer::Later { after: None, message: with_causes(status) },
            _ => Answer::Refused { message },
        }
    }

    /// What an HTTP status other than 200 means.
    pub fn from_http(status: StatusCode, retry_after: Option<&str>) -> Self {
        let message = format!("HTTP {status}");
        match status.as_u16() {
            429 | 502 | 503 | 504 => Answer::Later { after: retry_after.and_then(delay), message },
            _ => Answer::Refused { message },
        }
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
    crate::attribute::bounded(&text, 400).into_owned()
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
            assert!(matches!(Answer::from_http(status, Some("2")), Answer::Later { after: Some(_), .. }), "{status}");
        }
        for status in [301, 400, 401, 404, 405, 413, 415, 500, 501] {
            let status = StatusCode::from_u16(status).unwrap();
            assert!(matches!(Answer::from_http(status, None), Answer::Refused { .. }), "{status}");
        }
    }

    #[test]
    fn retry_after_may_be_a_date() {
        let date = httpdate::fmt_http_date(std::time::SystemTime::now() + Duration::from_secs(100));
        assert!(delay(&date).is_some_and(|delay| delay.as_secs() > 90));
        assert_eq!(delay("soon"), None);
    }
}
