//! Tests of the parts that need no network. The receivers are tested from outside, in `tests/view.rs`.

mod random;
mod samples;
mod store;
mod waterfall;
