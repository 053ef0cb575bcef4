//! What several compilers have in common: one function that a kernel is asked of, and which finds it in memory, loads it
//! from disk, or builds it. Which of these it was is said by other functions of theirs that it calls.

use std::cell::RefCell;
use std::sync::Arc;

use pyo3::prelude::*;

use super::{Runtime, known};
use crate::board::record::About;
use crate::model::event::{CacheResult, Detail, Kernel, Kind};
use crate::monitor::Pending;
use crate::python::host::convert::get_text;
use crate::python::host::here;
use crate::python::host::imports;
use crate::python::patch::{After, Outcome};
use crate::python::stall;

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Did {
    /// It was in memory, or was handed on.
    Nothing,
    /// It was on disk.
    Loaded,
    /// It was built, or building it was begun.
    Built,
}

thread_local! {
    /// Kernels that this thread is being asked for, by runtime, the outermost first.
    static ASKED: RefCell<Vec<(&'static str, Did)>> = const { RefCell::new(Vec::new()) };
}

/// A kernel is asked for.
pub struct Asked {
    /// Of whom.
    pub runtime: &'static Runtime,
    /// Which.
    pub kernel: Kernel,
    /// What it is to be built for.
    pub specialization: known::Specialization,
}

/// Says what is done for the kernel that this thread is being asked for. False: it is asked for none.
pub fn note(runtime: &'static Runtime, did: Did) -> bool {
    ASKED.with_borrow_mut(|asked| {
        let innermost = asked.iter_mut().rev().find(|(name, _)| *name == runtime.name);
        innermost.map(|(_, known)| *known = did.max(*known)).is_some()
    })
}

/// Whether this thread is being asked for one.
pub fn is_asked(runtime: &'static Runtime) -> bool {
    ASKED.with_borrow(|asked| asked.iter().any(|(name, _)| *name == runtime.name))
}

/// From here to its end it is a stall, unless it comes to nothing. `did` is what is known of it already.
pub fn follow(py: Python<'_>, asked: Asked, did: Did) -> Option<After> {
    follow_as(stall::begin_holding(py)?, asked, did)
}

/// The same for a stall that has begun.
pub fn follow_as(pending: Arc<Pending>, asked: Asked, did: Did) -> Option<After> {
    let depth = ASKED.with_borrow_mut(|all| {
        all.push((asked.runtime.name, did));
        all.len() - 1
    });
    let kind = if did == Did::Loaded { Kind::Load } else { Kind::Compile };
    pending.shows(About { runtime: asked.runtime.name, kind, kernel: &asked.kernel.name });
    stall::enter(&pending);
    Some(Box::new(move |py, outcome| {
        stall::leave(&pending);
        let did = ASKED.with_borrow_mut(|all| all.drain(depth.min(all.len())..).next());
        Ok(finish(py, &pending, asked, did.map_or(Did::Nothing, |(_, did)| did), outcome))
    }))
}

/// Records it. What fails before anything is built is an error of another kind.
pub fn finish(py: Python<'_>, pending: &Pending, asked: Asked, did: Did, outcome: Outcome<'_, '_>) -> Option<PyErr> {
    let Asked { runtime, kernel, specialization } = asked;
    let kind = match (did, outcome) {
        (Did::Built, _) => Kind::Compile,
        (Did::Loaded, Ok(_)) => Kind::Load,
        _ => return None,
    };
    if outcome.is_err_and(|error| stall::is_ours(py, error)) {
        return None;
    }
    let identity = format!("{}:{}", runtime.name, kernel.name);
    let mut event = runtime.event(kind, kernel);
    event.duration = pending.elapsed();
    event.cache = if kind == Kind::Load { CacheResult::Hit } else { CacheResult::Miss };
    event.failure = outcome.err().map(|error| stall::failure(py, error));
    let (cause, changes) = known::explain(&identity, &specialization);
    (event.cause, event.changes) = (Some(cause), changes);
    event.runtime_version = imports::loaded(py, runtime.package).and_then(|package| get_text(&package, "__version__"));
    event.thread = here::thread(py);
    let text = specialization.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(", ");
    if crate::monitor().is_some_and(|monitor| monitor.config().verbose) {
        event.detail =
            Some(Box::new(Detail { signature: Some(text.clone()), stack: here::stack(py), ..Detail::default() }));
    }
    if event.failure.is_none() {
        known::remember(&identity, specialization);
    }
    stall::finish(py, pending, event, &text).1
}
