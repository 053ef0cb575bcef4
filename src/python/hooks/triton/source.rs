//! What every `triton.compile` goes through, at class level, so that names bound before us are seen too:
//!
//! | place | tells |
//! |---|---|
//! | `ASTSource.parse_options`, `IRSource.parse_options` | it begins: nothing in `compile` runs earlier that costs time |
//! | `make_ir` of the source's class | no load from the disk cache; a failure |
//! | `add_stages` of the backend's class | stages: their times up to 3.3, a failure |
//! | `CompiledKernel.__init__` | it ends |
//!
//! A compile that a launch asked for is recorded by `compile.rs`; one that nobody asked for is recorded here.

use std::cell::RefCell;
use std::sync::atomic::Ordering;
use std::time::Instant;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyWeakrefReference};

use super::frame::{self, Direct, Frame};
use super::package::{self, Package};
use super::{describe, inductor, launcher, manual, specialization};
use crate::board::record::About;
use crate::model::event::{Kind, Stage};
use crate::python::host::boundary::OrNone;
use crate::python::host::convert::{get, text};
use crate::python::host::guard::guard;
use crate::python::patch::{After, Call, Patches, Wrapper};
use crate::python::stall;

/// The watches on `make_ir` of each class of source: Gluon's is imported when it is first used.
pub static CLASSES: Patches = Patches::new();

thread_local! {
    /// The direct compile that ended last, for the listener, which 3.4 and later call after a load has ended.
    static ENDED: RefCell<Option<Py<PyWeakrefReference>>> = const { RefCell::new(None) };
}

/// Stands in all these places that are there.
pub fn install(py: Python<'_>, package: &Package, patches: &'static Patches, listener: bool) -> PyResult<()> {
    package.listener.store(listener, Ordering::Relaxed);
    let compiler = package.import(py, "compiler.compiler")?;
    // Without an end there must be no beginning: then the listener alone reports direct compiles.
    let ends = get(compiler.as_any(), "CompiledKernel")
        .is_some_and(|class| patches.wrap(&class, "__init__", "triton.CompiledKernel", ends).unwrap_or(false));
    if ends {
        for name in ["ASTSource", "IRSource"] {
            if let Some(class) = get(compiler.as_any(), name) {
                patches.wrap(&class, "parse_options", "triton.parse_options", begins)?;
            }
        }
    }
    for class in package.backends(py, "compiler") {
        patches.wrap(&class, "add_stages", "triton.add_stages", adds_stages)?;
    }
    Ok(())
}

/// Whether this source's direct compile has just been recorded in this thread.
pub fn has_ended(source: &Bound<'_, PyAny>) -> bool {
    let Ok(weak) = PyWeakrefReference::new(source) else { return false };
    // An object has one plain weak reference: the same one, the same object.
    ENDED.with_borrow(|ended| ended.as_ref().is_some_and(|ended| ended.bind(source.py()).is(&weak)))
}

/// `parse_options`, the first thing that `compile` asks a source for.
fn begins(py: Python<'_>, call: &Call<'_, '_>) -> PyResult<Option<After>> {
    let Some(source) = call.arg(0) else { return Ok(None) };
    let watched = CLASSES.wrap_weakly(source.get_type().as_any(), "make_ir", "triton.make_ir", lowers)?;
    let known = frame::with(&source, |frame| frame.watched = watched).is_some();
    if !known && let Some(pending) = stall::begin(py) {
        let package = package::of(&source);
        let function = get(&source, "fn").unwrap_or_else(|| source.clone());
        let name = describe::kernel(&function, None).name;
        pending.shows(About { runtime: package.runtime.name, kind: Kind::Compile, kernel: &name });
        let direct = Direct { pending, manual: manual::is_manual(), first: package.first_in_process(py) };
        let mut frame = Frame::new(source.unbind(), Some(direct));
        frame.watched = watched;
        frame::push(frame);
    }
    Ok(None)
}

/// `make_ir`: the cache on disk did not have it.
fn lowers(_py: Python<'_>, call: &Call<'_, '_>) -> PyResult<Option<After>> {
    let Some(source) = call.arg(0) else { return Ok(None) };
    if frame::with(&source, |frame| frame.lowered = true).is_none() {
        return Ok(None);
    }
    let source = source.unbind();
    Ok(Some(Box::new(move |py, outcome| {
        let source = source.bind(py);
        frame::with(source, |frame| {
            frame.stages.push(Stage { name: "ir_initialization".into(), duration: frame.began.elapsed() });
        });
        fail(py, source, outcome.err());
        Ok(None)
    })))
}

/// `add_stages(stages, options, ...)` fills a dictionary with the stages' functions.
fn adds_stages(py: Python<'_>, call: &Call<'_, '_>) -> PyResult<Option<After>> {
    let innermost = frame::innermost(|frame| (frame.direct.is_some(), frame.source.clone_ref(py)));
    let Some((is_direct, source)) = innermost else { return Ok(None) };
    if !is_direct && package::of(source.bind(py)).listener.load(Ordering::Relaxed) {
        return Ok(None);
    }
    let Some(stages) = call.arg(1).or_else(|| call.keyword("stages")) else { return Ok(None) };
    let Ok(stages) = stages.cast_into::<PyDict>() else { return Ok(None) };
    let stages = stages.unbind();
    Ok(Some(Box::new(move |py, outcome| {
        let stages = stages.bind(py);
        if outcome.is_ok() {
            for (name, function) in stages.items().iter().filter_map(|pair| pair.extract().or_none()) {
                watch_stage(stages, &name, &function, source.clone_ref(py))?;
            }
        }
        Ok(None)
    })))
}

fn watch_stage(
    stages: &Bound<'_, PyDict>,
    name: &Bound<'_, PyAny>,
    function: &Bound<'_, PyAny>,
    source: Py<PyAny>,
) -> PyResult<()> {
    let stage = text(name);
    let watch = move |py: Python<'_>, _call: &Call<'_, '_>| -> PyResult<Option<After>> {
        let (began, stage, source) = (Instant::now(), stage.clone(), source.clone_ref(py));
        Ok(Some(Box::new(move |py, outcome| {
            let source = source.bind(py);
            let duration = began.elapsed();
            frame::with(source, |frame| frame.stages.push(Stage { name: stage.into(), duration }));
            fail(py, source, outcome.err());
            Ok(None)
        })))
    };
    stages.set_item(name, Wrapper::around(function, "triton.stage", watch)?)
}

/// `CompiledKernel(src, metadata_group, hash)`: the last thing that `compile` does.
fn ends(_py: Python<'_>, call: &Call<'_, '_>) -> PyResult<Option<After>> {
    let Some(source) = call.arg(1).or_else(|| call.keyword("src")) else { return Ok(None) };
    if frame::with(&source, |_| ()).is_none() {
        return Ok(None);
    }
    let hash = call.arg(3).or_else(|| call.keyword("hash")).map(|hash| text(&hash));
    let kernel = call.arg(0).map(Bound::unbind);
    let source = source.unbind();
    Ok(Some(Box::new(move |py, outcome| {
        let source = source.bind(py);
        if let Some(hash) = &hash {
            inductor::remember(hash);
        }
        if outcome.is_err() {
            fail(py, source, outcome.err());
            return Ok(None);
        }
        if frame::with(source, |frame| frame.direct.is_none()) != Some(false) {
            return Ok(None);
        }
        let kernel = kernel.as_ref().map(|kernel| kernel.bind(py));
        Ok(frame::take(source).and_then(|frame| record(py, frame, None, kernel, hash.unwrap_or_default())))
    })))
}

/// A direct compile failed, if it did. A launch's own watch sees its failure.
fn fail(py: Python<'_>, source: &Bound<'_, PyAny>, error: Option<&PyErr>) {
    if error.is_some()
        && frame::with(source, |frame| frame.direct.is_some()) == Some(true)
        && let Some(frame) = frame::take(source)
    {
        record(py, frame, error, None, String::new());
    }
}

fn record(
    py: Python<'_>,
    mut frame: Frame,
    error: Option<&PyErr>,
    kernel: Option<&Bound<'_, PyAny>>,
    hash: String,
) -> Option<PyErr> {
    let direct = frame.direct.take()?;
    let cache = frame.cache(error.is_none());
    let stages = frame.take_stages();
    let source = frame.source.bind(py);
    let kind = if cache == crate::model::event::CacheResult::Hit { Kind::Load } else { Kind::Compile };
    let function = get(source, "fn").unwrap_or_else(|| source.clone());
    let mut event = package::of(source).runtime.event(kind, describe::kernel(&function, None));
    event.duration = direct.pending.elapsed();
    event.cache = cache;
    event.manual_warmup = direct.manual;
    event.first_in_process = direct.first;
    event.failure = error.map(|error| stall::failure(py, error));
    event.stages = stages;
    describe::add(py, &mut event, None, source);
    guard(py, "triton.explain", || {
        let asked = specialization::Asked {
            function: &function,
            source,
            key: &hash,
            device: None,
            options: None,
            kernel,
            began: frame.began,
        };
        specialization::explain(&mut event, &asked)
    });
    ENDED.with_borrow_mut(|ended| *ended = PyWeakrefReference::new(source).ok().map(Bound::unbind));
    let (recorded, raise) = stall::finish(py, &direct.pending, event, &hash);
    if let Some(recorded) = recorded {
        launcher::remember(source, recorded);
    }
    raise
}
