"""The fake GPU of the demo, whose launches are run by Triton's interpreter (Triton 3.6)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import fake_gpu
import numpy as np
import torch
import triton.language as tl
from triton.backends import backends
from triton.language.extra import libdevice
from triton.runtime import interpreter
from triton.runtime.jit import JITCallable, JITFunction


class Driver(fake_gpu.FakeDriver):
    """Its tensors are torch's, in the memory of the CPU."""

    def launcher_cls(self, source: Any, _metadata: Any) -> Callable[..., None]:
        kernel = Kernel(source.fn)

        def launch(x, y, z, _stream, _function, _packed, metadata, enter_hook, exit_hook, *arguments):
            if enter_hook is not None:
                enter_hook(metadata)
            kernel.run((x, y, z), arguments)
            if exit_hook is not None:
                exit_hook(metadata)

        return launch

    def get_active_torch_device(self) -> torch.device:
        return torch.device("cpu")

    def get_empty_cache_for_benchmark(self) -> torch.Tensor:
        return torch.empty(1)

    def clear_cache(self, _cache: torch.Tensor) -> None:
        pass


class Kernel:
    """One kernel's source, run for each point of a grid."""

    # A kernel is running: another one may be called, as a plain function.
    inside = False

    def __init__(self, function: JITFunction) -> None:
        self.function = function

    def run(self, grid: tuple[int, int, int], arguments: tuple[Any, ...]) -> None:
        named = {
            parameter.name: value if parameter.is_constexpr or value is None else interpreter._implicit_cvt(value)
            for parameter, value in zip(self.function.params, arguments, strict=False)
        }
        with language():
            interpreter.interpreter_builder.set_grid_dim(*grid)
            for point in itertools.product(*map(range, grid)):
                interpreter.interpreter_builder.set_grid_idx(*point)
                python_of(self.function.fn)(**named)


@cache
def python_of(function: Callable[..., Any]) -> Callable[..., Any]:
    """Keyed by the plain function: the hash of a JITFunction reads the source of everything that it calls."""
    return interpreter.InterpretedFunction(function).rewrite()


def called_by_a_kernel(callee: JITFunction, *arguments: Any, **options: Any) -> Any:
    if not Kernel.inside:
        raise RuntimeError("a kernel is launched with kernel[grid](...)")
    options.pop("_semantic", None)
    return python_of(callee.fn)(*arguments, **options)


@contextmanager
def language() -> Iterator[None]:
    """`triton.language` as the interpreter means it. Its own patches go by kernel, and leave out what follows here."""
    builder, patches = interpreter.interpreter_builder, interpreter._LangPatchScope()
    for module in (tl, tl.core):
        interpreter._patch_builtin(module, builder, patches)
        interpreter._patch_builtin(module.tensor, builder, patches)
        interpreter._patch_lang_tensor(module.tensor, patches)
        interpreter._patch_lang_core(module, patches)
        patches.set_attr(module, "range", loop)
    for module in (tl.math, tl.core.tensor_descriptor_base):
        interpreter._patch_builtin(module, builder, patches)
    for name, member in list(vars(tl.core.tensor).items()):
        if isinstance(member, JITCallable):  # `x.sum()`
            patches.set_attr(tl.core.tensor, name, method(member))
    for name in ("__index__", "__int__"):  # numpy no longer makes an int of an array with one element
        patches.set_attr(tl.core.tensor, name, lambda tensor: int(tensor.handle.data.item()))
    for name, function in LIBDEVICE.items():
        patches.set_attr(libdevice, name, elementwise(function))
    Kernel.inside = True
    try:
        yield
    finally:
        Kernel.inside = False
        patches.restore()


def method(callee: JITCallable) -> Callable[..., Any]:
    return lambda tensor, *arguments, **options: callee(tensor, *arguments, **options)


def loop(start: Any, stop: Any = None, step: Any = 1, **_options: Any) -> Iterator[Any]:
    """`tl.range`: the kernel calls `.to()` on what it counts."""
    numbers = range(int(start)) if stop is None else range(int(start), int(stop), int(step))
    return map(interpreter._implicit_cvt, numbers)


def elementwise(function: Callable[[Any], Any]) -> Callable[..., Any]:
    def call(tensor: Any, **_options: Any) -> Any:
        data = function(tensor.handle.data).astype(tensor.handle.data.dtype)
        return tl.tensor(interpreter.TensorHandle(data, tensor.handle.dtype), tensor.type)

    return call


# Those that vLLM's kernels call.
LIBDEVICE = {
    "expm1": np.expm1,
    "fast_expf": np.exp,
    "log1p": np.log1p,
    "rint": np.rint,
    "rsqrt": lambda values: 1 / np.sqrt(values),
    "tanh": np.tanh,
}


def install() -> None:
    if JITFunction.__call__ is not called_by_a_kernel:
        backends["nvidia"].driver.is_active = staticmethod(lambda: True)
        fake_gpu.ACTIVE_DRIVER.set_active(Driver())
        JITFunction.__call__ = called_by_a_kernel
