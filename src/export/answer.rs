//! What became of one message.

use std::time::Duration;

/// What became of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Taken, but for this many records.
    Taken {
        /// Records the receiver took the message without.
        rejected: usize,
        /// What it says of them.
        message: String,
    },
    /// Not now. The same message may be sent again.
    Later {
        /// How long the receiver wants to be left alone.
        after: Option<Duration>,
        /// Why.
        message: String,
    },
    /// Never.
    Refused {
        /// Why.
        message: String,
    },
    /// Nothing of this signal: the receiver has no pipeline for it.
    Unsupported {
        /// Why.
        message: String,
    },
}
