//! Spans of other SDKs that are open when something compiles.

pub mod datadog_span;
pub mod identity;
pub mod local_root;
pub mod otel_span;
pub mod provider_flush;
