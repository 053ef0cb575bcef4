//! An engine, and its points: a place in the server, what we do there, and what is lost where a release has no such place.

use std::path::Path;
use std::sync::Arc;

use pyo3::prelude::*;

use crate::config;
use crate::process::lock::Mutex;
use crate::python::host::boundary::OrNone;
use crate::python::host::convert;
use crate::python::host::convert::get_text;
use crate::python::host::imports;
use crate::python::host::report;
use crate::python::patch::late;
use crate::python::patch::{After, Call, Patches};

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
    /// What an operator should know of this server, if there is anything.
    pub note: fn() -> Option<String>,
    /// What stands.
    pub patches: Patches,
}

impl Engine {
    /// Stands nowhere yet.
    pub const fn new(
        name: &'static str,
        tested: (&'static str, &'static str),
        ran: &'static str,
        points: &'static [Point],
        note: fn() -> Option<String>,
    ) -> Self {
        Engine { name, tested, ran, points, note, patches: Patches::new() }
    }
}

/// What runs at a point: as `patch::Watch`, and nothing is captured.
pub type Watch = fn(Python<'_>, &Call<'_, '_>) -> PyResult<Option<After>>;

/// How we know of what happens at a place.
pub enum Watched {
    /// We stand in front of it.
    Wrapped(Watch),
    /// It is found running, by its frame, which has one of these variables.
    Frame(&'static [&'static str]),
    /// Something is added to the module. False: that is not possible in this release.
    Added(fn(&Bound<'_, PyAny>) -> PyResult<bool>),
}

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
    pub watched: Watched,
    /// A variable of its module. Where that is missing the release does not need the point.
    needed_with: Option<&'static str>,
    state: Mutex<State>,
    /// Modules of its places that have been imported, and have no such place.
    without_it: Mutex<Vec<&'static str>>,
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
    /// Nobody stands there yet.
    pub const fn new(
        name: &'static str,
        without: &'static str,
        places: &'static [(&'static str, &'static str)],
        reached: Reached,
        watched: Watched,
    ) -> Self {
        Point {
            name,
            without,
            places,
            reached,
            watched,
            needed_with: None,
            state: Mutex::new(State::Waiting),
            without_it: Mutex::new(Vec::new()),
        }
    }

    /// Only releases that have this variable need it.
    pub const fn only_where_there_is(mut self, variable: &'static str) -> Self {
        self.needed_with = Some(variable);
        self
    }

    /// Whether a release whose packages lie in `root` has none of its modules. What is reached through an object may
    /// stand elsewhere.
    pub fn has_no_module(&self, root: &Path) -> bool {
        let needed = self.reached == Reached::Import && self.needed_with.is_none();
        needed && !self.places.iter().any(|(module, _)| is_there(root, module))
    }

    /// Whether no place is left where it could be: each of its modules has been imported, or is not in this release.
    /// The one that is imported first may well be another release's.
    fn is_nowhere(&self, py: Python<'_>) -> bool {
        let package = self.places.first().and_then(|(module, _)| module.split('.').next()).unwrap_or_default();
        let package = imports::loaded(py, package).and_then(|package| get_text(&package, "__file__"));
        let root = package.and_then(|file| Some(Path::new(&file).parent()?.parent()?.to_path_buf()));
        let may_come = |module: &str| root.as_ref().is_none_or(|root| is_there(root, module));
        let seen = self.without_it.lock();
        self.places.iter().all(|(module, _)| seen.contains(module) || !may_come(module))
    }

    /// What became of it in this process.
    pub fn state(&self) -> State {
        self.state.lock().clone()
    }

    /// Sets that, and says so in the log where something is missing.
    pub fn set(&self, py: Python<'_>, state: State) {
        if let State::Missing(place) = &state {
            let text = format!("{}: {place} is not there in this release; without it {}", self.name, self.without);
            report::log(py, "warning", &text);
        }
        *self.state.lock() = state;
    }

    /// Stands at one of its places, now that the module is there.
    fn stand(
        &self,
        patches: &'static Patches,
        module: &Bound<'_, PyAny>,
        (from, path): (&'static str, &str),
    ) -> PyResult<()> {
        let py = module.py();
        if self.needed_with.is_some_and(|variable| !module.hasattr(variable).or_none().unwrap_or(true)) {
            return Ok(());
        }
        let place = format!("{from}.{path}");
        let watch = match &self.watched {
            Watched::Wrapped(watch) => *watch,
            Watched::Frame(_) => return Ok(()),
            Watched::Added(add) => {
                let state = if add(module)? { State::Stands(place) } else { State::Missing(place) };
                self.set(py, state);
                return Ok(());
            }
        };
        let (owners, name) = match path.rsplit_once('.') {
            Some(("*", name)) => (own_classes(module, name)?, name),
            Some((owner, name)) => (convert::get(module, owner).into_iter().collect(), name),
            None => (vec![module.clone()], path),
        };
        let mut stands = false;
        for owner in owners {
            stands |= patches.wrap(&owner, name, self.name, watch)?;
        }
        if stands {
            self.set(py, State::Stands(place));
        } else {
            self.without_it.lock().push(from);
            if self.state() == State::Waiting && self.is_nowhere(py) {
                self.set(py, State::Missing(place));
            }
        }
        Ok(())
    }

    /// Stands in front of the method of an object's class, once for each class.
    pub fn stand_on_class(&self, patches: &'static Patches, object: &Bound<'_, PyAny>, name: &str) -> PyResult<()> {
        let (py, class) = (object.py(), object.get_type());
        let Watched::Wrapped(watch) = self.watched else { return Ok(()) };
        let stands = patches.wrap_weakly(class.as_any(), name, self.name, watch)?;
        let place = format!("{}.{}.{name}", class.module()?, class.qualname()?);
        self.set(py, if stands { State::Stands(place) } else { State::Missing(place) });
        Ok(())
    }

    /// Says whether the frames of an object's method are of the kind that is looked for.
    pub fn look_at_class(&self, object: &Bound<'_, PyAny>) -> PyResult<()> {
        let (py, class) = (object.py(), object.get_type());
        let Watched::Frame(variables) = self.watched else { return Ok(()) };
        let name = self.name.rsplit('.').next().unwrap_or_default();
        let place = format!("{}.{}.{name}", class.module()?, class.qualname()?);
        let mut function = convert::get(class.as_any(), name);
        // A decorator's function, and what it stands in front of.
        for _ in 0..16 {
            let inner = function.as_ref().and_then(|function| convert::get(function, "__wrapped__"));
            function = inner.or(function);
        }
        let code = function.and_then(|function| convert::get(&function, "__code__"));
        let known: Vec<String> =
            code.and_then(|code| code.getattr("co_varnames").or_none()?.extract().or_none()).unwrap_or_default();
        let is_known = variables.iter().any(|variable| known.iter().any(|known| known == variable));
        self.set(py, if is_known { State::Stands(place) } else { State::Missing(place) });
        Ok(())
    }
}

impl Engine {
    /// Stands at all points whose modules are there, and at the others when they come.
    pub fn stand(&'static self, py: Python<'_>) {
        for point in self.points.iter().filter(|point| point.reached == Reached::Import) {
            for (name, path) in point.places {
                late::when_imported(
                    py,
                    name,
                    Arc::new(move |module| point.stand(&self.patches, module, (*name, *path))),
                );
            }
        }
    }

    /// Why it is imported and has not called us, as far as that is known.
    pub fn why_not_called(&self) -> Option<String> {
        let (variable, said) = config::environment::plugins_without_us(self.name)?;
        Some(format!("{variable}={said} leaves jitspan out"))
    }

    /// The point of this name; the tables are short.
    pub fn point(&self, name: &str) -> Option<&'static Point> {
        self.points.iter().find(|point| point.name == name)
    }
}

/// Whether a release whose packages lie in `root` has this module.
fn is_there(root: &Path, module: &str) -> bool {
    let path = root.join(module.replace('.', "/"));
    path.with_extension("py").is_file() || path.join("__init__.py").is_file()
}

/// The classes that `module` itself defines with a `name` of their own.
fn own_classes<'py>(module: &Bound<'py, PyAny>, name: &str) -> PyResult<Vec<Bound<'py, PyAny>>> {
    let members = module.getattr("__dict__")?.cast_into::<pyo3::types::PyDict>()?;
    let classes = members.values().iter().filter(|member| {
        member.is_instance_of::<pyo3::types::PyType>()
            && convert::get_text(member, "__module__") == convert::get_text(module, "__name__")
            && member.getattr("__dict__").or_none().is_some_and(|own| own.contains(name).or_none().unwrap_or(false))
    });
    Ok(classes.collect())
}
