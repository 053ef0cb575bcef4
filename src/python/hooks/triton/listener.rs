//! `knobs.compilation.listener` (3.4 on): stage times, and whether the cache on disk had it. The only place that hears
//! of `triton.compile` called directly, as Inductor does.

use std::borrow::Cow;
use std::time::Duration;

use pyo3::prelude::*;

use super::frame::Heard;
use super::{describe, frame, inductor, manual, package, source};
use crate::model::event::{CacheResult, Kind, Stage, nanos};
use crate::python::host::boundary::OrNone;
use crate::python::host::convert::{get, item, text};
use crate::python::patch::{After, Call};
use crate::python::stall;

/// Called once for each compile or load, in the thread that did it.
pub fn heard(py: Python<'_>, call: &Call<'_, '_>) -> PyResult<Option<After>> {
    let heard = read(call);
    let Some(source) = call.keyword("src") else { return Ok(None) };
    let mut heard = Some(heard);
    frame::with(&source, |frame| frame.heard = heard.take());
    match heard {
        Some(heard) if !source::has_ended(&source) => unseen(py, call, &source, heard),
        _ => Ok(None),
    }
}

/// A compile that we did not see begin. It is over: its start is counted back from Triton's own time.
fn unseen(py: Python<'_>, call: &Call<'_, '_>, source: &Bound<'_, PyAny>, heard: Heard) -> PyResult<Option<After>> {
    let Some(pending) = stall::begin(py) else { return Ok(None) };
    let kind = if heard.cache_hit { Kind::Load } else { Kind::Compile };
    let function = get(source, "fn").unwrap_or_else(|| source.clone());
    let mut event = package::of(source).runtime.event(kind, describe::kernel(&function, None));
    event.started = Some(pending.started().saturating_sub(nanos(heard.total)));
    event.duration = heard.total;
    event.cache = if heard.cache_hit { CacheResult::Hit } else { CacheResult::Miss };
    event.stages = heard.stages;
    event.manual_warmup = manual::is_manual();
    describe::add(py, &mut event, None, source);
    let hash = call.keyword("metadata").and_then(|metadata| item(&metadata, "hash")).map(|hash| text(&hash));
    let hash = hash.unwrap_or_default();
    inductor::remember(&hash);
    let (_, raise) = stall::finish(py, &pending, event, &hash);
    Ok(raise.map(|raise| -> After { Box::new(move |_py, _outcome| Ok(Some(raise))) }))
}

fn read(call: &Call<'_, '_>) -> Heard {
    let times = call.keyword("times");
    let microseconds = |name: &str| {
        let value = times.as_ref().and_then(|times| get(times, name))?.extract::<f64>().or_none()?;
        Duration::try_from_secs_f64(value / 1e6).ok()
    };
    let mut stages = Vec::new();
    let mut push = |name: Cow<'static, str>, duration: Option<Duration>| {
        if let Some(duration) = duration {
            stages.push(Stage { name, duration });
        }
    };
    push("ir_initialization".into(), microseconds("ir_initialization"));
    let lowering = times.as_ref().and_then(|times| get(times, "lowering_stages"));
    for (name, time) in lowering.and_then(|stages| stages.extract::<Vec<(String, f64)>>().or_none()).unwrap_or_default()
    {
        push(name.into(), Duration::try_from_secs_f64(time / 1e6).ok());
    }
    push("store_results".into(), microseconds("store_results"));
    let total = stages.iter().map(|stage| stage.duration).sum();
    let cache_hit = call.keyword("cache_hit").is_some_and(|hit| hit.is_truthy().or_none().unwrap_or(false));
    Heard { stages, total, cache_hit }
}
