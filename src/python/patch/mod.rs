//! What replaces and restores somebody else's attribute, and what waits for somebody else's import.

pub mod late;
mod patches;
mod wrapper;

pub use patches::Patches;
pub use wrapper::{After, Call, Outcome, Wrapper};
