//! What a launch compiled, as a recipe: argument classes as Triton's own signature, constants and hints have them, and
//! from its key what stands nowhere else: options in the order they were given, and 1 for an annotated parameter.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};

use super::encode::{self, Unsupported, encode};
use super::kernel_name::{kernel, short_hash, whole_text};
use super::package;
use super::specialization::{DIVISIBILITY, Path, caches, hints, kernels, pairs, path};
use crate::manifest::line::LINE;
use crate::manifest::literal;
use crate::model::event::CompileEvent;
use crate::model::recipe::{Argument, KernelName, Recipe, What};
use crate::process;
use crate::process::lock::Mutex;
use crate::python::host::boundary::OrNone;
use crate::python::host::convert::{get, item, text};
use crate::python::host::imports;

/// What was compiled.
pub struct Compiled<'a, 'py> {
    /// The `JITFunction`.
    pub function: &'a Bound<'py, PyAny>,
    /// The `ASTSource`.
    pub source: &'a Bound<'py, PyAny>,
    /// Triton's key, whole.
    pub key: Option<String>,
    /// The `GPUTarget`.
    pub target: Option<&'a Bound<'py, PyAny>>,
    /// The device's cache, for what the warm-up had.
    pub device: Option<&'a Bound<'py, PyAny>>,
    /// Whether it was compiled to be benchmarked.
    pub tuned: bool,
}

/// Whether anybody wants recipes: a manifest, or spans.
pub fn is_wanted() -> bool {
    let config = crate::monitor().map(|monitor| monitor.config());
    config.is_some_and(|config| config.manifest.is_some() || (config.specialization && !config.disabled))
}

/// Puts it on an event; as an attribute only whole, because half of it says nothing.
pub fn keep(event: &mut CompileEvent, recipe: Recipe) {
    let config = crate::monitor().map(|monitor| monitor.config());
    if let Some(config) = config.filter(|config| config.specialization && recipe.unsupported.is_none()) {
        let room = config.limits.value_length.unwrap_or(LINE);
        let fits = |recipe: &Recipe| serde_json::to_string(recipe).ok().filter(|text| text.len() <= room);
        let text = fits(&recipe).or_else(|| fits(&Recipe { had: BTreeMap::new(), ..recipe.clone() }));
        event.specialization = text.map(Arc::from);
    }
    event.recipe = Some(Arc::new(recipe));
}

/// The recipe of a compile.
pub fn of(compiled: &Compiled<'_, '_>) -> Recipe {
    let py = compiled.function.py();
    let mut recipe =
        Recipe::new(What::Specialization, package::of(compiled.function).import_name(), kernel(compiled.function));
    recipe.runtime_version = package::of(compiled.function).whole_version().unwrap_or_default();
    recipe.target = compiled.target.and_then(target).unwrap_or_default();
    recipe.rank = rank(py).map(|(rank, _)| rank);
    recipe.tuned = compiled.tuned;
    let key = compiled.key.as_deref().unwrap_or_default();
    recipe.key = short_hash(key);
    match arguments(compiled.function, compiled.source, key) {
        Ok(arguments) => recipe.arguments = arguments,
        Err(reason) => recipe.unsupported = Some(reason),
    }
    match literal::options(key) {
        Some(options) => recipe.options = options,
        None => recipe.unsupported = Some("an option that is no plain value".to_owned()),
    }
    recipe.had = had(compiled, &recipe.kernel);
    recipe
}

/// `cuda:90:32`.
pub fn target(target: &Bound<'_, PyAny>) -> Option<String> {
    let parts = ["backend", "arch", "warp_size"].map(|name| get(target, name).map(|part| text(&part)));
    let [Some(backend), Some(arch), Some(warp)] = parts else { return None };
    Some(format!("{backend}:{arch}:{warp}"))
}

/// The device that launches go to now.
pub fn current_target(py: Python<'_>) -> Option<String> {
    let driver = get(&imports::loaded(py, "triton.runtime")?, "driver")?;
    // Up to 3.1 the name is the module, since then the object inside it.
    let active = get(&driver, "active").or_else(|| get(&get(&driver, "driver")?, "active"))?;
    target(&active.call_method0("get_current_target").or_none()?)
}

/// Rank and number of processes that serve together, as torch knows them.
pub fn rank(py: Python<'_>) -> Option<(i64, i64)> {
    let distributed = imports::loaded(py, "torch.distributed")?;
    let ask = |name: &str| distributed.call_method0(name).or_none();
    ask("is_initialized")?.is_truthy().or_none()?.then_some(())?;
    Some((ask("get_rank")?.extract().or_none()?, ask("get_world_size")?.extract().or_none()?))
}

/// The arguments of a specialization in the order of the parameters.
fn arguments(
    function: &Bound<'_, PyAny>,
    source: &Bound<'_, PyAny>,
    key: &str,
) -> Result<Vec<(String, Argument)>, Unsupported> {
    let parameters = get(function, "params").and_then(|parameters| parameters.cast_into::<PyList>().ok());
    let parameters: Vec<_> = parameters.iter().flatten().map(|parameter| Parameter::new(&parameter)).collect();
    let names: Vec<String> = parameters.iter().map(|parameter| parameter.name.clone()).collect();
    let dictionary = |name| get(source, name).and_then(|any| any.cast_into::<PyDict>().ok());
    let by_path = |any: Option<Bound<'_, PyDict>>| {
        let pairs = pairs(any.as_ref()).into_iter();
        pairs.filter_map(|(key, value)| Some((path(&key, &names)?, value.unbind()))).collect::<HashMap<_, _>>()
    };
    let reader = Reader {
        py: function.py(),
        constants: by_path(dictionary("constants")),
        hints: get(source, "attrs").map(|attributes| hints(&attributes)).unwrap_or_default(),
    };
    let types = by_path(dictionary("signature"));
    let elements = literal::elements(key).filter(|elements| elements.len() == parameters.len());
    let mut arguments = Vec::with_capacity(parameters.len());
    for (index, parameter) in parameters.iter().enumerate() {
        let of_type = types.get(&vec![index]).map(|of_type| of_type.bind(function.py()));
        let mut argument = reader.argument(&[index], of_type, parameter.declared)?;
        let element = elements.as_ref().and_then(|elements| elements.get(index));
        if let (Argument::Scalar { scalar, divisible: false, unspecialized }, Some(element), true) =
            (&mut argument, element, parameter.annotated)
        {
            // Only the key says that an annotated parameter is 1, or was given no whole number at all.
            if element.ends_with(", 1)") {
                argument = Argument::One { one: std::mem::take(scalar) };
            } else if element.ends_with(", None)")
                && !parameter.unspecialized
                && scalar.starts_with(['i', 'u'])
                && !matches!(scalar.as_str(), "i1" | "u1")
            {
                *unspecialized = true;
            }
        }
        arguments.push((parameter.name.clone(), argument));
    }
    Ok(arguments)
}

struct Parameter {
    name: String,
    declared: bool,
    annotated: bool,
    unspecialized: bool,
}

impl Parameter {
    fn new(parameter: &Bound<'_, PyAny>) -> Self {
        let flag = |name: &str| get(parameter, name).is_some_and(|flag| flag.is_truthy().or_none().unwrap_or(false));
        Parameter {
            name: get(parameter, "name").map(|name| text(&name)).unwrap_or_default(),
            declared: flag("is_constexpr"),
            annotated: flag("annotation_type"),
            unspecialized: flag("do_not_specialize"),
        }
    }
}

struct Reader<'py> {
    py: Python<'py>,
    constants: HashMap<Path, Py<PyAny>>,
    hints: HashMap<Path, Vec<(String, String)>>,
}

impl Reader<'_> {
    fn argument(
        &self,
        path: &[usize],
        of_type: Option<&Bound<'_, PyAny>>,
        declared: bool,
    ) -> Result<Argument, Unsupported> {
        if let Some(members) = of_type.and_then(|of_type| of_type.cast::<PyTuple>().ok()) {
            return self.tuple(path, members);
        }
        let of_type = of_type.map(text).filter(|of_type| of_type != "constexpr");
        if let Some(constant) = self.constants.get(path).map(|constant| constant.bind(self.py)) {
            return match constant {
                _ if declared => Ok(Argument::Constexpr { constexpr: encode(constant)? }),
                none if none.is_none() => Ok(Argument::Absent { none: true }),
                one if super::specialization::is_one(one) => Ok(Argument::One { one: of_type.unwrap_or_default() }),
                other => Ok(Argument::Constant { constant: encode(other)? }),
            };
        }
        let of_type = of_type.ok_or("a parameter without a type")?;
        let told = self.hints.get(path).map(Vec::as_slice).unwrap_or_default();
        let told = |name: &str| told.iter().any(|(known, _)| known == name);
        if let Some(element) = of_type.strip_prefix('*') {
            let (pointer, read_only) = element.strip_prefix('k').map_or((element, false), |element| (element, true));
            let (aligned, small) = (told(DIVISIBILITY), told("tt.pointer_range"));
            return Ok(Argument::Pointer { pointer: pointer.to_owned(), read_only, aligned, small });
        }
        if let Some(inside) = of_type.strip_prefix("tensordesc<").and_then(|inside| inside.strip_suffix('>')) {
            return match inside.ends_with(']') && inside.matches('[').count() == 1 {
                true => Ok(Argument::Descriptor { descriptor: inside.to_owned() }),
                false => Err("a tensor descriptor with a layout".to_owned()),
            };
        }
        Ok(Argument::Scalar { scalar: of_type, divisible: told(DIVISIBILITY), unspecialized: false })
    }

    fn tuple(&self, at: &[usize], members: &Bound<'_, PyTuple>) -> Result<Argument, Unsupported> {
        let class = members.get_type();
        let class = get(class.as_any(), "_fields").is_some().then(|| encode::path(&class)).transpose()?;
        let members = members.iter().enumerate().take(1024);
        let tuple = members
            .map(|(index, member)| self.argument(&[at, &[index]].concat(), Some(&member), false))
            .collect::<Result<_, _>>()?;
        Ok(Argument::Tuple { tuple, class })
    }
}

/// Kernels of a function that are looked at for what the warm-up had.
const READ: usize = 256;

/// Classes that are told of one parameter.
const CLASSES: usize = 16;

/// Kernels that have told what their warm-up had, in this process.
static TOLD: Mutex<(u64, BTreeSet<KernelName>)> = Mutex::new((0, BTreeSet::new()));

/// What was in memory when the first late compile of this kernel came: what the warm-up had.
fn had(compiled: &Compiled<'_, '_>, name: &KernelName) -> BTreeMap<String, Vec<String>> {
    {
        let mut told = TOLD.lock();
        if told.0 != process::generation() {
            *told = (process::generation(), BTreeSet::new());
        }
        if told.1.len() >= 4096 || !told.1.insert(name.clone()) {
            return BTreeMap::new();
        }
    }
    let mut had: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let own = compiled.key.as_deref().unwrap_or_default();
    let cache = compiled
        .device
        .zip(caches(compiled.function))
        .and_then(|(device, caches)| caches.get_item(device).or_none()?);
    let items = cache.and_then(kernels).map(|kernels| kernels.items());
    for pair in items.iter().flatten().take(READ) {
        let Ok((key, kernel)) = pair.extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>)>() else { continue };
        let Some(key) = whole_text(Some(key)).filter(|key| key != own) else { continue };
        let source = get(&kernel, "__dict__").and_then(|own| item(&own, "src"));
        let arguments = source.and_then(|source| arguments(compiled.function, &source, &key).ok());
        for (parameter, argument) in arguments.into_iter().flatten() {
            let classes = had.entry(parameter).or_default();
            let words = argument.words();
            if classes.len() < CLASSES && !classes.contains(&words) {
                classes.push(words);
            }
        }
    }
    had
}
