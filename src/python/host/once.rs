//! Every `Once` inside PyO3 that an event or a scope goes through, gone through when the module is imported: see
//! `prepared`.

use pyo3::exceptions::{PyAttributeError, PyLookupError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{
    PyBool, PyBytes, PyCFunction, PyDict, PyFloat, PyFunction, PyInt, PyIterator, PyList, PyMapping, PyModule,
    PySequence, PyString, PyTuple, PyType, PyWeakrefReference,
};

use crate::python::host::gate::Line;
use crate::python::host::leaving::Wait;
use crate::python::unexpected::UnexpectedCompileError;

/// Goes through every `Once` in PyO3 that an event or a scope goes through.
///
/// # Errors
/// Python's own.
pub fn prepare(py: Python<'_>) -> PyResult<()> {
    let mapping = PyDict::new(py);
    mapping.set_item("key", 1)?;
    let any = py.eval(c"object()", None, None)?;
    // Types are looked up when something is first made of them or compared with them.
    let _ = (any.cast::<PyBool>().is_ok(), any.cast::<PyInt>().is_ok(), any.cast::<PyFloat>().is_ok());
    let _ = (any.cast::<PyString>().is_ok(), any.cast::<PyBytes>().is_ok(), any.cast::<PyModule>().is_ok());
    let _ = (any.cast::<PyList>().is_ok(), any.cast::<PyTuple>().is_ok(), any.cast::<PyDict>().is_ok());
    let _ = (any.cast::<PyMapping>().is_ok(), any.cast::<PySequence>().is_ok(), any.cast::<PyIterator>().is_ok());
    let _ = (any.cast::<PyType>().is_ok(), any.cast::<PyFunction>().is_ok(), any.cast::<PyCFunction>().is_ok());
    let _ = (any.cast_exact::<PyTuple>().is_ok(), any.cast_exact::<PyList>().is_ok());
    let _ = (any.cast_exact::<PyDict>().is_ok(), any.cast_exact::<PyBool>().is_ok());
    let _ = (any.is_exact_instance_of::<PyFloat>(), any.is_exact_instance_of::<PyInt>());
    let class = any.get_type();
    let _ = (class.name()?, class.qualname()?, class.module()?, class.mro(), class.fully_qualified_name()?);
    PyWeakrefReference::new(class.as_any())?;
    let _ = any.cast::<PyWeakrefReference>().is_ok();
    // Reading, and failing to read.
    let _ = (any.hasattr("missing")?, any.getattr_opt("missing")?, any.getattr("missing").is_err());
    let _ = (mapping.as_any().get_item("missing").is_err(), any.len().is_err(), any.is_truthy()?);
    let _ = (any.extract::<String>().is_err(), any.extract::<f64>().is_err(), any.extract::<Vec<String>>().is_err());
    let _ = (any.extract::<i64>().is_err(), any.extract::<u128>().is_err(), any.extract::<bool>().is_err());
    let _ = (any.extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>)>().is_err(), any.extract::<u64>().is_err());
    let _ = (mapping.items().try_iter()?.flatten().count(), any.repr()?.to_string_lossy().len());
    let _ = PyTuple::new(py, ["text"])?.extract::<Vec<String>>()?;
    let errors = [
        PyAttributeError::new_err(""),
        PyLookupError::new_err(""),
        PyTypeError::new_err(""),
        PyValueError::new_err(""),
        UnexpectedCompileError::new_err(""),
    ];
    for error in errors {
        let _ = (error.to_string(), error.get_type(py), error.value(py).str()?, error.traceback(py).is_none());
        let _ = error.is_instance_of::<pyo3::exceptions::PyException>(py);
    }
    // Classes that Python does not see by name are made with their first object.
    let _ = (py.get_type::<Line>(), py.get_type::<Wait>());
    Ok(())
}
