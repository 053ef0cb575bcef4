//! The manifest: what compiled late, one JSON line for each, so that the next start compiles it before it takes a
//! request. `line` is the line, `write` appends it, `read` reads a folder of them within bounds, `folder` says
//! which folders are trusted, `traces` makes lines of what a tracing backend has.

pub mod folder;
#[cfg(feature = "view")]
pub mod jaeger;
pub mod line;
pub mod literal;
pub mod read;
#[cfg(feature = "view")]
pub mod traces;
pub mod write;
