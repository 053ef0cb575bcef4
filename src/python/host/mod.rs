//! How we behave in somebody else's process: what we read of its objects, and what we keep from it.

pub mod bounded;
pub mod convert;
pub mod fork_gate;
pub mod guard;
pub mod here;
pub mod imports;
pub mod lifetime;
pub mod report;
pub mod resource;
