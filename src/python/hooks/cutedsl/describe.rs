//! CuTeDSL's objects in words. Every attribute is optional: what is missing, or raises, is left out.

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple, PyType};

use super::RUNTIME;
use crate::model::attribute::bounded;
use crate::model::event::{CacheResult, CompileEvent, Detail, Kernel, Kind};
use crate::process::lock::Mutex;
use crate::python::hooks::known::Specialization;
use crate::python::host::boundary::OrNone;
use crate::python::host::bounded::each;
use crate::python::host::convert::{get, get_text, text as plain_text, type_name};
use crate::python::host::here;
use crate::python::host::imports;
use crate::python::patch::Call;

/// A kernel without a name.
pub const UNKNOWN: &str = "<unknown>";

/// Characters of one argument.
const ARGUMENT: usize = 200;
/// Attributes of a callable instance that are shown.
const ATTRIBUTES: usize = 16;

/// Parameters of a function, and sizes of a tensor, that are looked at.
const NAMES: usize = 1024;
const SIZES: usize = 64;
const SIZES_DEPTH: usize = 4;

/// Parameters of `generate_mlir`, whose order differs: 4.2 to 4.4 have `kwargs` before `function_name`.
static PARAMETERS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Reads the order of `generate_mlir`'s parameters.
pub fn learn(dsl: &Bound<'_, PyAny>) -> PyResult<()> {
    let unwrap = dsl.py().import("inspect")?.getattr("unwrap")?;
    let code = unwrap.call1((dsl.getattr("generate_mlir")?,))?.getattr("__code__")?;
    *PARAMETERS.lock() = code.getattr("co_varnames")?.extract()?;
    Ok(())
}

/// What is traced.
pub struct Subject {
    function: Option<Py<PyAny>>,
    args: Option<Py<PyAny>>,
    kwargs: Option<Py<PyAny>>,
    signature: Option<Py<PyAny>>,
    mangled: Option<Py<PyAny>>,
    /// The DSL puts others in their place when it cleans up.
    options: Option<Py<PyAny>>,
}

impl Subject {
    /// Another reference to the same.
    pub fn clone_ref(&self, py: Python<'_>) -> Self {
        let clone = |any: &Option<Py<PyAny>>| any.as_ref().map(|any| any.clone_ref(py));
        Subject {
            function: clone(&self.function),
            args: clone(&self.args),
            kwargs: clone(&self.kwargs),
            signature: clone(&self.signature),
            mangled: clone(&self.mangled),
            options: clone(&self.options),
        }
    }
}

/// From a call of `generate_mlir`.
pub fn of_generate(call: &Call<'_, '_>) -> Subject {
    let parameters = PARAMETERS.lock().clone();
    let named = |name: &str| {
        let at = parameters.iter().position(|parameter| parameter == name)?;
        call.keyword(name).or_else(|| call.arg(at)).map(Bound::unbind)
    };
    Subject {
        function: call.keyword("funcBody").or_else(|| call.arg(1)).map(function),
        args: named("args"),
        kwargs: named("kwonlyargs").or_else(|| named("kwargs")),
        signature: named("sig").or_else(|| named("args_spec")),
        mangled: named("function_name"),
        options: options_of(call),
    }
}

/// From a call of `_device_func(self, function, *args, **kwargs)`.
pub fn of_device(call: &Call<'_, '_>) -> Subject {
    let args = call.args.get_slice(2, call.args.len());
    Subject {
        function: call.arg(1).map(function),
        args: Some(args.into_any().unbind()),
        kwargs: None,
        signature: None,
        mangled: None,
        options: options_of(call),
    }
}

/// From a method of the DSL: it keeps the function that it was last given.
pub fn of_dsl(call: &Call<'_, '_>) -> Subject {
    let dsl = call.arg(0);
    let last = dsl.as_ref().and_then(|dsl| get(dsl, "funcBody")).map(function);
    Subject { function: last, args: None, kwargs: None, signature: None, mangled: None, options: options_of(call) }
}

fn options_of(call: &Call<'_, '_>) -> Option<Py<PyAny>> {
    get(&call.arg(0)?, "compile_options").map(Bound::unbind)
}

/// 4.2 hands over a `DSLCallable`, which forgets its function when it is called.
fn function(body: Bound<'_, PyAny>) -> Py<PyAny> {
    if body.hasattr("__code__").or_none().unwrap_or(false) {
        return body.unbind();
    }
    get(&body, "func").unwrap_or(body).unbind()
}

/// The event as far as it is known before the compile, and what it is compiled for.
pub fn event(py: Python<'_>, subject: &Subject) -> (CompileEvent, Specialization) {
    let arguments = arguments(py, subject);
    let mut event = RUNTIME.event(Kind::Compile, kernel(py, subject));
    event.cache = CacheResult::Miss;
    event.options = subject.options.as_ref().map(|all| options(all.bind(py))).unwrap_or_default();
    add_process(py, &mut event);
    if crate::monitor().is_some_and(|monitor| monitor.config().verbose) {
        event.detail = Some(Box::new(Detail {
            signature: Some(join(arguments.iter().map(|argument| (&argument.name, &argument.text)))),
            constexprs: Some(join(
                arguments.iter().filter(|argument| argument.value).map(|argument| (&argument.name, &argument.text)),
            )),
            key: subject.mangled.as_ref().map(|name| plain_text(name.bind(py))),
            stack: here::stack(py),
        }));
    }
    let arguments = arguments.into_iter().map(|argument| (argument.name, argument.text));
    let specialization = arguments.chain(event.options.iter().cloned()).collect();
    (event, specialization)
}

/// Adds what holds for all events of this process and thread.
pub fn add_process(py: Python<'_>, event: &mut CompileEvent) {
    event.runtime_version = VERSION.lock().clone();
    event.thread = here::thread(py);
}

static VERSION: Mutex<Option<String>> = Mutex::new(None);

/// Keeps `cutlass.__version__`, from 4.4 on; before, the version of the installed package.
pub fn remember_version(py: Python<'_>) {
    let version = imports::loaded(py, "cutlass").and_then(|cutlass| get_text(&cutlass, "__version__")).or_else(|| {
        let metadata = py.import("importlib.metadata").or_none()?;
        metadata.call_method1("version", ("nvidia-cutlass-dsl",)).or_none()?.extract().or_none()
    });
    *VERSION.lock() = version;
}

/// The name that vLLM's monitor gives: the function's, or the class's of a callable instance.
fn kernel(py: Python<'_>, subject: &Subject) -> Kernel {
    let Some(function) = subject.function.as_ref().map(|function| function.bind(py)) else {
        return Kernel::named(UNKNOWN);
    };
    let name = get_text(function, "__name__");
    let instance = || {
        let first = subject.args.as_ref()?.bind(py).cast::<PyTuple>().ok()?.get_item(0).or_none()?;
        get_text(&first, "__name__").or_else(|| Some(type_name(&first)))
    };
    let name = if name.as_deref() == Some("__call__") { instance().or(name) } else { name };
    let code = get(function, "__code__");
    Kernel {
        name: name.unwrap_or_else(|| UNKNOWN.to_owned()),
        module: get_text(function, "__module__"),
        file: code.as_ref().and_then(|code| get_text(code, "co_filename")),
        line: code.as_ref().and_then(|code| get(code, "co_firstlineno")?.extract().or_none()),
    }
}

/// What tells one kernel from another.
pub fn identity(kernel: &Kernel) -> String {
    format!("{}:{}:{}", kernel.module.as_deref().unwrap_or_default(), kernel.name, kernel.line.unwrap_or_default())
}

/// A specialization on one line.
pub fn text(specialization: &Specialization) -> String {
    join(specialization.iter().map(|(name, value)| (name, value)))
}

fn join<'a>(pairs: impl Iterator<Item = (&'a String, &'a String)>) -> String {
    pairs.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(", ")
}

struct Argument {
    name: String,
    text: String,
    /// A Python value, which is compiled in; else a type.
    value: bool,
}

fn arguments(py: Python<'_>, subject: &Subject) -> Vec<Argument> {
    let names = parameter_names(py, subject);
    let positional = subject.args.as_ref().and_then(|args| args.bind(py).cast::<PyTuple>().ok());
    let positional = positional.into_iter().flat_map(|args| args.iter());
    let mut all: Vec<(String, Bound<'_, PyAny>)> = positional
        .enumerate()
        .map(|(at, value)| (names.get(at).cloned().unwrap_or_else(|| format!("argument {at}")), value))
        .collect();
    let keywords = subject.kwargs.as_ref().and_then(|kwargs| kwargs.bind(py).cast::<PyDict>().ok());
    all.extend(keywords.into_iter().flat_map(|kwargs| kwargs.iter()).map(|(name, value)| (plain_text(&name), value)));
    let describe = |(name, value): (String, Bound<'_, PyAny>)| {
        let compiled_in = is_plain(&value);
        let text = if compiled_in { plain_text(&value) } else { of_type(&value) };
        Argument { name, text: bounded(&text, ARGUMENT).into_owned(), value: compiled_in }
    };
    all.into_iter().map(describe).collect()
}

fn parameter_names(py: Python<'_>, subject: &Subject) -> Vec<String> {
    let of_signature = subject.signature.as_ref().and_then(|signature| {
        let signature = signature.bind(py);
        let names = match get(signature, "parameters") {
            Some(parameters) => each(&parameters, NAMES).collect(),
            None => get(signature, "args")?.cast_into::<PyList>().ok()?.iter().collect::<Vec<_>>(),
        };
        Some(names.iter().map(plain_text).collect())
    });
    of_signature.unwrap_or_else(|| {
        let code = subject.function.as_ref().and_then(|function| get(function.bind(py), "__code__"));
        code.and_then(|code| get(&code, "co_varnames")?.extract().or_none()).unwrap_or_default()
    })
}

fn is_plain(value: &Bound<'_, PyAny>) -> bool {
    value.is_none()
        || value.is_exact_instance_of::<PyBool>()
        || value.is_exact_instance_of::<PyInt>()
        || value.is_exact_instance_of::<PyFloat>()
        || value.is_exact_instance_of::<PyString>()
        || value.is_exact_instance_of::<PyTuple>()
        || value.is_exact_instance_of::<PyList>()
}

/// The type, and what of a tensor or of a callable instance goes into the code.
fn of_type(value: &Bound<'_, PyAny>) -> String {
    if let Ok(class) = value.cast::<PyType>() {
        return class.name().or_none().map_or_else(|| "type".to_owned(), |name| name.to_string_lossy().into_owned());
    }
    let class = type_name(value);
    let element =
        get(value, "element_type").or_else(|| get(value, "dtype")).map(|element| match element.cast::<PyType>() {
            Ok(_) => of_type(&element),
            Err(_) => element.str().or_none().map(|text| text.to_string_lossy().into_owned()).unwrap_or_default(),
        });
    let layout = ["shape", "stride"].map(|name| get(value, name).filter(|sizes| sizes.is_instance_of::<PyTuple>()));
    let layout: Vec<String> = layout.iter().flatten().map(sizes).collect();
    match (element.filter(|element| *element != class), layout.is_empty()) {
        (Some(element), false) => format!("{class}[{element}, {}]", layout.join(":")),
        (Some(element), true) => format!("{class}[{element}]"),
        (None, false) => format!("{class}[{}]", layout.join(":")),
        (None, true) => class + &state(value),
    }
}

/// Sizes by their text: a symbolic one has a name.
fn sizes(of: &Bound<'_, PyAny>) -> String {
    sizes_within(of, 0)
}

fn sizes_within(of: &Bound<'_, PyAny>, depth: usize) -> String {
    let texts = each(of, SIZES).map(|size| match size.is_instance_of::<PyTuple>() {
        true if depth >= SIZES_DEPTH => "...".to_owned(),
        true => sizes_within(&size, depth + 1),
        false => size.str().or_none().map(|text| text.to_string_lossy().into_owned()).unwrap_or_default(),
    });
    format!("({})", texts.collect::<Vec<_>>().join(", "))
}

/// Plain attributes of an instance of the user's, `(tile=128)`: its methods are traced with them as constants.
fn state(value: &Bound<'_, PyAny>) -> String {
    let ours =
        get_text(&value.get_type(), "__module__").is_some_and(|module| module.split('.').next() == Some("cutlass"));
    let attributes = value.getattr("__dict__").or_none().and_then(|attributes| attributes.cast_into::<PyDict>().ok());
    let Some(attributes) = attributes.filter(|_| !ours) else { return String::new() };
    let plain = attributes.iter().filter(|(_, value)| is_plain(value)).take(ATTRIBUTES);
    let shown: Vec<String> =
        plain.map(|(name, value)| format!("{}={}", plain_text(&name), plain_text(&value))).collect();
    if shown.is_empty() { String::new() } else { format!("({})", shown.join(", ")) }
}

/// The compile options that are set. Read only: their own `to_str` changes some of them (4.8).
fn options(options: &Bound<'_, PyAny>) -> Vec<(String, String)> {
    let pairs: Vec<(String, Bound<'_, PyAny>)> = match get(options, "options").map(|all| all.cast_into::<PyDict>()) {
        Some(Ok(all)) => {
            let pairs = all.iter().map(|(_, option)| Some((type_name(&option), get(&option, "value")?)));
            pairs.flatten().collect()
        }
        // 4.2: the namespace of an argument parser.
        _ => {
            let all =
                get(options, "_options").and_then(|all| all.getattr("__dict__").or_none()?.cast_into::<PyDict>().ok());
            all.into_iter().flat_map(|all| all.iter()).map(|(name, value)| (plain_text(&name), value)).collect()
        }
    };
    let set = pairs.into_iter().filter(|(_, value)| is_plain(value) && value.is_truthy().or_none().unwrap_or(false));
    set.map(|(name, value)| (name, bounded(&plain_text(&value), ARGUMENT).into_owned())).collect()
}
