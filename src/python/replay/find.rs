//! Kernels of this process by module and qualified name: from the modules' own dictionaries, then, for what no module
//! names, by one walk over the garbage collector's objects. `gc.freeze()` hides objects from that walk, so it comes
//! before.

use std::collections::{BTreeSet, HashMap};

use pyo3::prelude::*;
use pyo3::types::{PyList, PyModule, PyType};
use serde_json::Value;

use super::unsupported::Unsupported;
use crate::model::recipe::{KernelName, Recipe};
use crate::python::hooks::triton::kernel_name;
use crate::python::host::boundary::OrNone;
use crate::python::host::convert::get;
use crate::python::host::imports;

/// Module and qualified name.
type Name = (String, String);

/// How deep tuners and heuristics stand around a kernel.
const AROUND: usize = 16;

/// The module of the program itself.
const PROGRAM: &str = "__main__";

/// What was found.
#[derive(Default)]
pub struct Found {
    functions: HashMap<Name, Vec<Py<PyAny>>>,
    tuners: HashMap<Name, Vec<Py<PyAny>>>,
    seen: BTreeSet<usize>,
}

/// Triton's classes.
struct Classes<'py> {
    function: Bound<'py, PyType>,
    tuner: Option<Bound<'py, PyType>>,
    /// By address: what a class is to us. A process has a million objects, of some thousand classes.
    known: HashMap<usize, Option<Kind>>,
}

#[derive(Clone, Copy)]
enum Kind {
    Function,
    Tuner,
}

impl Classes<'_> {
    fn kind(&mut self, any: &Bound<'_, PyAny>) -> Option<Kind> {
        let class = any.get_type();
        let (function, tuner) = (&self.function, &self.tuner);
        *self.known.entry(class.as_ptr() as usize).or_insert_with(|| {
            let is = |of: &Bound<'_, PyType>| class.is_subclass(of).or_none().unwrap_or(false);
            match tuner {
                _ if is(function) => Some(Kind::Function),
                Some(tuner) if is(tuner) => Some(Kind::Tuner),
                _ => None,
            }
        })
    }
}

impl Found {
    /// Looks for the kernels of these recipes. Where Triton is not imported there are none.
    pub fn new<'a>(py: Python<'_>, recipes: impl Iterator<Item = &'a Recipe>) -> Self {
        let mut found = Found::default();
        let class = |module: &str, name: &str| {
            let class = imports::loaded(py, module).and_then(|module| get(&module, name));
            class.and_then(|class| class.cast_into::<PyType>().ok())
        };
        let Some(function) = class("triton.runtime.jit", "JITFunction") else { return found };
        let tuner = class("triton.runtime.autotuner", "Autotuner");
        let mut classes = Classes { function, tuner, known: HashMap::new() };
        let mut wanted = BTreeSet::new();
        let mut tuned = BTreeSet::new();
        for recipe in recipes {
            let name = (recipe.kernel.module.clone(), recipe.kernel.name.clone());
            if recipe.tuning.is_some() {
                tuned.insert(name.clone());
            }
            wanted.insert(name);
            for value in recipe.arguments.iter().filter_map(|(_, argument)| serde_json::to_value(argument).ok()) {
                kernels_in(&value, &mut wanted);
            }
        }
        let modules: BTreeSet<&str> = wanted.iter().map(|(module, _)| module.as_str()).chain([PROGRAM]).collect();
        for module in modules {
            found.add_module(py, module, &mut classes);
        }
        let complete = wanted.iter().all(|name| found.functions.contains_key(name))
            && tuned.iter().all(|name| found.tuners.contains_key(name));
        if !complete {
            found.walk(py, &mut classes);
        }
        found
    }

    fn add_module(&mut self, py: Python<'_>, module: &str, classes: &mut Classes<'_>) {
        let module = imports::loaded(py, module).and_then(|module| module.cast_into::<PyModule>().ok());
        let Some(module) = module else { return };
        for value in module.dict().values().iter() {
            let mut at = Some(value);
            for _ in 0..AROUND {
                let Some(value) = at else { break };
                self.add(&value, classes);
                // Heuristics are neither, and have a kernel inside.
                at = if super::is_of_triton(&value) { get(&value, "fn") } else { None };
            }
        }
    }

    fn walk(&mut self, py: Python<'_>, classes: &mut Classes<'_>) {
        let objects = py.import("gc").and_then(|gc| gc.call_method0("get_objects"));
        let Some(objects) = objects.ok().and_then(|objects| objects.cast_into::<PyList>().ok()) else { return };
        for object in objects.iter() {
            self.add(&object, classes);
        }
    }

    fn add(&mut self, any: &Bound<'_, PyAny>, classes: &mut Classes<'_>) {
        let Some(kind) = classes.kind(any) else { return };
        if !self.seen.insert(any.as_ptr() as usize) {
            return;
        }
        let (function, to) = match kind {
            Kind::Function => (any.clone(), &mut self.functions),
            Kind::Tuner => (innermost(any, classes), &mut self.tuners),
        };
        let Some(python) = get(&function, "fn") else { return };
        let of = |name: &str| get(&python, name).and_then(|name| name.extract::<String>().ok());
        if let (Some(module), Some(name)) = (of("__module__"), of("__qualname__")) {
            to.entry((module, name)).or_default().push(any.clone().unbind());
        }
    }

    /// All functions, for whoever has to ask them something first.
    pub fn functions(&self) -> impl Iterator<Item = &Py<PyAny>> {
        self.functions.values().flatten()
    }

    /// Those of this kernel, and whether their source is another by now: with the same hash; else the same source; else
    /// all of that name.
    pub fn kernel<'py>(&self, py: Python<'py>, wanted: &KernelName) -> (Vec<Bound<'py, PyAny>>, bool) {
        let named = self.functions.get(&(wanted.module.clone(), wanted.name.clone()));
        let mut named: Vec<_> = named.into_iter().flatten().map(|function| function.bind(py).clone()).collect();
        if named.is_empty() {
            named = self.of_the_program(py, wanted);
        }
        let known: Vec<_> = named.iter().map(kernel_name::kernel).collect();
        let which = |same: &dyn Fn(&KernelName) -> bool| -> Vec<Bound<'py, PyAny>> {
            let pairs = named.iter().zip(&known);
            pairs.filter(|(_, known)| same(known)).map(|(function, _)| function.clone()).collect()
        };
        let same =
            which(&|known| !wanted.hash.is_empty() && known.hash == wanted.hash && known.source == wanted.source);
        if !same.is_empty() {
            return (same, false);
        }
        let own = which(&|known| known.source == wanted.source);
        if !own.is_empty() {
            return (own, false);
        }
        (named, true)
    }

    /// A program's own kernels are in `__main__`, and elsewhere under another name: of the same source they are the same.
    fn of_the_program<'py>(&self, py: Python<'py>, wanted: &KernelName) -> Vec<Bound<'py, PyAny>> {
        let named = self
            .functions
            .iter()
            .filter(|((module, name), _)| *name == wanted.name && (module == PROGRAM || wanted.module == PROGRAM));
        let functions = named.flat_map(|(_, functions)| functions).map(|function| function.bind(py).clone());
        functions.filter(|function| kernel_name::source(function) == wanted.source).collect()
    }

    /// Tuners around this kernel, of the same source.
    pub fn tuners<'py>(&self, py: Python<'py>, wanted: &KernelName) -> Vec<Bound<'py, PyAny>> {
        let named = self.tuners.get(&(wanted.module.clone(), wanted.name.clone())).into_iter().flatten();
        named.map(|tuner| tuner.bind(py).clone()).collect()
    }

    /// A kernel that is a constant of another one.
    pub fn constant<'py>(&self, py: Python<'py>, value: &Value) -> Result<Bound<'py, PyAny>, Unsupported> {
        let (module, name, source) = kernel_in(value).ok_or("a kernel without a name")?;
        let wanted = KernelName {
            module: module.to_owned(),
            name: name.to_owned(),
            source: source.to_owned(),
            ..KernelName::default()
        };
        match self.kernel(py, &wanted).0.as_slice() {
            [one] => Ok(one.clone()),
            others => Err(format!("{} kernels {module}.{name}", others.len())),
        }
    }
}

fn innermost<'py>(tuner: &Bound<'py, PyAny>, classes: &mut Classes<'_>) -> Bound<'py, PyAny> {
    let mut at = tuner.clone();
    for _ in 0..AROUND {
        if matches!(classes.kind(&at), Some(Kind::Function)) {
            break;
        }
        let Some(inner) = get(&at, "fn") else { break };
        at = inner;
    }
    at
}

fn kernel_in(value: &Value) -> Option<(&str, &str, &str)> {
    let parts = value.as_array()?;
    Some((parts.first()?.as_str()?, parts.get(1)?.as_str()?, parts.get(2)?.as_str()?))
}

/// Kernels that are constants.
fn kernels_in(value: &Value, to: &mut BTreeSet<Name>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| kernels_in(item, to)),
        Value::Object(tagged) => {
            if let Some((module, name, _)) = tagged.get("kernel").and_then(kernel_in) {
                to.insert((module.to_owned(), name.to_owned()));
            }
            tagged.values().for_each(|value| kernels_in(value, to));
        }
        _ => {}
    }
}
