//! What error mode raises.

/// An unexpected compile in error mode. Its spans have been marked as failed; flush, then raise it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct UnexpectedCompile {
    /// What the operator should read.
    pub message: String,
}

/// The class under which [`UnexpectedCompile`] stands on spans: the name that Python code catches.
pub const ERROR_TYPE: &str = "jitspan.UnexpectedCompileError";
