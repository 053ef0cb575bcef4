//! gRPC's status: the codes, and of its details what an exporter asks for.
//! (<https://github.com/googleapis/googleapis/blob/master/google/rpc/status.proto>, `error_details.proto`.)

use std::fmt;
use std::time::Duration;

/// A code, by its number.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Code(usize);

impl Code {
    /// It was taken.
    pub const OK: Code = Code(0);
    /// The server does not know the method: it has no pipeline for the signal.
    pub const UNIMPLEMENTED: Code = Code(12);
    /// Retried if the server says when.
    pub const RESOURCE_EXHAUSTED: Code = Code(8);
    /// Retried, as OTLP says: Cancelled, DeadlineExceeded, Aborted, OutOfRange, Unavailable, DataLoss.
    pub const RETRIED: [Code; 6] = [Code(1), Code(4), Code(10), Code(11), Code(14), Code(15)];

    const NAMES: [&str; 17] = [
        "OK",
        "Cancelled",
        "Unknown",
        "InvalidArgument",
        "DeadlineExceeded",
        "NotFound",
        "AlreadyExists",
        "PermissionDenied",
        "ResourceExhausted",
        "FailedPrecondition",
        "Aborted",
        "OutOfRange",
        "Unimplemented",
        "Internal",
        "Unavailable",
        "DataLoss",
        "Unauthenticated",
    ];
    const UNKNOWN: Code = Code(2);

    /// As it stands in a header. What is no known code is Unknown.
    pub fn from_bytes(digits: &[u8]) -> Self {
        let number = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
        number.filter(|number| *number < Self::NAMES.len()).map_or(Self::UNKNOWN, Code)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(Self::NAMES.get(self.0).copied().unwrap_or("Unknown"))
    }
}

/// `google.rpc.Status`, which is also the body of a refusal over HTTP.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Status {
    #[prost(int32, tag = "1")]
    pub code: i32,
    #[prost(string, tag = "2")]
    pub message: String,
    #[prost(message, repeated, tag = "3")]
    pub details: Vec<Detail>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Detail {
    #[prost(string, tag = "1")]
    pub type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    pub retry_delay: Option<Delay>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Delay {
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

impl RetryInfo {
    /// What a detail of this type says of itself.
    pub const URL: &str = "type.googleapis.com/google.rpc.RetryInfo";

    /// None: it is another detail, or cannot be read.
    pub fn of(detail: &Detail) -> Option<Self> {
        (detail.type_url == Self::URL).then(|| prost::Message::decode(&*detail.value).ok())?
    }

    /// How long to wait. None: not said, or in the past.
    pub fn delay(&self) -> Option<Duration> {
        let delay = self.retry_delay?;
        let (seconds, nanos) = (u64::try_from(delay.seconds).ok()?, u32::try_from(delay.nanos).ok()?);
        // `Duration::new` panics where the nanoseconds carry over the largest number of seconds.
        Duration::from_secs(seconds).checked_add(Duration::from_nanos(nanos.into()))
    }
}
