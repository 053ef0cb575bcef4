//! Triton's specializations as `explain` wants them, and the ones that are known: those in Triton's own caches in memory,
//! so that kernels compiled in warm-up count, and those seen since, so that a dropped cache does not look like news.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PySet, PyString, PyTuple, PyWeakrefReference};

use super::{describe, key};
use crate::model::event::{Cause, CompileEvent};
use crate::model::explain::{self, Argument, Form, Specialization};
use crate::process::lock::Mutex;
use crate::python::host::boundary::OrNone;
use crate::python::host::convert::{get, item, text};

/// What was compiled, and for whom.
pub struct Asked<'a, 'py> {
    /// The `JITFunction`.
    pub function: &'a Bound<'py, PyAny>,
    /// The `ASTSource`.
    pub source: &'a Bound<'py, PyAny>,
    /// What tells it from the function's other kernels.
    pub key: &'a str,
    /// The device whose cache is asked for others.
    pub device: Option<&'a Bound<'py, PyAny>>,
    /// The compile options.
    pub options: Option<&'a Bound<'py, PyDict>>,
    /// The result. None: it failed.
    pub kernel: Option<&'a Bound<'py, PyAny>>,
    /// When the compile began: what another thread has finished since was not known.
    pub began: Instant,
}

/// A specialization of one function.
#[derive(Clone)]
struct Known {
    key: String,
    specialization: Arc<Specialization>,
    /// None: it was in Triton's cache and we have not seen it come, so it is older than all that we have seen.
    since: Option<Instant>,
}

/// A function is its weak reference: an object has one only, and it is not given to another.
struct Function {
    weak: Py<PyWeakrefReference>,
    known: Vec<Known>,
}

static FUNCTIONS: Mutex<Vec<Function>> = Mutex::new(Vec::new());
const FUNCTIONS_KEPT: usize = 512;
const KNOWN_KEPT: usize = 512;

/// Kernels of Triton's cache that are looked at, the newest first.
const CACHED_READ: usize = 256;

/// Says why it was compiled.
///
/// # Errors
/// A function that cannot be referred to weakly.
pub fn explain(event: &mut CompileEvent, asked: &Asked<'_, '_>) -> PyResult<()> {
    let py = asked.function.py();
    let names = option_names(asked);
    let compiled = Compiled { source: asked.source, key: asked.key, kernel: asked.kernel };
    let new = read(&compiled, asked.function, asked.options, &names);
    let weak = PyWeakrefReference::new(asked.function)?;
    let mut known = recall(&weak);
    let cached = read_cached(asked, &known, &names);
    known.extend(cached.iter().cloned());
    known.retain(|known| known.since.is_none_or(|since| since <= asked.began));
    let elsewhere = asked.device.is_some_and(|device| is_on_another_device(asked.function, device, asked.key));
    let explanation = explain::explain(
        &new,
        known.iter().rev().filter(|known| known.key != asked.key).map(|known| &*known.specialization),
    );
    event.cause = Some(explanation.cause);
    if elsewhere || known.iter().any(|known| known.key == asked.key) {
        event.cause = Some(Cause::Recompile);
    } else {
        event.changes = explanation.changes;
    }
    let own = asked.kernel.is_some().then(|| Known {
        key: asked.key.to_owned(),
        specialization: Arc::new(new),
        since: Some(Instant::now()),
    });
    remember(py, weak, cached.into_iter().chain(own));
    Ok(())
}

fn recall(weak: &Bound<'_, PyWeakrefReference>) -> Vec<Known> {
    let functions = FUNCTIONS.lock();
    let function = functions.iter().find(|function| function.weak.as_ptr() == weak.as_ptr());
    function.map(|function| function.known.clone()).unwrap_or_default()
}

fn remember(py: Python<'_>, weak: Bound<'_, PyWeakrefReference>, new: impl Iterator<Item = Known>) {
    let mut functions = FUNCTIONS.lock();
    let at = functions.iter().position(|function| function.weak.as_ptr() == weak.as_ptr());
    let at = at.unwrap_or_else(|| {
        functions.push(Function { weak: weak.unbind(), known: Vec::new() });
        functions.len() - 1
    });
    if let Some(function) = functions.get_mut(at) {
        for known in new {
            function.known.retain(|other| other.key != known.key);
            function.known.push(known);
        }
        let excess = function.known.len().saturating_sub(KNOWN_KEPT);
        function.known.drain(..excess);
    }
    let excess = functions.len().saturating_sub(FUNCTIONS_KEPT);
    let forgotten: Vec<Function> = functions.drain(..excess).collect();
    drop(functions);
    // Dropping Python objects may run Python: not under our lock.
    let _ = py;
    drop(forgotten);
}

/// Triton's caches of this function in memory, by device: `device_caches` from 3.3 on, `cache` before.
pub(super) fn caches<'py>(function: &Bound<'py, PyAny>) -> Option<Bound<'py, PyDict>> {
    let caches = get(function, "device_caches").or_else(|| get(function, "cache"))?;
    caches.cast_into::<PyDict>().ok()
}

pub(super) fn kernels<'py>(cache: Bound<'py, PyAny>) -> Option<Bound<'py, PyDict>> {
    match cache.cast_into::<PyTuple>() {
        Ok(of_device) => of_device.get_item(0).or_none()?.cast_into::<PyDict>().ok(),
        Err(error) => error.into_inner().cast_into::<PyDict>().ok(),
    }
}

/// Specializations in the cache of this device that were not read yet, the oldest first.
fn read_cached(asked: &Asked<'_, '_>, known: &[Known], names: &[Bound<'_, PyString>]) -> Vec<Known> {
    // Asked with `get_item`, which does not call `__missing__`: that would make a cache.
    let cache =
        asked.device.zip(caches(asked.function)).and_then(|(device, caches)| caches.get_item(device).or_none()?);
    let Some(kernels) = cache.and_then(kernels) else { return Vec::new() };
    // A copy of the items: another thread may add to the cache.
    let items = kernels.items();
    let mut read_ones = Vec::new();
    for index in (0..items.len()).rev().take(CACHED_READ) {
        let pair = items.get_item(index).and_then(|pair| pair.extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>)>());
        let Ok((key, kernel)) = pair else { continue };
        let key = text(&key);
        if key == asked.key || known.iter().any(|known| known.key == key) {
            continue;
        }
        // Its dictionary, not its attributes: those of a kernel that is still being compiled (AsyncCompileMode) wait.
        let Some(own) = get(&kernel, "__dict__") else { continue };
        let Some(source) = item(&own, "src") else { continue };
        let compiled = Compiled { source: &source, key: &key, kernel: Some(&kernel) };
        let specialization = Arc::new(read(&compiled, asked.function, None, names));
        read_ones.push(Known { key, specialization, since: None });
    }
    read_ones.reverse();
    read_ones
}

fn is_on_another_device(function: &Bound<'_, PyAny>, device: &Bound<'_, PyAny>, key: &str) -> bool {
    let Some(caches) = caches(function) else { return false };
    let others = caches.items();
    others.iter().filter_map(|pair| pair.extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>)>().ok()).any(
        |(other, cache)| {
            !other.eq(device).or_none().unwrap_or(true)
                && kernels(cache).is_some_and(|cache| cache.contains(key).or_none().unwrap_or(false))
        },
    )
}

/// Options that can be compared: plain ones. They stand again in a finished kernel's metadata, lists among them as
/// something else.
fn option_names<'py>(asked: &Asked<'_, 'py>) -> Vec<Bound<'py, PyString>> {
    match asked.options {
        Some(options) => {
            let options = options.items();
            let pairs = options.iter().filter_map(|pair| pair.extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>)>().ok());
            pairs.filter(|(_, value)| is_plain(value)).filter_map(|(name, _)| name.cast_into().ok()).collect()
        }
        None => {
            let py = asked.function.py();
            let usual = ["num_warps", "num_ctas", "num_stages", "maxnreg", "enable_fp_fusion", "debug"];
            usual.map(|name| PyString::intern(py, name)).into()
        }
    }
}

fn is_plain(value: &Bound<'_, PyAny>) -> bool {
    value.is_none()
        || value.is_exact_instance_of::<PyBool>()
        || value.is_exact_instance_of::<PyInt>()
        || value.is_exact_instance_of::<PyFloat>()
        || value.is_exact_instance_of::<PyString>()
}

/// What a specialization is read from.
struct Compiled<'a, 'py> {
    source: &'a Bound<'py, PyAny>,
    key: &'a str,
    kernel: Option<&'a Bound<'py, PyAny>>,
}

fn read(
    compiled: &Compiled<'_, '_>,
    function: &Bound<'_, PyAny>,
    options: Option<&Bound<'_, PyDict>>,
    option_names: &[Bound<'_, PyString>],
) -> Specialization {
    // From the finished kernel if there is one: a compile may set other values than it was asked for.
    let metadata = compiled.kernel.and_then(|kernel| item(&get(kernel, "__dict__")?, "metadata"));
    let option = |name: &Bound<'_, PyString>| {
        let value = match &metadata {
            Some(metadata) => metadata.getattr(name).or_none(),
            None => options.and_then(|options| options.get_item(name).or_none().flatten()),
        }?;
        let name = text(name);
        // `debug` is None or False, by who asked: the same thing.
        let said = if name == "debug" && value.is_none() { "False".to_owned() } else { text(&value) };
        is_plain(&value).then_some((name, said))
    };
    let options = option_names.iter().filter_map(option).collect();
    Specialization { arguments: Reader::new(compiled, function).arguments(), options }
}

/// A place in the parameters: an index, and for a tuple the index inside it.
pub(super) type Path = Vec<usize>;

struct Reader<'py> {
    names: Vec<String>,
    declared: Vec<usize>,
    signature: Option<Bound<'py, PyDict>>,
    constants: HashMap<Path, Bound<'py, PyAny>>,
    hints: HashMap<Path, Vec<(String, String)>>,
    /// Parameters with a type of their own that are 1: see `key.rs`.
    ones: Vec<usize>,
}

/// How deep tuples may lie in one another.
const DEPTH: usize = 8;

pub(super) const DIVISIBILITY: &str = "tt.divisibility";

impl<'py> Reader<'py> {
    fn new(compiled: &Compiled<'_, 'py>, function: &Bound<'py, PyAny>) -> Self {
        let source = compiled.source;
        let names: Vec<String> =
            get(function, "arg_names").and_then(|names| names.extract().or_none()).unwrap_or_default();
        let declared = get(function, "constexprs").and_then(|indices| indices.extract().or_none()).unwrap_or_default();
        let dictionary = |name| get(source, name).and_then(|any| any.cast_into::<PyDict>().ok());
        let mut constants = HashMap::new();
        for (key, value) in pairs(dictionary("constants").as_ref()) {
            if let Some(path) = path(&key, &names) {
                constants.insert(path, value);
            }
        }
        let hints = get(source, "attrs").map(|attributes| hints(&attributes)).unwrap_or_default();
        let ones = key::ones(compiled.key, names.len()).unwrap_or_default();
        Reader { declared, signature: dictionary("signature"), constants, hints, ones, names }
    }

    fn arguments(&self) -> Vec<Argument> {
        let mut types: HashMap<usize, Bound<'py, PyAny>> = HashMap::new();
        for (key, value) in pairs(self.signature.as_ref()) {
            if let Some(&[index]) = path(&key, &self.names).as_deref() {
                types.insert(index, value);
            }
        }
        let mut arguments = Vec::new();
        for (index, name) in self.names.iter().enumerate() {
            self.argument(name.clone(), vec![index], types.get(&index), &mut arguments);
        }
        arguments
    }

    fn argument(&self, name: String, path: Path, of_type: Option<&Bound<'py, PyAny>>, to: &mut Vec<Argument>) {
        if let Some(members) = of_type.and_then(|of_type| of_type.cast::<PyTuple>().ok()) {
            if path.len() > DEPTH {
                return;
            }
            for (index, member) in members.iter().enumerate().take(64) {
                let inner = path.iter().copied().chain([index]).collect();
                self.argument(format!("{name}[{index}]"), inner, Some(&member), to);
            }
            return;
        }
        let constant = self.constants.get(&path);
        let declared = path.first().is_some_and(|index| self.declared.contains(index));
        let of_type = of_type.map(text).filter(|of_type| of_type != "constexpr");
        let hints = self.hints.get(&path).map(Vec::as_slice).unwrap_or_default();
        let divisible = hints.iter().any(|(name, _)| name == DIVISIBILITY);
        let form = match (constant, of_type) {
            (Some(constant), _) if constant.is_none() && !declared => Form::Absent,
            (Some(constant), _) if !declared && is_one(constant) => Form::One,
            (Some(constant), _) => Form::Constexpr(describe::value(constant)),
            (None, Some(_)) if matches!(*path, [index] if self.ones.contains(&index)) => Form::One,
            (None, Some(of_type)) => match of_type.strip_prefix("*k").or_else(|| of_type.strip_prefix('*')) {
                Some(dtype) => Form::Pointer { dtype: dtype.to_owned(), aligned: divisible },
                None => Form::Scalar { dtype: of_type, divisible },
            },
            (None, None) => return,
        };
        let told = !matches!(form, Form::Constexpr(_));
        let hints = hints.iter().filter(|(name, _)| told && name != DIVISIBILITY).cloned().collect();
        to.push(Argument { name, form, hints });
    }
}

pub(super) fn is_one(constant: &Bound<'_, PyAny>) -> bool {
    constant.is_exact_instance_of::<PyInt>() && constant.extract::<i64>().or_none().is_some_and(|value| value == 1)
}

pub(super) fn pairs<'py>(dictionary: Option<&Bound<'py, PyDict>>) -> Vec<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    let items = dictionary.map(PyDictMethods::items);
    items.iter().flatten().filter_map(|pair| pair.extract().or_none()).collect()
}

/// A parameter by its name, by its index, or from 3.3 on by its path.
pub(super) fn path(key: &Bound<'_, PyAny>, names: &[String]) -> Option<Path> {
    if let Ok(name) = key.cast::<PyString>() {
        let name = name.to_string_lossy();
        return names.iter().position(|known| *known == name).map(|index| vec![index]);
    }
    key.extract::<usize>().or_none().map(|index| vec![index]).or_else(|| key.extract::<Path>().or_none())
}

/// What the compiler was told about values, in each of its three shapes.
pub(super) fn hints(attributes: &Bound<'_, PyAny>) -> HashMap<Path, Vec<(String, String)>> {
    let mut to: HashMap<Path, Vec<(String, String)>> = HashMap::new();
    let mut add = |path: Path, name: &str, value: String| to.entry(path).or_default().push((name.to_owned(), value));
    if let Ok(by_path) = attributes.cast::<PyDict>() {
        // From 3.3 on: {(0,): [["tt.divisibility", 16]]}.
        for (key, told) in pairs(Some(by_path)) {
            let Some(path) = path(&key, &[]) else { continue };
            let told = told.cast_into::<PyList>().map(|told| told.iter().collect::<Vec<_>>()).unwrap_or_default();
            for (name, value) in
                told.iter().filter_map(|pair| Some((pair.get_item(0).or_none()?, pair.get_item(1).or_none()?)))
            {
                add(path.clone(), &text(&name), text(&value));
            }
        }
    } else if let Some(properties) = get(attributes, "arg_properties") {
        // 3.2: {"tt.divisibility": [0, 1], "tt.equal_to": []}.
        for (name, indices) in pairs(properties.cast::<PyDict>().ok()) {
            let name = text(&name);
            if name != "tt.equal_to" {
                let indices: Vec<usize> = indices.extract().or_none().unwrap_or_default();
                indices.into_iter().for_each(|index| add(vec![index], &name, "yes".to_owned()));
            }
        }
    } else if let Some(divisible) = get(attributes, "divisible_by_16") {
        // 3.0 and 3.1: a set, or a tuple.
        let indices: Vec<usize> = match divisible.cast::<PySet>() {
            Ok(set) => set.iter().filter_map(|index| index.extract().or_none()).collect(),
            Err(_) => divisible.extract().or_none().unwrap_or_default(),
        };
        indices.into_iter().for_each(|index| add(vec![index], DIVISIBILITY, "16".to_owned()));
    }
    to
}
