//! Arguments that are none: they answer what Triton asks of one when it specializes, and nothing is launched with them.

use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::unsupported::{Unsupported, said};

/// A tensor, as far as Triton looks at one.
#[pyclass(frozen, module = "jitspan")]
pub struct MockPointer {
    #[pyo3(get)]
    dtype: Py<MockType>,
    #[pyo3(get)]
    shape: Vec<i64>,
    aligned: bool,
    small: bool,
}

impl MockPointer {
    /// To elements of a type by Triton's name.
    pub fn new(py: Python<'_>, element: &str, aligned: bool, small: bool, shape: Vec<i64>) -> PyResult<Self> {
        let dtype = Py::new(py, MockType { name: element.to_owned() })?;
        Ok(MockPointer { dtype, shape, aligned, small })
    }
}

#[pymethods]
impl MockPointer {
    fn data_ptr(&self) -> u64 {
        if self.aligned { 16 } else { 8 }
    }

    /// Bytes of its buffer: AMD's backend specializes for less than 2 GiB.
    fn ptr_range(&self) -> u64 {
        if self.small { 0 } else { 1 << 40 }
    }

    fn element_size(&self) -> u32 {
        self.dtype.get().itemsize()
    }

    #[pyo3(signature = (dimension = None))]
    fn stride(&self, dimension: Option<i64>) -> i64 {
        let _ = dimension;
        1
    }
}

/// A tensor's type: prints as torch's does, of which Triton looks at the last part.
#[pyclass(frozen, eq, hash, module = "jitspan")]
#[derive(PartialEq, Eq, Hash)]
pub struct MockType {
    name: String,
}

/// Types by Triton's name and by torch's.
const NAMES: [(&str, &str); 15] = [
    ("fp16", "float16"),
    ("bf16", "bfloat16"),
    ("fp32", "float32"),
    ("fp64", "float64"),
    ("i1", "bool"),
    ("i8", "int8"),
    ("i16", "int16"),
    ("i32", "int32"),
    ("i64", "int64"),
    ("u8", "uint8"),
    ("u16", "uint16"),
    ("u32", "uint32"),
    ("u64", "uint64"),
    ("fp8e4nv", "float8_e4m3fn"),
    ("fp8e5", "float8_e5m2"),
];

#[pymethods]
impl MockType {
    fn __str__(&self) -> String {
        let name = NAMES.iter().find(|(known, _)| *known == self.name).map_or(&*self.name, |(_, torch)| torch);
        format!("torch.{name}")
    }

    fn __repr__(&self) -> String {
        self.__str__()
    }

    #[getter]
    fn itemsize(&self) -> u32 {
        if self.name.starts_with("fp8") || self.name == "i1" {
            return 1;
        }
        let bits = self.name.trim_start_matches(|c: char| c.is_ascii_alphabetic());
        bits.parse::<u32>().map_or(1, |bits| bits.div_ceil(8))
    }

    #[getter]
    fn is_floating_point(&self) -> bool {
        self.name.starts_with("fp") || self.name.starts_with("bf")
    }
}

/// A number that Triton gives this type, and finds to be a multiple of 16 or not.
///
/// # Errors
/// No number has such a type.
pub fn scalar<'py>(py: Python<'py>, of_type: &str, divisible: bool) -> Result<Bound<'py, PyAny>, Unsupported> {
    let bits = |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
    let value = match (of_type, divisible) {
        // Up to 3.2 a bool is specialized as a number is: False is a multiple of 16.
        ("i1" | "u1", divisible) => (!divisible).into_bound_py_any(py),
        ("i64", true) => (1_i64 << 40).into_bound_py_any(py),
        ("i64", false) => ((1_i64 << 40) + 3).into_bound_py_any(py),
        ("u64", true) => (1_u64 << 63).into_bound_py_any(py),
        ("u64", false) => ((1_u64 << 63) + 3).into_bound_py_any(py),
        (floating, _) if floating.starts_with("fp") || floating.starts_with("bf") => 0.5.into_bound_py_any(py),
        // The type of an annotation.
        (whole, divisible) if whole.strip_prefix(['i', 'u']).is_some_and(bits) => {
            (if divisible { 32 } else { 35 }).into_bound_py_any(py)
        }
        _ => return Err(format!("an argument of type {of_type}")),
    };
    value.map_err(said)
}

/// A tensor descriptor of this element and block, `fp16[64, 64]`.
///
/// # Errors
/// This version has none, or refuses the block.
pub fn descriptor<'py>(py: Python<'py>, described: &str) -> Result<Bound<'py, PyAny>, Unsupported> {
    let unknown = || format!("a tensor descriptor {described}");
    let (element, block) = described.strip_suffix(']').and_then(|inside| inside.split_once('[')).ok_or_else(unknown)?;
    let block: Option<Vec<i64>> = block.split(',').map(|size| size.trim().parse().ok()).collect();
    let block = block.filter(|block| block.len() <= 8).ok_or_else(unknown)?;
    let mut strides = vec![1_i64];
    for size in block.iter().skip(1).rev() {
        let inner = strides.first().copied().unwrap_or(1);
        strides.insert(0, inner.checked_mul((*size).max(16)).ok_or_else(unknown)?);
    }
    let base = MockPointer::new(py, element, true, true, block.clone()).map_err(said)?;
    // Triton's own, by a name of ours.
    let module = py.import("triton.tools.tensor_descriptor").map_err(said)?;
    module.call_method1(PyString::new(py, "TensorDescriptor"), (base, &block, strides, &block)).map_err(said)
}
