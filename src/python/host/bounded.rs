//! Loops over the host's own iterables. Each one ends: at its end, at its bound, or at its first error, because an
//! iterator that has raised may raise for ever, with the interpreter held.

use pyo3::prelude::*;
use pyo3::types::PyIterator;

use crate::python::host::leaving::OrNone;
use crate::python::host::unreadable::unreadable;

/// Items that are counted beyond those that are wanted, where nothing says how many there are.
pub const COUNTED: usize = 10_000;

/// The first items of an iterable.
pub struct Each<'py> {
    items: Option<Bound<'py, PyIterator>>,
    left: usize,
    failed: bool,
}

/// At most `limit` items. What cannot be iterated has none, and has failed.
pub fn each<'py>(any: &Bound<'py, PyAny>, limit: usize) -> Each<'py> {
    let items = any.try_iter();
    let failed = items.is_err();
    if let Err(error) = &items {
        unreadable(any.py(), error);
    }
    Each { items: items.ok(), left: limit, failed }
}

impl<'py> Each<'py> {
    /// Whether it ended with an error.
    pub fn has_failed(&self) -> bool {
        self.failed
    }

    /// Whether there is more than was asked for.
    pub fn has_more(&mut self) -> bool {
        self.step().is_some()
    }

    /// How many items of `any` are left, after `read` of them: by its own length, else counted, up to [`COUNTED`].
    pub fn rest(&mut self, any: &Bound<'py, PyAny>, read: usize) -> usize {
        match any.len().or_none() {
            Some(length) => length.saturating_sub(read),
            None => (0..COUNTED).map_while(|_| self.step()).count(),
        }
    }

    fn step(&mut self) -> Option<Bound<'py, PyAny>> {
        let step = self.items.as_mut()?.next();
        match step {
            Some(Ok(item)) => return Some(item),
            Some(Err(error)) => {
                self.failed = true;
                if let Some(items) = &self.items {
                    unreadable(items.py(), &error);
                }
            }
            None => {}
        }
        self.items = None;
        None
    }
}

impl<'py> Iterator for Each<'py> {
    type Item = Bound<'py, PyAny>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        self.step()
    }
}
