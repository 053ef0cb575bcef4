//! What happened, as plain data: no I/O, no clock, no SDK, no Python.

pub mod attribute;
pub mod event;
pub mod explain;
pub mod limits;
pub mod log_event;
pub mod recipe;
pub mod span;
pub mod summary;
