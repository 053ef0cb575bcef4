//! What replaces and restores somebody else's attribute, and what waits for somebody else's import.

pub mod intercept;
pub mod interceptor;
pub mod late;
