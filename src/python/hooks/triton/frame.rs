//! What a `triton.compile` that is going on in this thread has shown so far. A compile runs from start to end in one
//! thread, so its frame is found by its source in that thread's own list.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pyo3::prelude::*;

use crate::model::event::{CacheResult, Stage};
use crate::monitor::Pending;

/// A compile that is going on.
pub struct Frame {
    /// The `ASTSource` or `IRSource`.
    pub source: Py<PyAny>,
    /// None: a launch asked for it, and records it.
    pub direct: Option<Direct>,
    /// Whether we would see the source being lowered.
    pub watched: bool,
    /// Whether it was lowered, which a load from the disk cache does not do.
    pub lowered: bool,
    /// Stages timed by ourselves, up to 3.3.
    pub stages: Vec<Stage>,
    /// What the listener said, from 3.4 on.
    pub heard: Option<Heard>,
    /// When it began.
    pub began: Instant,
}

/// What `knobs.compilation.listener` said of it.
pub struct Heard {
    /// Stages in the order they ran.
    pub stages: Vec<Stage>,
    /// The whole, as Triton timed it.
    pub total: Duration,
    /// Whether the cache on disk had it.
    pub cache_hit: bool,
}

/// A call of `triton.compile` by somebody else than a launch.
pub struct Direct {
    /// The stall.
    pub pending: Arc<Pending>,
    /// `preload()`, or a compile inside a `warmup()`.
    pub manual: bool,
    /// The first of the process.
    pub first: bool,
}

impl Frame {
    /// A compile begins.
    pub fn new(source: Py<PyAny>, direct: Option<Direct>) -> Self {
        let began = Instant::now();
        Frame { source, direct, watched: false, lowered: false, stages: Vec::new(), heard: None, began }
    }

    /// Whether the cache on disk had it: as the listener says, else by whether the source was lowered.
    pub fn cache(&self, succeeded: bool) -> CacheResult {
        match &self.heard {
            Some(heard) if heard.cache_hit => CacheResult::Hit,
            Some(_) => CacheResult::Miss,
            None if self.lowered => CacheResult::Miss,
            None if self.watched && succeeded => CacheResult::Hit,
            None => CacheResult::Unknown,
        }
    }

    /// Stages in the order they ran.
    pub fn take_stages(&mut self) -> Vec<Stage> {
        match self.heard.take() {
            Some(heard) => heard.stages,
            None => std::mem::take(&mut self.stages),
        }
    }
}

thread_local! {
    static FRAMES: RefCell<Vec<Frame>> = const { RefCell::new(Vec::new()) };
}

/// A compile begins in this thread. Compiles do not nest, so a direct one that is still here ended where we do not
/// see it (a full disk, say), and is forgotten.
pub fn push(frame: Frame) {
    let stale = FRAMES.with_borrow_mut(|frames| {
        let (stale, kept) = std::mem::take(frames).into_iter().partition::<Vec<_>, _>(|frame| frame.direct.is_some());
        *frames = kept;
        frames.push(frame);
        stale
    });
    // Dropping Python objects may run Python, which may come back here: not while the list is borrowed.
    drop(stale);
}

/// The compile of this source.
pub fn with<T>(source: &Bound<'_, PyAny>, body: impl FnOnce(&mut Frame) -> T) -> Option<T> {
    FRAMES.with_borrow_mut(|frames| {
        frames.iter_mut().rev().find(|frame| frame.source.bind(source.py()).is(source)).map(body)
    })
}

/// The innermost compile of this thread.
pub fn innermost<T>(body: impl FnOnce(&mut Frame) -> T) -> Option<T> {
    FRAMES.with_borrow_mut(|frames| frames.last_mut().map(body))
}

/// Whether this thread compiles.
pub fn is_compiling() -> bool {
    FRAMES.with_borrow(|frames| !frames.is_empty())
}

/// Takes the compile of this source out: it has ended.
pub fn take(source: &Bound<'_, PyAny>) -> Option<Frame> {
    FRAMES.with_borrow_mut(|frames| {
        let at = frames.iter().rposition(|frame| frame.source.bind(source.py()).is(source))?;
        Some(frames.remove(at))
    })
}
