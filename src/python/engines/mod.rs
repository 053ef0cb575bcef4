//! The inference servers that we plug into. Each is a table of points: where we stand, and what is lost when a release
//! has no such place. Nothing here asks for a version.

pub mod sglang;
pub mod vllm;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::config;
use crate::process::lock::Mutex;
use pyo3::prelude::*;

use crate::python::arming;
use crate::python::host::convert;
use crate::python::host::guard;
use crate::python::host::report;
use crate::python::patch::intercept::{After, Call, Standings};
use crate::python::patch::late;

/// One engine.
pub struct Engine {
    /// Its name, and the first word of its faults.
    pub name: &'static str,
    /// The oldest and the newest release whose source our tests read, for the places that we stand at.
    pub tested: (&'static str, &'static str),
    /// The release that our tests run.
    pub ran: &'static str,
    /// The points it needs.
    pub points: &'static [Point],
    /// What stands.
    standings: Standings,
}

impl Engine {
    const fn new(
        name: &'static str,
        tested: (&'static str, &'static str),
        ran: &'static str,
        points: &'static [Point],
    ) -> Self {
        Engine { name, tested, ran, points, standings: Standings::new() }
    }
}

/// All of them.
pub static ENGINES: [&Engine; 2] = [&vllm::ENGINE, &sglang::ENGINE];

/// What runs at a point: as [`crate::python::patch::intercept::Watch`], and nothing is captured.
pub type Watch = fn(Python<'_>, &Call<'_, '_>) -> PyResult<Option<After>>;

/// Something that we do at a place in an engine.
pub struct Point {
    /// Its name; the first part is the engine's.
    pub name: &'static str,
    /// What is missing without it, for `status()`.
    pub without: &'static str,
    /// Module, and the path of a callable in it; `*` is each class that the module defines. Releases differ: all that
    /// are there are taken.
    pub places: &'static [(&'static str, &'static str)],
    /// How we get there.
    pub reached: Reached,
    /// What we do there.
    watch: Watch,
    /// A variable of its module. Where that is missing the release does not need the point.
    needed_with: Option<&'static str>,
    state: Mutex<State>,
}

/// How we get to a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached {
    /// By the import of its module.
    Import,
    /// Through an object that another point gives, so also in classes that nobody knew of; `places` are the known ones.
    Object,
}

/// What became of a point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Its module, or its object, has not been seen in this process.
    Waiting,
    /// We stand there.
    Stands(String),
    /// It is not where it was in the releases that we know.
    Missing(String),
}

impl Point {
    const fn new(
        name: &'static str,
        without: &'static str,
        places: &'static [(&'static str, &'static str)],
        reached: Reached,
        watch: Watch,
    ) -> Self {
        Point { name, without, places, reached, watch, needed_with: None, state: Mutex::new(State::Waiting) }
    }

    const fn only_where_there_is(mut self, variable: &'static str) -> Self {
        self.needed_with = Some(variable);
        self
    }

    /// Whether a release whose packages lie in `root` has none of its modules. What is reached through an object may
    /// stand elsewhere.
    pub fn has_no_module(&self, root: &Path) -> bool {
        let is_there = |module: &str| {
            let path = root.join(module.replace('.', "/"));
            path.with_extension("py").is_file() || path.join("__init__.py").is_file()
        };
        let needed = self.reached == Reached::Import && self.needed_with.is_none();
        needed && !self.places.iter().any(|(module, _)| is_there(module))
    }

    /// What became of it in this process.
    pub fn state(&self) -> State {
        self.state.lock().clone()
    }

    fn set(&self, py: Python<'_>, state: State) {
        if let State::Missing(place) = &state {
            let text = format!("{}: {place} is not there in this release; without it {}", self.name, self.without);
            report::log(py, "warning", &text);
        }
        *self.state.lock() = state;
    }

    /// Stands at one of its places, now that the module is there.
    fn stand(&self, standings: &'static Standings, module: &Bound<'_, PyAny>, path: &str) -> PyResult<()> {
        let py = module.py();
        if self.needed_with.is_some_and(|variable| !module.hasattr(variable).unwrap_or(true)) {
            return Ok(());
        }
        let place = format!("{}.{path}", convert::get_text(module, "__name__").unwrap_or_default());
        let (owners, name) = match path.rsplit_once('.') {
            Some(("*", name)) => (own_classes(module, name)?, name),
            Some((owner, name)) => (convert::get(module, owner).into_iter().collect(), name),
            None => (vec![module.clone()], path),
        };
        let mut stands = false;
        for owner in owners {
            stands |= standings.wrap(&owner, name, self.name, self.watch)?;
        }
        if stands {
            self.set(py, State::Stands(place));
        } else if !matches!(self.state(), State::Stands(_)) {
            self.set(py, State::Missing(place));
        }
        Ok(())
    }

    /// Stands in front of the method of an object's class, once for each class.
    fn stand_on_class(&self, standings: &'static Standings, object: &Bound<'_, PyAny>, name: &str) -> PyResult<()> {
        let (py, class) = (object.py(), object.get_type());
        let stands = standings.wrap_weakly(class.as_any(), name, self.name, self.watch)?;
        let place = format!("{}.{}.{name}", class.module()?, class.qualname()?);
        self.set(py, if stands { State::Stands(place) } else { State::Missing(place) });
        Ok(())
    }
}

impl Engine {
    /// Stands at all points whose modules are there, and at the others when they come.
    fn stand(&'static self, py: Python<'_>) {
        for point in self.points.iter().filter(|point| point.reached == Reached::Import) {
            for (module, path) in point.places {
                late::when_imported(py, module, Arc::new(move |module| point.stand(&self.standings, module, path)));
            }
        }
    }

    /// The point of this name; the tables are short.
    fn point(&self, name: &str) -> Option<&'static Point> {
        self.points.iter().find(|point| point.name == name)
    }
}

/// The classes that `module` itself defines with a `name` of their own.
fn own_classes<'py>(module: &Bound<'py, PyAny>, name: &str) -> PyResult<Vec<Bound<'py, PyAny>>> {
    let members = module.getattr("__dict__")?.cast_into::<pyo3::types::PyDict>()?;
    let classes = members.values().iter().filter(|member| {
        member.is_instance_of::<pyo3::types::PyType>()
            && convert::get_text(member, "__module__") == convert::get_text(module, "__name__")
            && member.getattr("__dict__").is_ok_and(|own| own.contains(name).unwrap_or(false))
    });
    Ok(classes.collect())
}

/// The environment, as an engine means it: vLLM has flags for what are variables elsewhere.
pub fn variable(name: &str) -> Option<String> {
    vllm::variable(name).or_else(|| config::variable(name))
}

/// Prepares for an engine. False: we are switched off, or set up wrongly, which is said once and never stops a server.
fn switched_on(py: Python<'_>, engine: &str) -> bool {
    let prepared = guard::guard(py, engine, || {
        Ok(arming::prepare(py).unwrap_or_else(|error| {
            report::log(py, "error", &format!("jitspan stays switched off: {error}"));
            false
        }))
    });
    prepared.unwrap_or(false)
}

/// In error mode, before what is raised reaches the engine: the other ranks compile the same kernel, and may be at it
/// still. vLLM kills them as soon as one has failed, and their spans with them.
pub fn wait_for_other_ranks(py: Python<'_>) {
    static ONCE: AtomicBool = AtomicBool::new(false);
    let Some(monitor) = crate::monitor() else { return };
    if vllm::has_other_ranks() && !ONCE.swap(true, Ordering::Relaxed) {
        py.detach(|| std::thread::sleep(monitor.config().flush_timeout));
    }
}

/// Entry point of the group `vllm.general_plugins`.
#[pyfunction]
pub fn _vllm_plugin(py: Python<'_>) {
    vllm::register(py);
}

/// Entry point of the group `sglang.srt.plugins`.
#[pyfunction]
pub fn _sglang_plugin(py: Python<'_>) {
    sglang::register(py);
}

/// For the contract test, and for `status()`: engine, point, how it is reached, its places, what became of it, where
/// or why, and what is lost without it.
#[pyfunction]
pub fn _engine_points(py: Python<'_>) -> PyResult<Bound<'_, pyo3::types::PyList>> {
    let rows = pyo3::types::PyList::empty(py);
    for engine in ENGINES {
        for point in engine.points {
            let row = pyo3::types::PyDict::new(py);
            row.set_item("engine", engine.name)?;
            row.set_item("point", point.name)?;
            row.set_item("reached", if point.reached == Reached::Import { "import" } else { "object" })?;
            row.set_item("places", point.places.to_vec())?;
            row.set_item("without", point.without)?;
            let (state, place) = match point.state() {
                State::Waiting => ("waiting", None),
                State::Stands(place) => ("stands", Some(place)),
                State::Missing(place) => ("missing", Some(place)),
            };
            row.set_item("state", state)?;
            row.set_item("place", place)?;
            rows.append(row)?;
        }
    }
    Ok(rows)
}
