//! What the viewer runs with.

use std::path::PathBuf;
use std::time::Duration;

use super::store::Limits;

/// What `jitspan view` runs with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen.
    pub host: String,
    /// Port for gRPC; 0 for any.
    pub grpc_port: u16,
    /// Port for HTTP; 0 for any.
    pub http_port: u16,
    /// How a trace is printed.
    pub format: Format,
    /// Where each trace is written as JSON as well.
    pub json_file: Option<PathBuf>,
    /// Print traces without a stall, too.
    pub all: bool,
    /// How long a trace must be quiet.
    pub settle: Duration,
    /// What may be held.
    pub limits: Limits,
}

/// How a trace is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    Json,
    /// A picture.
    Waterfall {
        /// Columns it may take.
        width: usize,
        /// Escape sequences may be used.
        color: bool,
    },
}
