//! A tuning, from its methods that are on the cold path only. `Autotuner.run` stays unwrapped:
//!
//! | place | when | versions |
//! |---|---|---|
//! | `Autotuner.prune_configs` | a key that was not tuned before: it begins | all |
//! | `Autotuner.check_disk_cache` | before the benchmark, and around it; True: from disk | 3.4 on |
//! | `Autotuner._bench` | one configuration; compiles nest in it | all |
//! | `knobs.autotuning.listener` | the whole, when the result is kept: the authoritative record | 3.8 on |
//! | `pre_hook` of the one tuner, put there for one call | after the last one: error mode raises here | to 3.7 |
//!
//! The result is kept when the last three are called, so the next launch works.

use std::cell::RefCell;
use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};

use super::encode::{Unsupported, encode};
use super::package::{self, Package};
use super::{describe, kernel_name, recipe};
use crate::board::record::About;
use crate::model::event::{Autotune, CacheResult, Cause, CompileEvent, Kind};
use crate::model::recipe::{Configuration, Recipe, Tuning, What};
use crate::monitor::Pending;
use crate::python::host::boundary::OrNone;
use crate::python::host::convert::get;
use crate::python::host::guard::guard;
use crate::python::host::unreadable::said;
use crate::python::patch::{After, Call, Patches, Wrapper};
use crate::python::stall;

/// A tuning that is going on in this thread.
struct Tune {
    tuner: Py<PyAny>,
    pending: Arc<Pending>,
    key: Vec<(String, String)>,
    cause: Cause,
    changes: Vec<String>,
    manual: bool,
    /// Configurations that were left to be benchmarked. None: we were not told.
    expected: Option<usize>,
    benchmarked: usize,
    /// Of these, at most [`TIMINGS`].
    timings: Vec<(String, f64)>,
    /// Whether `check_disk_cache` is around the benchmark.
    in_disk_check: bool,
    /// The tuner's own key, so that another process finds it.
    raw_key: Result<Vec<serde_json::Value>, Unsupported>,
    /// The fastest configuration so far.
    fastest: Option<(Py<PyAny>, Vec<f64>)>,
    /// Whether a configuration is being benchmarked now.
    benchmarking: bool,
    /// Set once it was recorded.
    raise: Option<PyErr>,
    recorded: bool,
}

thread_local! {
    static TUNES: RefCell<Vec<Tune>> = const { RefCell::new(Vec::new()) };
}

const LISTENER: &str = "triton.autotuning_listener";

/// Timings kept of one tuning.
const TIMINGS: usize = 1024;

/// Stands in all these places that are there.
pub fn install(
    py: Python<'_>,
    package: &Package,
    patches: &'static Patches,
    knobs: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    if let Some(tuner) = get(package.import(py, "runtime.autotuner")?.as_any(), "Autotuner") {
        patches.wrap(&tuner, "prune_configs", "triton.prune_configs", prunes)?;
        patches.wrap(&tuner, "check_disk_cache", "triton.check_disk_cache", checks_disk)?;
        patches.wrap(&tuner, "_bench", "triton._bench", benches)?;
    }
    // 3.6 has the knobs of autotuning without a listener; without it a tuning is told by the places above.
    if let Some(autotuning) = knobs.and_then(|knobs| get(knobs, "autotuning"))
        && get(&autotuning, "listener").is_some()
    {
        patches.chain(&autotuning, "listener", LISTENER, hears)?;
    }
    Ok(())
}

/// The innermost tuning of this tuner in this thread.
fn with<T>(tuner: &Bound<'_, PyAny>, body: impl FnOnce(&mut Tune) -> T) -> Option<T> {
    TUNES.with_borrow_mut(|tunes| tunes.iter_mut().rev().find(|tune| tune.tuner.bind(tuner.py()).is(tuner)).map(body))
}

/// Whether this thread compiles to benchmark.
pub fn is_benchmarking() -> bool {
    TUNES.with_borrow(|tunes| tunes.iter().any(|tune| tune.benchmarking))
}

/// Takes it out, and those that it encloses: they were left without a word.
fn take(tuner: &Bound<'_, PyAny>) -> Option<Tune> {
    let mut taken = TUNES.with_borrow_mut(|tunes| {
        let at = tunes.iter().rposition(|tune| tune.tuner.bind(tuner.py()).is(tuner))?;
        Some(tunes.split_off(at))
    })?;
    (!taken.is_empty()).then(|| taken.remove(0))
}

/// `prune_configs(self, kwargs)`.
fn prunes(py: Python<'_>, call: &Call<'_, '_>) -> PyResult<Option<After>> {
    let Some(tuner) = call.arg(0) else { return Ok(None) };
    if super::manual::is_tuners() {
        return Ok(None);
    }
    let keywords = call.arg(1).or_else(|| call.keyword("kwargs"));
    if !begin(py, &tuner, keywords.as_ref().and_then(|keywords| keywords.cast::<PyDict>().ok())) {
        return Ok(None);
    }
    let tuner = tuner.unbind();
    Ok(Some(Box::new(move |py, outcome| {
        let tuner = tuner.bind(py);
        match outcome {
            Ok(left) => {
                let count = left.len().or_none();
                with(tuner, |tune| tune.expected = count);
            }
            Err(_) => drop(take(tuner)),
        }
        Ok(None)
    })))
}

fn begin(py: Python<'_>, tuner: &Bound<'_, PyAny>, keywords: Option<&Bound<'_, PyDict>>) -> bool {
    // A tuning that came to nothing (pruned to one configuration, from 3.8 on) is still here.
    drop(take(tuner));
    let Some(pending) = stall::begin(py) else { return false };
    let function = get(tuner, "fn").unwrap_or_else(|| tuner.clone());
    let name = describe::kernel(&function, None).name;
    pending.shows(About { runtime: package::of(tuner).runtime.name, kind: Kind::Autotune, kernel: &name });
    let named = named_values(tuner, keywords);
    let known = get(tuner, "cache").and_then(|cache| cache.cast_into::<PyDict>().ok());
    let known = known.filter(|known| !known.is_empty());
    let tune = Tune {
        changes: known.as_ref().map(|known| changes(known, &named)).unwrap_or_default(),
        cause: if known.is_some() { Cause::Retune } else { Cause::FirstUse },
        tuner: tuner.clone().unbind(),
        pending,
        key: named.into_iter().filter(|(_, _, of_key)| *of_key).map(|(name, value, _)| (name, value)).collect(),
        manual: super::manual::is_manual(),
        expected: None,
        benchmarked: 0,
        timings: Vec::new(),
        in_disk_check: false,
        raw_key: raw_key(tuner, keywords),
        fastest: None,
        benchmarking: false,
        raise: None,
        recorded: false,
    };
    TUNES.with_borrow_mut(|tunes| tunes.push(tune));
    true
}

/// `check_disk_cache(self, tuning_key, configs, bench_fn)` calls `bench_fn` itself if there is nothing on disk.
fn checks_disk(_py: Python<'_>, call: &Call<'_, '_>) -> PyResult<Option<After>> {
    let Some(tuner) = call.arg(0) else { return Ok(None) };
    if with(&tuner, |tune| tune.in_disk_check = true).is_none() {
        return Ok(None);
    }
    let tuner = tuner.unbind();
    Ok(Some(Box::new(move |py, outcome| {
        let tuner = tuner.bind(py);
        let from_disk = outcome.is_ok_and(|hit| hit.is_truthy().or_none().unwrap_or(false));
        if outcome.is_err() {
            drop(take(tuner));
            return Ok(None);
        }
        if from_disk && let Some(tune) = take(tuner) {
            let mut event = event(py, tuner, &tune, CacheResult::Hit);
            if let Some(autotune) = &mut event.autotune {
                autotune.benchmarked = Some(0);
                autotune.timings =
                    get(tuner, "configs_timings").map(|timings| read_timings(&timings)).unwrap_or_default();
                autotune.best = best(&autotune.timings);
            }
            let best = get(tuner, "configs_timings").and_then(|timings| fastest(&timings));
            add_recipe(py, &mut event, &tune, tuner, best.as_ref());
            return Ok(finish(py, &tune, event));
        }
        // From 3.8 on the listener comes next, and raises.
        if listener_is_ours(tuner) {
            return Ok(None);
        }
        Ok(take(tuner).and_then(|tune| tune.raise))
    })))
}

/// `_bench(self, *args, config, **meta)`.
fn benches(py: Python<'_>, call: &Call<'_, '_>) -> PyResult<Option<After>> {
    let (Some(tuner), Some(config)) = (call.arg(0), call.keyword("config")) else { return Ok(None) };
    let known = with(&tuner, |tune| Arc::clone(&tune.pending));
    let pending = match known {
        Some(pending) => Some(pending),
        // Somebody has pruned in his own way.
        None if begin(py, &tuner, call.kwargs) => with(&tuner, |tune| Arc::clone(&tune.pending)),
        None => None,
    };
    let Some(pending) = pending else { return Ok(None) };
    stall::enter(&pending);
    with(&tuner, |tune| tune.benchmarking = true);
    let (tuner, config) = (tuner.unbind(), config.unbind());
    Ok(Some(Box::new(move |py, outcome| {
        stall::leave(&pending);
        let tuner = tuner.bind(py);
        with(tuner, |tune| tune.benchmarking = false);
        match outcome {
            Ok(timing) => {
                let quantiles = quantiles(timing);
                let slower = with(tuner, |tune| {
                    let faster = tune.fastest.as_ref().is_none_or(|(_, fastest)| quantiles < *fastest);
                    if faster { tune.fastest.replace((config.clone_ref(py), quantiles)) } else { None }
                });
                // Not while the list is borrowed: that may run Python.
                drop(slower);
                let timing = (configuration(config.bind(py)), milliseconds(timing));
                let complete = with(tuner, |tune| {
                    if tune.timings.len() < TIMINGS {
                        tune.timings.push(timing);
                    }
                    tune.benchmarked += 1;
                    tune.expected == Some(tune.benchmarked)
                });
                if complete == Some(true) {
                    guard(py, "triton.autotune", || benched(py, tuner));
                }
            }
            Err(error) => {
                if let Some(tune) = take(tuner)
                    // Error mode has stopped it at a compile, which has been reported.
                    && !stall::is_ours(py, error)
                {
                    let mut event = event(py, tuner, &tune, CacheResult::Miss);
                    event.failure = Some(stall::failure(py, error));
                    if let Some(autotune) = &mut event.autotune {
                        autotune.best = None;
                    }
                    finish(py, &tune, event);
                }
            }
        }
        Ok(None)
    })))
}

/// The last configuration has been benchmarked.
fn benched(py: Python<'_>, tuner: &Bound<'_, PyAny>) -> PyResult<()> {
    if listener_is_ours(tuner) {
        return Ok(());
    }
    let Some(mut tune) = take(tuner) else { return Ok(()) };
    let mut event = event(py, tuner, &tune, CacheResult::Miss);
    let best = tune.fastest.as_ref().map(|(config, _)| config.bind(py).clone());
    add_recipe(py, &mut event, &tune, tuner, best.as_ref());
    tune.raise = finish(py, &tune, event);
    tune.recorded = true;
    if tune.in_disk_check {
        TUNES.with_borrow_mut(|tunes| tunes.push(tune));
        return Ok(());
    }
    match tune.raise {
        Some(raise) => raise_when_kept(tuner, raise),
        None => Ok(()),
    }
}

/// `Autotuner.run` keeps the result, and then calls `self.pre_hook(..., reset_only=True)`: that is where to raise.
fn raise_when_kept(tuner: &Bound<'_, PyAny>, raise: PyErr) -> PyResult<()> {
    let found = tuner.getattr("pre_hook")?;
    let (owner, original) = (tuner.clone().unbind(), found.clone().unbind());
    let thread = std::thread::current().id();
    let raise = crate::process::lock::Mutex::new(Some(raise));
    let watch = move |py: Python<'_>, call: &Call<'_, '_>| -> PyResult<Option<After>> {
        let resets = call.keyword("reset_only").is_some_and(|only| only.is_truthy().or_none().unwrap_or(false));
        if !resets || std::thread::current().id() != thread {
            return Ok(None);
        }
        owner.bind(py).setattr("pre_hook", &original)?;
        let raise = raise.lock().take();
        Ok(raise.map(|raise| -> After { Box::new(move |_py, _outcome| Ok(Some(raise))) }))
    };
    tuner.setattr("pre_hook", Wrapper::around(&found, "triton.autotune.pre_hook", watch)?)
}

/// `knobs.autotuning.listener(*, fn, key, best_config, configs_timings, duration, cache_hit)`, called in `run`.
fn hears(py: Python<'_>, call: &Call<'_, '_>) -> PyResult<Option<After>> {
    let Some(function) = call.keyword("fn") else { return Ok(None) };
    let hit = call.keyword("cache_hit").is_some_and(|hit| hit.is_truthy().or_none().unwrap_or(false));
    if hit {
        // The check of the disk has reported it.
        return Ok(None);
    }
    let innermost = TUNES.with_borrow(|tunes| tunes.last().map(|tune| tune.tuner.clone_ref(py)));
    let Some(tuner) = innermost.filter(|tuner| describe::innermost_function(tuner.bind(py)).is(&function)) else {
        return Ok(None);
    };
    let tuner = tuner.bind(py);
    let Some(tune) = take(tuner) else { return Ok(None) };
    if tune.recorded {
        return Ok(None);
    }
    let mut event = event(py, tuner, &tune, CacheResult::Miss);
    if let Some(autotune) = &mut event.autotune {
        if let Some(timings) = call.keyword("configs_timings") {
            autotune.timings = read_timings(&timings);
            autotune.benchmarked = Some(timings.len()? as u64);
        }
        if let Some(config) = call.keyword("best_config") {
            autotune.best = Some(configuration(&config));
        }
    }
    add_recipe(py, &mut event, &tune, tuner, call.keyword("best_config").as_ref());
    // Its `duration` is that of the benchmark; the request has waited for the pruning too, so ours stays.
    let raise = finish(py, &tune, event);
    Ok(raise.map(|raise| -> After { Box::new(move |_py, _outcome| Ok(Some(raise))) }))
}

/// Whether the listener will be called: the slot is ours. Where somebody has taken it since, we do without.
fn listener_is_ours(tuner: &Bound<'_, PyAny>) -> bool {
    let slot =
        package::of(tuner).loaded(tuner.py(), "knobs").and_then(|knobs| get(&get(&knobs, "autotuning")?, "listener"));
    slot.is_some_and(|slot| Wrapper::is_of(&slot, LISTENER))
}

fn event(py: Python<'_>, tuner: &Bound<'_, PyAny>, tune: &Tune, cache: CacheResult) -> CompileEvent {
    let duration = tune.pending.elapsed();
    let function = describe::innermost_function(tuner);
    let mut event = package::of(tuner).runtime.event(Kind::Autotune, describe::kernel(&function, None));
    event.duration = duration;
    event.cache = cache;
    event.cause = Some(tune.cause);
    event.changes = tune.changes.clone();
    event.manual_warmup = tune.manual;
    event.autotune = Some(Autotune {
        key: tune.key.clone(),
        declared: get(tuner, "configs").and_then(|configs| configs.len().or_none()).map(|count| count as u64),
        benchmarked: Some(tune.benchmarked as u64),
        best: best(&tune.timings),
        timings: tune.timings.clone(),
    });
    describe::add(py, &mut event, None, &function);
    event
}

/// What it takes to know the result without a benchmark.
fn add_recipe(
    py: Python<'_>,
    event: &mut CompileEvent,
    tune: &Tune,
    tuner: &Bound<'_, PyAny>,
    best: Option<&Bound<'_, PyAny>>,
) {
    if !tune.pending.is_armed() || tune.manual || !recipe::is_wanted() {
        return;
    }
    guard(py, "triton.recipe", || {
        let mut recipe = Recipe::new(
            What::Tuning,
            package::of(tuner).import_name(),
            kernel_name::kernel(&describe::innermost_function(tuner)),
        );
        recipe.runtime_version = package::of(tuner).whole_version().unwrap_or_default();
        recipe.target = recipe::current_target(py).unwrap_or_default();
        recipe.rank = recipe::rank(py).map(|(rank, _)| rank);
        let best = best.map_or(Err("a tuning without a result".to_owned()), whole_configuration);
        match tune.raw_key.clone().and_then(|key| Ok((key, best?))) {
            Ok((key, best)) => recipe.tuning = Some(Tuning { key, best, benchmarked: tune.benchmarked as u64 }),
            Err(reason) => recipe.unsupported = Some(reason),
        }
        recipe::keep(event, recipe);
        Ok(())
    });
}

/// The key under which `Autotuner.run` keeps a result: see there, it is the same in all versions but for the order of
/// the types. Up to 3.1 that is the order of the parameters.
fn raw_key(
    tuner: &Bound<'_, PyAny>,
    keywords: Option<&Bound<'_, PyDict>>,
) -> Result<Vec<serde_json::Value>, Unsupported> {
    let names: Vec<String> = get(tuner, "arg_names").and_then(|names| names.extract().or_none()).unwrap_or_default();
    let mut given: Vec<(String, Bound<'_, PyAny>)> = Vec::new();
    let positional = get(tuner, "nargs").and_then(|positional| positional.cast_into::<PyDict>().ok());
    for dictionary in positional.iter().chain(keywords) {
        for pair in dictionary.items().iter() {
            let Ok((name, value)) = pair.extract::<(String, Bound<'_, PyAny>)>() else { continue };
            match given.iter_mut().find(|(known, _)| *known == name) {
                Some(known) => known.1 = value,
                None if names.contains(&name) => given.push((name, value)),
                None => {}
            }
        }
    }
    let keys: Option<Vec<String>> = get(tuner, "keys").and_then(|keys| keys.extract().or_none());
    let mut key = Vec::new();
    match keys {
        Some(keys) => {
            for (_, value) in keys.iter().filter_map(|key| given.iter().find(|(name, _)| name == key)) {
                key.push(encode(value)?);
            }
        }
        None => {
            given.sort_by_key(|(name, _)| names.iter().position(|known| known == name));
            let indices: Vec<usize> =
                get(tuner, "key_idx").and_then(|indices| indices.extract().or_none()).unwrap_or_default();
            for (_, value) in indices.into_iter().filter_map(|index| given.get(index)) {
                key.push(encode(value)?);
            }
        }
    }
    for dtype in given.iter().filter_map(|(_, value)| value.getattr("dtype").or_none()) {
        key.push(dtype.str().map_err(said)?.to_string_lossy().into());
    }
    Ok(key)
}

/// A configuration as another process can find or make it.
pub fn whole_configuration(config: &Bound<'_, PyAny>) -> Result<Configuration, Unsupported> {
    let mut whole = Configuration { pre_hook: get(config, "pre_hook").is_some(), ..Configuration::default() };
    let constants = get(config, "kwargs").and_then(|constants| constants.cast_into::<PyDict>().ok());
    for pair in constants.iter().flat_map(|constants| constants.items()) {
        let (name, value): (String, Bound<'_, PyAny>) = pair.extract().map_err(said)?;
        whole.kwargs.insert(name, encode(&value)?);
    }
    for name in OPTIONS {
        if let Some(value) = get(config, name) {
            whole.options.insert(name.to_owned(), encode(&value)?);
        }
    }
    Ok(whole)
}

/// What a configuration has besides its constants.
const OPTIONS: [&str; 5] = ["num_warps", "num_ctas", "num_stages", "maxnreg", "ir_override"];

/// All quantiles of a benchmark, or the number alone: Triton compares them in this order.
fn quantiles(timing: &Bound<'_, PyAny>) -> Vec<f64> {
    timing.extract().or_none().unwrap_or_else(|| vec![timing.extract().or_none().unwrap_or(f64::INFINITY)])
}

fn fastest<'py>(timings: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
    let items = timings.cast::<PyDict>().ok()?.items();
    let pairs =
        items.iter().filter_map(|pair| Some((pair.get_item(0).or_none()?, quantiles(&pair.get_item(1).or_none()?))));
    let fastest = pairs.min_by(|(_, one), (_, other)| one.partial_cmp(other).unwrap_or(std::cmp::Ordering::Equal));
    fastest.map(|(config, _)| config)
}

fn finish(py: Python<'_>, tune: &Tune, event: CompileEvent) -> Option<PyErr> {
    let key = tune.key.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(", ");
    let (_, raise) = stall::finish(py, &tune.pending, event, &format!("autotune {key}"));
    raise
}

/// The tuning key: first its arguments' values, then the dtype of every argument that has one. The flag tells the two
/// apart.
fn named_values(tuner: &Bound<'_, PyAny>, keywords: Option<&Bound<'_, PyDict>>) -> Vec<(String, String, bool)> {
    let names: Vec<String> = get(tuner, "arg_names").and_then(|names| names.extract().or_none()).unwrap_or_default();
    // Up to 3.1 the key is a list of indices, and since then of names.
    let keys: Vec<String> = match get(tuner, "keys").and_then(|keys| keys.extract().or_none()) {
        Some(keys) => keys,
        None => {
            let indices = get(tuner, "key_idx").and_then(|indices| indices.extract::<Vec<usize>>().or_none());
            indices.unwrap_or_default().into_iter().filter_map(|index| names.get(index).cloned()).collect()
        }
    };
    let positional = get(tuner, "nargs").and_then(|positional| positional.cast_into::<PyDict>().ok());
    let of = |name: &str| {
        let keyword = keywords.and_then(|keywords| keywords.get_item(name).or_none().flatten());
        keyword.or_else(|| positional.as_ref()?.get_item(name).or_none().flatten())
    };
    let mut values: Vec<(String, String, bool)> =
        keys.into_iter().filter_map(|key| of(&key).map(|value| (key, describe::value(&value), true))).collect();
    let given = |keyword: bool| {
        let dictionary = if keyword { keywords } else { positional.as_ref() };
        let items = dictionary.map(PyDictMethods::items);
        items
            .map(|items| items.iter().filter_map(|pair| pair.get_item(0).or_none()).collect::<Vec<_>>())
            .unwrap_or_default()
    };
    for name in given(false).into_iter().chain(given(true)).filter_map(|name| name.extract::<String>().ok()) {
        let dtype = if names.contains(&name) { of(&name).and_then(|value| get(&value, "dtype")) } else { None };
        if let Some(dtype) = dtype {
            values.push((name, describe::dtype(&dtype), false));
        }
    }
    values
}

/// What differs from the nearest key that was tuned before.
fn changes(known: &Bound<'_, PyDict>, named: &[(String, String, bool)]) -> Vec<String> {
    let differences = |key: Bound<'_, PyTuple>| {
        let before: Vec<String> = key
            .iter()
            .zip(named)
            .map(|(value, (_, _, of_key))| if *of_key { describe::value(&value) } else { describe::dtype(&value) })
            .collect();
        let changed = named.iter().zip(before).filter(|((_, now, _), before)| now != before);
        changed
            .map(|((name, now, of_key), before)| match of_key {
                true => format!("{name}: {before} -> {now} (tuning key)"),
                false => format!("dtype of {name}: {before} -> {now}"),
            })
            .collect::<Vec<_>>()
    };
    let keys = known.keys();
    let recent =
        (0..keys.len()).rev().take(256).filter_map(|index| keys.get_item(index).or_none()?.cast_into::<PyTuple>().ok());
    recent.filter(|key| key.len() == named.len()).map(differences).min_by_key(Vec::len).unwrap_or_default()
}

fn read_timings(timings: &Bound<'_, PyAny>) -> Vec<(String, f64)> {
    let items = timings.cast::<PyDict>().map(PyDictMethods::items).unwrap_or_else(|_| PyList::empty(timings.py()));
    let pairs =
        items.iter().take(TIMINGS).filter_map(|pair| Some((pair.get_item(0).or_none()?, pair.get_item(1).or_none()?)));
    pairs.map(|(config, timing)| (configuration(&config), milliseconds(&timing))).collect()
}

/// As Triton prints it, without what is unset. Not its `str`: a value may be any object.
fn configuration(config: &Bound<'_, PyAny>) -> String {
    let mut parts = Vec::new();
    let own = get(config, "kwargs").and_then(|own| own.cast_into::<PyDict>().ok()).map(|own| own.items());
    for (name, value) in
        own.iter().flatten().filter_map(|pair| Some((pair.get_item(0).or_none()?, pair.get_item(1).or_none()?)))
    {
        parts.push(format!("{}: {}", describe::value(&name), describe::value(&value)));
    }
    for name in ["num_warps", "num_ctas", "num_stages", "maxnreg"] {
        if let Some(value) = get(config, name) {
            parts.push(format!("{name}: {}", describe::value(&value)));
        }
    }
    parts.join(", ")
}

/// The median, which comes first of three quantiles, or a number alone.
fn milliseconds(timing: &Bound<'_, PyAny>) -> f64 {
    let first = timing.get_item(0).or_none().unwrap_or_else(|| timing.clone());
    first.extract().or_none().unwrap_or(f64::NAN)
}

fn best(timings: &[(String, f64)]) -> Option<String> {
    let fastest = timings.iter().filter(|(_, time)| time.is_finite()).min_by(|one, other| one.1.total_cmp(&other.1));
    fastest.map(|(configuration, _)| configuration.clone())
}
