//! A replay: what is to be compiled, what became of it, and how long it may take. `replay.py` does the compiling.

use std::collections::VecDeque;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};

use super::PLACE;
use super::decode::{argument, decode};
use super::find::Found;
use super::receipt::{self, Outcome, Receipt};
use super::unsupported::{Unsupported, said};
use crate::clock::{Source, System};
use crate::manifest::line::Line;
use crate::manifest::read::{self, Manifest};
use crate::model::recipe::{Recipe, Tuning, What};
use crate::process::lock::Mutex;
use crate::python::hooks::triton::autotune::whole_configuration;
use crate::python::hooks::triton::{describe, kernel_name, manual, package, recipe};
use crate::python::host::boundary::{self, OrNone};
use crate::python::host::bounded::each;
use crate::python::host::convert::{get, type_name};
use crate::python::host::imports;

/// Options that Triton's own `run` sets.
const OWN_OPTIONS: [&str; 3] = ["instrumentation_mode", "fpsan_homomorphic_casts", "sanitize_overflow"];

/// Parameters of a kernel that are looked at.
const PARAMETERS: usize = 1024;

/// One kernel to compile for one line.
struct Job {
    line: usize,
    function: Py<PyAny>,
}

#[derive(Default)]
struct State {
    lines: Vec<Line>,
    outcomes: Vec<Option<Outcome>>,
    found: Arc<Found>,
    jobs: VecDeque<Job>,
    receipt: Receipt,
    settled: usize,
    stopped: bool,
    shown: bool,
}

/// For Python, which takes it apart at once: number of its line, function, arguments, and keywords with the options.
type Launch<'py> = (usize, Py<PyAny>, Bound<'py, PyTuple>, Bound<'py, PyDict>);

/// A replay that is going on.
#[pyclass(frozen, module = "jitspan")]
pub struct Plan {
    began: Instant,
    started: u64,
    deadline: Instant,
    threads: usize,
    load: bool,
    needed: bool,
    state: Mutex<State>,
}

impl Plan {
    /// Reads a manifest. What is wrong with it stands in the receipt.
    pub fn new(py: Python<'_>, path: Option<PathBuf>, timeout: Duration, threads: Option<usize>, load: bool) -> Self {
        let began = Instant::now();
        let deadline = crate::export::deadline(timeout);
        let mut state = State::default();
        match path {
            Some(path) => match py.detach(|| read::read(&path, Some(deadline))) {
                Ok(manifest) => state.take(manifest),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    state.receipt.note(&format!("no manifest yet at {}", path.display()));
                }
                Err(error) => state.receipt.refuse(&format!("{}: {error}", path.display())),
            },
            None => state.receipt.note("no manifest: JITSPAN_MANIFEST is not set"),
        }
        let needed = !state.lines.is_empty() && imports::loaded(py, "triton.runtime.jit").is_some();
        Plan {
            began,
            started: System.now(),
            deadline,
            threads: allowed_threads(py, threads),
            load,
            needed,
            state: Mutex::new(state),
        }
    }

    /// Where nothing is done.
    pub fn off(reason: &str) -> Self {
        let mut state = State::default();
        state.receipt.note(reason);
        let now = Instant::now();
        let started = System.now();
        Plan { began: now, started, deadline: now, threads: 0, load: false, needed: false, state: Mutex::new(state) }
    }
}

/// From 3.6 on a compile lets go of the interpreter, and threads help.
fn allowed_threads(py: Python<'_>, wanted: Option<usize>) -> usize {
    if package::TRITON.version().is_none_or(|version| version < (3, 6)) {
        return 1;
    }
    let ranks = recipe::rank(py).map_or(1, |(_, all)| usize::try_from(all).unwrap_or(1).max(1));
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    // Ranks of one machine share its cores; those of others are as many again, which is not known here.
    wanted.unwrap_or_else(|| (cores / ranks.min(8)).clamp(1, 8)).min(64)
}

impl State {
    fn take(&mut self, manifest: Manifest) {
        self.receipt.malformed = manifest.malformed;
        self.receipt.dropped = manifest.dropped;
        for refused in &manifest.refused {
            self.receipt.refuse(refused);
        }
        if manifest.cut {
            self.receipt.note("the manifest was not read to its end");
        }
        let wanted: Vec<bool> = manifest.lines.iter().map(|line| read::is_wanted(line, &manifest.lines)).collect();
        let wanted = manifest.lines.into_iter().zip(wanted).filter(|(_, wanted)| *wanted);
        // What cannot be replayed by anybody (a failure, another runtime) is for the report alone.
        self.lines = wanted.map(|(line, _)| line).filter(|line| line.recipe.runtime == "triton").collect();
        self.outcomes = vec![None; self.lines.len()];
        for (line, outcome) in self.lines.iter().zip(&mut self.outcomes) {
            *outcome = line.recipe.unsupported.clone().map(Outcome::Unsupported);
        }
    }

    fn settle(&mut self, line: usize, outcome: Outcome) {
        let Some(known) = self.outcomes.get_mut(line) else { return };
        // Several kernels may be meant by a line: one that is warm is what was wanted.
        if !matches!(known, Some(Outcome::Warm(_))) {
            *known = Some(outcome);
        }
        self.settled += 1;
    }
}

#[pymethods]
impl Plan {
    /// Whether there is anything to do.
    fn is_needed(&self) -> bool {
        self.needed
    }

    /// Threads that compile.
    fn threads(&self) -> usize {
        self.threads
    }

    /// Whether kernels are loaded onto the device, too.
    fn loads(&self) -> bool {
        self.load
    }

    /// Seconds that are left.
    fn remaining(&self) -> f64 {
        self.deadline.saturating_duration_since(Instant::now()).as_secs_f64()
    }

    /// Kernels that lines may mean.
    fn candidates(&self, py: Python<'_>) -> PyResult<Vec<Py<PyAny>>> {
        boundary::native(py, PLACE, Vec::new, || Ok(self.find(py)))
    }

    /// Makes the list of what is to be compiled, and restores tunings.
    fn prepare(&self, py: Python<'_>) -> PyResult<()> {
        boundary::native(
            py,
            PLACE,
            || (),
            || {
                self.list(py);
                Ok(())
            },
        )
    }

    /// This thread compiles.
    fn enter(&self) {
        manual::enter_replay();
    }

    /// It does so no more.
    fn leave(&self) {
        manual::leave_replay();
    }

    /// The next kernel: number of its line, function, arguments, and keywords with the options. None: no more, or no time.
    fn take<'py>(&self, py: Python<'py>) -> PyResult<Option<Launch<'py>>> {
        boundary::native(py, PLACE, || None, || Ok(self.next(py)))
    }

    /// It compiled, or was there.
    fn succeeded(&self, number: usize, kernel: &Bound<'_, PyAny>) {
        let outcome = match kernel.is_none() {
            // A hook that was there before us may drop a launch.
            true => Outcome::Failed("another hook refused the launch".to_owned()),
            false => Outcome::Warm(manual::take_replayed()),
        };
        self.state.lock().settle(number, outcome);
    }

    /// It did not.
    fn failed(&self, number: usize, error: &Bound<'_, PyAny>) -> PyResult<()> {
        manual::take_replayed();
        let reason = reason(error)?;
        let mut state = self.state.lock();
        // What was stopped had no time.
        if !state.stopped {
            state.settle(number, Outcome::Failed(reason));
        }
        Ok(())
    }

    /// Nothing can be compiled at all.
    fn give_up(&self, error: &Bound<'_, PyAny>) -> PyResult<()> {
        let reason = reason(error)?;
        self.state.lock().receipt.refuse(&reason);
        Ok(())
    }

    /// No thread begins another.
    fn stop(&self) {
        self.state.lock().stopped = true;
    }

    /// How far it is, for the log; a terminal is shown it here.
    fn progress(&self) -> Option<String> {
        let mut state = self.state.lock();
        let text = format!("preload: {} of {} kernels", state.settled, state.lines.len());
        let mut terminal = std::io::stderr();
        if terminal.is_terminal() {
            state.shown = true;
            let _ = write!(terminal, "\r{text}");
            return None;
        }
        Some(text)
    }

    /// What became of all: level and text for the log, and the counts.
    fn finish<'py>(&self, py: Python<'py>) -> PyResult<(u32, String, Bound<'py, PyDict>)> {
        let (receipt, forgotten) = {
            let mut state = self.state.lock();
            state.stopped = true;
            if std::mem::take(&mut state.shown) {
                let _ = write!(std::io::stderr(), "\r\x1b[K");
            }
            let outcomes = std::mem::take(&mut state.outcomes);
            let lines = std::mem::take(&mut state.lines);
            let mut receipt = std::mem::take(&mut state.receipt);
            receipt.count(&lines, &outcomes, self.needed);
            receipt.seconds = self.began.elapsed().as_secs_f64();
            receipt.started = self.started;
            // A thread that is still compiling asks for no constant any more.
            (receipt, (std::mem::take(&mut state.found), std::mem::take(&mut state.jobs)))
        };
        drop(forgotten);
        let counts = receipt.counts(py)?;
        let (level, text) = (receipt.level(), receipt.to_string());
        receipt::keep(receipt);
        Ok((level, text, counts))
    }
}

impl Plan {
    fn find(&self, py: Python<'_>) -> Vec<Py<PyAny>> {
        let recipes: Vec<Recipe> = self.state.lock().lines.iter().map(|line| line.recipe.clone()).collect();
        // Not under our lock: that runs Python.
        let found = Found::new(py, recipes.iter());
        let candidates = found.functions().map(|function| function.clone_ref(py)).collect();
        self.state.lock().found = Arc::new(found);
        candidates
    }

    /// Makes the list of what is to be compiled, and restores tunings.
    fn list(&self, py: Python<'_>) {
        let (lines, found) = {
            let state = self.state.lock();
            (state.lines.clone(), Arc::clone(&state.found))
        };
        let target = recipe::current_target(py).unwrap_or_default();
        let version = package::TRITON.whole_version().unwrap_or_default();
        let mut jobs = VecDeque::new();
        let mut settled = Vec::new();
        let mut changed = 0;
        for (number, line) in lines.iter().enumerate() {
            let recipe = &line.recipe;
            if recipe.unsupported.is_some() {
                continue;
            }
            if let (What::Tuning, Some(tuning)) = (recipe.kind, &recipe.tuning) {
                if recipe.target == target && recipe.runtime_version == version {
                    settled.push((number, restore(py, recipe, tuning, &found)));
                } else {
                    settled.push((number, Outcome::Unsupported("a tuning of another device or version".to_owned())));
                }
                continue;
            }
            let (functions, is_changed) = found.kernel(py, &recipe.kernel);
            let fitting: Vec<_> = functions.into_iter().filter(|function| fits(function, recipe)).collect();
            if fitting.is_empty() {
                settled.push((number, Outcome::Gone));
            }
            changed += usize::from(is_changed && !fitting.is_empty());
            jobs.extend(fitting.into_iter().map(|function| Job { line: number, function: function.unbind() }));
        }
        // Ranks that share a cache on disk begin at different places: each compiles its part first, and finds the others'.
        if let Some((rank, all)) = recipe::rank(py).filter(|(rank, all)| (0..*all).contains(rank)) {
            jobs.rotate_left(jobs.len() * rank as usize / (all as usize).max(1));
        }
        let mut state = self.state.lock();
        state.jobs = jobs;
        state.receipt.changed = changed;
        for (number, outcome) in settled {
            state.settle(number, outcome);
        }
    }

    fn next<'py>(&self, py: Python<'py>) -> Option<Launch<'py>> {
        loop {
            let (job, recipe) = {
                let mut state = self.state.lock();
                if state.stopped || Instant::now() >= self.deadline {
                    return None;
                }
                let job = state.jobs.pop_front()?;
                let recipe = state.lines.get(job.line)?.recipe.clone();
                (job, recipe)
            };
            manual::take_replayed();
            match self.call(py, job.function.bind(py), &recipe) {
                Ok((arguments, keywords)) => return Some((job.line, job.function, arguments, keywords)),
                Err(reason) => self.state.lock().settle(job.line, Outcome::Unsupported(reason)),
            }
        }
    }

    /// A launch's arguments.
    fn call<'py>(
        &self,
        py: Python<'py>,
        function: &Bound<'py, PyAny>,
        recipe: &Recipe,
    ) -> Result<(Bound<'py, PyTuple>, Bound<'py, PyDict>), Unsupported> {
        let found = Arc::clone(&self.state.lock().found);
        let starred = starred(function);
        let keywords = PyDict::new(py);
        let mut positional: Vec<Bound<'py, PyAny>> = Vec::new();
        for (name, described) in &recipe.arguments {
            let value = argument(py, described, &found)?;
            if starred.as_deref() == Some(name) {
                // What stands before a `*args` must be given by position, too.
                positional = keywords.values().iter().collect();
                keywords.clear();
                positional.extend(value.cast::<PyTuple>().map_err(|_| "*args that are no tuple".to_owned())?.iter());
            } else {
                keywords.set_item(name, value).map_err(said)?;
            }
        }
        for (name, value) in &recipe.options {
            if OWN_OPTIONS.contains(&name.as_str()) {
                continue;
            }
            if matches!(name.as_str(), "grid" | "warmup") || keywords.contains(name).or_none().unwrap_or(true) {
                return Err(format!("an option {name}"));
            }
            keywords.set_item(name, decode(py, value, &found)?).map_err(said)?;
        }
        if keywords.contains("grid").or_none().unwrap_or(true) || keywords.contains("warmup").or_none().unwrap_or(true)
        {
            return Err("a parameter that a launch has too".to_owned());
        }
        Ok((PyTuple::new(py, positional).map_err(said)?, keywords))
    }
}

/// The `*args` of a kernel (3.9 on).
fn starred(function: &Bound<'_, PyAny>) -> Option<String> {
    const VAR_POSITIONAL: i64 = 2;
    let parameters = get(&get(function, "signature")?, "parameters")?.call_method0("values").or_none()?;
    for parameter in each(&parameters, PARAMETERS) {
        if get(&parameter, "kind").and_then(|kind| kind.extract::<i64>().or_none()) == Some(VAR_POSITIONAL) {
            return get(&parameter, "name")?.extract().or_none();
        }
    }
    None
}

/// Whether a kernel has these parameters.
fn fits(function: &Bound<'_, PyAny>, recipe: &Recipe) -> bool {
    let names = get(function, "arg_names").and_then(|names| names.cast_into::<PyList>().ok());
    let names: Vec<String> = names.iter().flatten().filter_map(|name| name.extract().or_none()).collect();
    names.len() == recipe.arguments.len() && names.iter().zip(&recipe.arguments).all(|(name, (known, _))| name == known)
}

/// Puts a tuning's result where its tuner looks.
fn restore(py: Python<'_>, recipe: &Recipe, tuning: &Tuning, found: &Found) -> Outcome {
    match put(py, recipe, tuning, found) {
        Ok(true) => Outcome::Warm(None),
        Ok(false) => Outcome::Gone,
        Err(reason) => Outcome::Unsupported(reason),
    }
}

fn put(py: Python<'_>, recipe: &Recipe, tuning: &Tuning, found: &Found) -> Result<bool, Unsupported> {
    let key: Vec<_> = tuning.key.iter().map(|value| decode(py, value, found)).collect::<Result<_, _>>()?;
    let key = PyTuple::new(py, key).map_err(said)?;
    let mut done = false;
    for tuner in found.tuners(py, &recipe.kernel) {
        // Only of the same source: another one may have another best.
        if kernel_name::source(&describe::innermost_function(&tuner)) != recipe.kernel.source {
            continue;
        }
        let cache = get(&tuner, "cache").and_then(|cache| cache.cast_into::<PyDict>().ok());
        let Some(cache) = cache else { continue };
        if cache.contains(&key).map_err(said)? {
            done = true;
            continue;
        }
        let declared = get(&tuner, "configs").and_then(|configs| configs.cast_into::<PyList>().ok());
        let declared = declared
            .iter()
            .flatten()
            .find(|config| whole_configuration(config).is_ok_and(|configuration| configuration == tuning.best));
        let config = match declared {
            Some(config) => config,
            // One that the tuner's pruning makes, which is not known before it is asked.
            None if get(&tuner, "early_config_prune").is_some() && !tuning.best.pre_hook => made(py, tuning, found)?,
            None => return Err("a configuration that its tuner no longer has".to_owned()),
        };
        cache.set_item(&key, config).map_err(said)?;
        done = true;
    }
    Ok(done)
}

fn made<'py>(py: Python<'py>, tuning: &Tuning, found: &Found) -> Result<Bound<'py, PyAny>, Unsupported> {
    let module = imports::loaded(py, "triton.runtime.autotuner").ok_or("no tuner")?;
    let constants = PyDict::new(py);
    for (name, value) in &tuning.best.kwargs {
        constants.set_item(name, decode(py, value, found)?).map_err(said)?;
    }
    let options = PyDict::new(py);
    for (name, value) in &tuning.best.options {
        options.set_item(name, decode(py, value, found)?).map_err(said)?;
    }
    module.getattr("Config").and_then(|class| class.call((constants,), Some(&options))).map_err(said)
}

/// An exception in one line.
fn reason(error: &Bound<'_, PyAny>) -> PyResult<String> {
    boundary::native(error.py(), PLACE, String::new, || {
        let name = type_name(error);
        let text = error.str().or_none().map(|text| text.to_string_lossy().into_owned()).unwrap_or_default();
        let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default().to_owned();
        Ok(crate::model::attribute::bounded(&format!("{name}: {line}"), 300).into_owned())
    })
}
