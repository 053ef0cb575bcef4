//! jitspan shows which request paid for a kernel compile.
pub mod semconv;
#[cfg(feature = "view")]
pub mod view;
