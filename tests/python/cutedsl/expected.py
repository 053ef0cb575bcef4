"""What each step of triggers.py must lead to: at most one event, and nothing else."""

from __future__ import annotations

from typing import NamedTuple


class Event(NamedTuple):
    """What of an event does not differ between versions."""

    name: str
    kernel: str
    cause: str
    changes: str = ""
    error: str = ""


def compiled(kernel: str, cause: str, changes: str = "") -> list[Event]:
    return [Event("jit.compile", kernel, cause, changes)]


def failed(kernel: str, error: str) -> list[Event]:
    return [Event("jit.compile", kernel, "first_use", "", error)]


NEW = "new_specialization"

# In the order in which they run: each specialization is explained by the nearest one before it.
EXPECTED: dict[str, list[Event]] = {
    "compile": compiled("host", "first_use"),
    "compile_again": compiled("host", "recompile"),
    "compile_kernel": compiled("launching", "first_use"),
    "call_executor": [],
    "implicit": compiled("host", NEW, "n: 3 -> 41"),
    "implicit_again": [],
    "implicit_other_value": compiled("host", NEW, "n: 41 -> 42"),
    "implicit_dynamic": compiled("host", NEW, "n: 42 -> Int32"),
    "implicit_dynamic_other_value": [],
    "implicit_constexpr": compiled("host", NEW, "k: 1 -> 2"),
    "implicit_keyword": compiled("host", NEW, "k: 2 -> 3"),
    "nested": compiled("outer", "first_use"),
    "bound_early": compiled("host", NEW, "n: Int32 -> 8"),
    "options": compiled("host", NEW, "n: 8 -> 9; OptLevel: 3 -> 2"),
    "subscript": compiled("host", NEW, "n: 9 -> 10"),
    "precompiled": [],
    "experimental": compiled("host", NEW, "n: 8 -> 12"),
    "instance": compiled("Gemm", "first_use"),
    "instance_other_state": compiled("Gemm", NEW, "self: Gemm(tile=2) -> Gemm(tile=4)"),
    "instance_of_subclass": compiled("SmallGemm", "first_use"),
    "instance_implicit": compiled("Gemm", "recompile"),
    "bound_method": compiled("method", "first_use"),
    "tvm_ffi": compiled("host", NEW, "EnableTVMFFI: absent -> True"),
    "tensor": compiled("tensor_host", "first_use"),
    "tensor_other_shape": compiled(
        "tensor_host", NEW, "t: _FakeTensor[Float32, (32):(1)] -> _FakeTensor[Float32, (64):(1)]"
    ),
    "no_cache": compiled("host", "recompile"),
    "failing": failed("failing", "KeyError"),
    "failing_implicit": failed("failing", "KeyError"),
    "after_failing": compiled("host", NEW, "n: 41 -> 14"),
    "wrong_arguments": [],
    "failing_launch": compiled("launching", "recompile"),
    "failing_launch_again": [],
    "threads": [],
    "in_threads": compiled("host", NEW, "n: 14 -> 31") + compiled("host", NEW, "n: 31 -> 32"),
}

# What a version does not have raises these out of the user's call: nothing was traced, so there is no event.
ABSENT = ("AttributeError", "ImportError", "DSLRuntimeError: DSLRuntimeError: Invalid compile options")
# Without the package `apache-tvm-ffi` these fail, after the trace.
TVM_FFI = ("tvm_ffi", "tensor", "tensor_other_shape")
