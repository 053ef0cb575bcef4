"""Ways to call a kernel, each with what came of it: value or exception, kernels that were made, launches.

`test_triton_forms.py` runs them with and without jitspan, and compares. With `FORMS_WATCHED=1` jitspan watches; with
`FORMS_HOOKED=1` there are hooks of the program's own before, and what they are told is compared too.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import hashlib
import os
import re
import sys
import types
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import fake_gpu
import triton
import triton.language as tl
import triton.runtime.jit
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

VERSION = fake_gpu.TRITON_VERSION
GPU = fake_gpu.install()
JITFunction = triton.runtime.jit.JITFunction

if VERSION < (3, 2):
    # This old autotuner imports torch to ask for a GPU, and benchmarks with a function of its own.
    sys.modules["torch"] = types.ModuleType("torch")
    sys.modules["torch"].cuda = types.SimpleNamespace(is_available=lambda: False)
    import triton.runtime.autotuner

    triton.runtime.autotuner.do_bench = lambda call, **_options: fake_gpu.benchmark(call)


class Tensor(fake_gpu.FakeTensor):
    """One that reads the same in every process: Triton makes a constant's `repr` a part of the kernel's hash."""

    def __repr__(self) -> str:
        return f"tensor({self.dtype})"


X, Y = Tensor("float32"), Tensor("float32")
HALF, BYTES, UNALIGNED = Tensor("float16"), Tensor("int8"), Tensor("int32", offset=4)

FORMS: dict[str, Callable[[], Any]] = {}


def form(run: Callable[[], Any] | None = None, *, since: tuple[int, int] = (3, 0)) -> Any:
    if run is None:
        return functools.partial(form, since=since)
    if since <= VERSION:
        FORMS[run.__name__] = run
    return run


def each(prefix: str, values: dict[str, Any], launch: Callable[[Any], Any], since: tuple[int, int] = (3, 0)) -> None:
    """One form for each value."""
    if since <= VERSION:
        FORMS.update({f"{prefix}: {name}": functools.partial(launch, value) for name, value in values.items()})


# --- Kernels. Each form that uses one makes a function of its own of it, which has compiled nothing.


def take(x, n, C: tl.constexpr):  # noqa: ARG001
    tl.store(x + tl.arange(0, 16), 1)


def use(x, n):
    tl.store(x + tl.arange(0, 16), n)


def hold(x, C: tl.constexpr):
    tl.store(x + tl.arange(0, 16), C)


def cast(x, TYPE: tl.constexpr):
    tl.store(x + tl.arange(0, 16), tl.full((16,), 1, TYPE).to(tl.float32))


def applied(x, FUNCTION: tl.constexpr):
    tl.store(x + tl.arange(0, 16), FUNCTION(3.0))


def first_of(x, pair):
    tl.store(x + tl.arange(0, 16), pair[0])


def picky(x, C: tl.constexpr):
    tl.static_assert(C > 100, "too small")
    tl.store(x + tl.arange(0, 16), C)


def nothing():
    pass


@triton.jit
def double(value):
    return value * 2


@triton.jit
def triple(value):
    return value * 3


LIMIT: tl.constexpr = tl.constexpr(7)
FACTOR = tl.constexpr(5)


def globally(x):
    tl.store(x + tl.arange(0, 16), FACTOR + LIMIT)


def outer(x, n):
    tl.store(x + tl.arange(0, 16), double(n))


def jit(function: Any, **options: Any) -> Any:
    return triton.jit(function, **options) if options else triton.jit(function)


def launch(function: Any, *arguments: Any, grid: Any = (1,), **keywords: Any) -> Any:
    return (function if hasattr(function, "run") else jit(function))[grid](*arguments, **keywords)


# --- Arguments.


class Color(enum.Enum):
    RED = 1


class Level(enum.IntEnum):
    HIGH = 3


class Pair(NamedTuple):
    left: Any
    right: Any


@dataclasses.dataclass(frozen=True)
class Frozen:
    size: int = 4


class Opaque:
    def __repr__(self) -> str:
        return "Opaque()"


class Raising:
    def __repr__(self) -> str:
        raise RuntimeError("no repr here")

    __str__ = __repr__


ARGUMENTS = {
    **{str(number): number for number in (0, 1, 2, 16, 17, -1, -16, 1 << 31, 1 << 40, 1 << 63, 1 << 70)},
    **{str(value): value for value in (True, False, 1.5, 1.0, 0.0, float("inf"), float("nan"), None)},
    "half": HALF,
    "bytes": BYTES,
    "unaligned": UNALIGNED,
    "text": "text",
    "complex": 1j,
    "list": [1, 2],
    "dictionary": {"a": 1},
    "enum": Color.RED,
    "int enum": Level.HIGH,
    "opaque": Opaque(),
    "raising": Raising(),
    "function": double,
}
each("argument", ARGUMENTS, lambda value: launch(use, X, value))

deep: Any = ()
for _ in range(400):
    deep = (deep,)

CONSTANTS = {
    **{str(number): number for number in (0, 1, 16, -3, 1 << 40, 1 << 80)},
    **{repr(value): value for value in (True, None, 1.5, float("inf"), float("nan"), "text", "fp32", b"bytes", 1j)},
    "list": [1, 2],
    "dictionary": {"a": 1},
    "set": frozenset({1}),
    "tuple": (1, 2),
    "nested tuple": (1, (2, (3, None))),
    "deep tuple": deep,
    "empty tuple": (),
    "named tuple": Pair(1, 2),
    "enum": Color.RED,
    "int enum": Level.HIGH,
    "tuple of enums": (Color.RED, Color.RED),
    "dtype": tl.float16,
    "tuple of dtypes": (tl.float16, tl.int8),
    "pointer type": tl.pointer_type(tl.float32),
    "constexpr": tl.constexpr(3),
    "constexpr of a dtype": tl.constexpr(tl.float16),
    "kernel": double,
    "tuple of kernels": (double, triple),
    "python function": len,
    "class": Frozen,
    "frozen dataclass": Frozen(),
    "module": tl,
    "opaque": Opaque(),
    "raising": Raising(),
    "lone surrogate": "\ud800",
}
each("constant", CONSTANTS, lambda value: launch(take, X, 4, value))
each("constant by name", {"int": 5, "enum": Color.RED, "dtype": tl.int8}, lambda value: launch(take, X, 4, C=value))
each(
    "constant that is used",
    {"int": 5, "float": 2.5, "constexpr": tl.constexpr(3)},
    lambda value: launch(hold, X, value),
)
each(
    "dtype that is used", {"fp16": tl.float16, "int32": tl.int32, "text": "fp16"}, lambda value: launch(cast, X, value)
)
each("kernel that is used", {"double": double, "triple": triple, "none": None}, lambda value: launch(applied, X, value))

TUPLES = {
    "of numbers": (1, 16, 17),
    "of a tensor": (Y, 3),
    "nested": ((4, 5), X),
    "empty": (),
    "named": Pair(3, X),
    "with none": (None, 3),
    "with text": ("text", 3),
    "with a constexpr": (tl.constexpr(3), 4),
    "with a kernel": (double, 4),
    "with an enum": (Color.RED, 4),
    "with a dtype": (tl.float16, 4),
    "of big numbers": (1 << 40, 1 << 63),
}
each("tuple", TUPLES, lambda value: launch(first_of, X, value))
each("tuple as a constant", TUPLES, lambda value: launch(take, X, 4, value))


def annotated(annotation: Any) -> Any:
    def typed(x, n):
        tl.store(x + tl.arange(0, 16), n)

    typed.__annotations__ = {"n": annotation}
    return typed


def annotations_of(names: str) -> None:
    for name in names.split():
        kind = getattr(tl, name)
        each(
            f"annotated {name}",
            {str(value): value for value in (1, 16, 17)},
            lambda value, kind=kind: launch(annotated(kind), X, value),
        )


annotations_of("int32 int64 uint8 float32")
each(
    "annotated text",
    {"i32": "i32", "int": "int", "tl.int64": "tl.int64", "fp32": "fp32", "wrong": "wrong"},
    lambda kind: launch(annotated(kind), X, 16),
)
each("annotated bool", {"True": True, "1": 1}, lambda value: launch(annotated(bool), X, value))


@form
def an_annotated_float_for_an_int():
    return launch(annotated(tl.float32), X, 3)


@form
def not_specialized():
    return [launch(jit(use, do_not_specialize=how), X, value) for how in (["n"], [1]) for value in (1, 16, 17)]


@form(since=(3, 1))
def not_specialized_on_alignment():
    return [launch(jit(use, do_not_specialize_on_alignment=["n"]), X, value) for value in (1, 16, 17)]


@form
def by_keyword():
    return launch(take, C=3, n=4, x=X)


@form
def with_a_default():
    def preset(x, n=16, C: tl.constexpr = 4):
        tl.store(x + tl.arange(0, 16), n + C)

    return [launch(kernel, X) for kernel in (jit(preset),) * 2]


@form
def without_an_argument():
    return launch(take, X, 4)


@form
def with_one_argument_too_many():
    return launch(take, X, 4, 5, 6)


@form
def with_an_argument_twice():
    return launch(take, X, 4, 5, n=6)


@form
def without_parameters():
    return launch(nothing)


@form(since=(3, 8))
def with_starred_parameters():
    def starred(x, *rest):
        tl.store(x + tl.arange(0, 16), rest[0])

    return launch(starred, X, 4, 5)


# --- Options and grids.

OPTIONS = {
    **{f"num_warps {count}": {"num_warps": count} for count in (1, 2, 3, 8)},
    "num_stages": {"num_stages": 2},
    "num_ctas": {"num_ctas": 2},
    "maxnreg": {"maxnreg": 64},
    "debug": {"debug": True},
    "fusion": {"enable_fp_fusion": False},
    "cooperative": {"launch_cooperative_grid": True},
    "extern_libs": {"extern_libs": {"libdevice": "/nowhere.bc"}},
    "precision": {"allowed_dot_input_precisions": ("ieee",)},
    "unknown": {"no_such_option": 1},
    "device": {"device": 0},
    "stream": {"stream": 0},
    "grid twice": {"warmup": True},
    "text": {"num_warps": "4"},
    "none": {"num_warps": None},
    "two in another order": {"num_stages": 2, "num_warps": 2},
}
each("option", OPTIONS, lambda options: launch(use, X, 4, **options))

GRIDS = {
    "two": (2, 3),
    "three": (2, 3, 4),
    "four": (2, 3, 4, 5),
    "list": [2],
    "none at all": (),
    "number": 4,
    "None": None,
    "zero": (0,),
    "function": lambda meta: (meta["n"],),
    "function that raises": lambda meta: (meta["missing"],),
    "function that returns a number": lambda _meta: 3,
}
each("grid", GRIDS, lambda grid: launch(use, X, 4, grid=grid))


@form
def a_grid_that_interrupts():
    def interrupt(_meta):
        raise KeyboardInterrupt("from the grid")

    return launch(use, X, 4, grid=interrupt)


# --- Again and again.


@form
def the_same_again():
    kernel = jit(use)
    one, two, three = (launch(kernel, X, value) for value in (32, 48, 64))
    return [one, one is two, two is three, size(kernel)]


@form
def other_specializations():
    kernel = jit(take)
    values = (1, 2, 16, 1 << 40, 1.5, True, None)
    return [launch(kernel, X, value, 4) for value in values], size(kernel)


@form
def other_constants():
    kernel = jit(take)
    return [launch(kernel, X, 4, value) for value in (1, 1.0, True, "1", None, Color.RED, tl.float16)], size(kernel)


@form
def enums_again():
    kernel = jit(take)
    return tried_each((Color.RED, Level.HIGH, Color.RED), lambda value: launch(kernel, X, 4, value)), size(kernel)


@form
def kernels_as_constants_again():
    kernel = jit(applied)
    return tried_each((double, triple, double), lambda value: launch(kernel, X, value)), size(kernel)


@form
def a_failure_twice_and_then_none():
    kernel = jit(picky)
    return tried_each((1, 1, 101, 101), lambda value: launch(kernel, X, value)), size(kernel)


@form
def source_that_is_wrong():
    def wrong(x):
        tl.store(x, no_such_name)  # noqa: F821

    return tried_each((jit(wrong),) * 2, lambda kernel: launch(kernel, X))


@form
def types_that_do_not_fit():
    def mixed(x, n):
        tl.store(x + n, x)

    return launch(mixed, X, 1.5)


@form
def an_empty_cache():
    kernel = jit(use)
    one = launch(kernel, X, 4)
    getattr(kernel, "device_caches" if hasattr(kernel, "device_caches") else "cache").clear()
    return one, launch(kernel, X, 4), size(kernel)


@form
def a_global_that_changed():
    global FACTOR
    kernel = jit(globally)
    results = [tried(lambda: launch(kernel, X))]
    FACTOR = tl.constexpr(6)
    results.append(tried(lambda: launch(kernel, X)))
    FACTOR = tl.constexpr(5)
    return results


@form
def two_kernels_of_one_source():
    return launch(jit(use), X, 4), launch(jit(use), X, 4)


@form
def a_kernel_that_calls_another():
    return launch(outer, X, 4)


@form
def a_kernel_that_is_not_inlined():
    return launch(jit(outer, noinline=True), X, 4)


@form
def a_kernel_in_a_class():
    class Holder:
        @staticmethod
        @triton.jit
        def held(x):
            tl.store(x + tl.arange(0, 16), 4)

    return launch(Holder.held, X)


@form
def a_kernel_without_a_grid():
    return jit(use)(X, 4)


@form
def run_itself():
    return jit(use).run(X, 4, grid=(1,), warmup=False)


# --- Hooks, warm-up, preload.


@form
def a_hook_before_the_run():
    seen = []
    kernel = jit(use)
    kernel.add_pre_run_hook(lambda *arguments, **options: seen.append((len(arguments), sorted(options))))
    return launch(kernel, X, 4), launch(kernel, X, 4), seen


@form
def a_hook_before_the_run_that_raises():
    kernel = jit(use)
    kernel.add_pre_run_hook(lambda *_arguments, **_options: 1 / 0)
    return launch(kernel, X, 4)


@form
def launch_metadata():
    seen = []
    kernel = jit(
        use, launch_metadata=lambda grid, kernel, _arguments: seen.append((grid, kernel.name)) or {"name": "named"}
    )
    return launch(kernel, X, 4), seen


@form
def a_name_of_its_own():
    return launch(
        jit(take, repr=lambda what: f"take_{what.constants.get('C') if hasattr(what, 'constants') else 0}"), X, 4, 8
    )


@form
def a_name_that_raises():
    return launch(jit(take, repr=lambda _what: 1 / 0), X, 4, 8)


@form
def warm_up():
    kernel = jit(use)
    return kernel.warmup(X, 4, grid=(1,)), size(kernel), launch(kernel, X, 4), size(kernel)


@form
def warm_up_by_types():
    return jit(take).warmup(tl.float32, tl.int32, 4, grid=(1,)), jit(take).warmup("fp32", "i32", Color.RED, grid=(1,))


@form
def a_compile_by_hand():
    function = jit(hold)
    if VERSION < (3, 3):
        return triton.compile(
            ASTSource(function, signature={"x": "*fp32"}, constants={"C": 4}), target=GPUTarget("cuda", 90, 32)
        )
    return triton.compile(
        ASTSource(function, {"x": "*fp32", "C": "constexpr"}, {(1,): 4}), target=GPUTarget("cuda", 90, 32)
    )


def slot(after: bool) -> tuple[Any, str] | None:
    if hasattr(triton, "knobs"):
        return triton.knobs.runtime, "jit_post_compile_hook" if after else "jit_cache_hook"
    name = "compiled_hook" if after else "cache_hook"
    return (JITFunction, name) if hasattr(JITFunction, name) else None


def with_hook(after: bool, hook: Any, run: Callable[[], Any]) -> Any:
    """Sets a hook as a program does that knows of no other, and takes it away again."""
    owner, name = slot(after)
    found = getattr(owner, name)
    setattr(owner, name, hook)
    try:
        return run()
    finally:
        setattr(owner, name, found)


@form
def a_hook_that_refuses():
    return with_hook(False, lambda **_keywords: True, lambda: launch(use, X, 4))


@form
def a_hook_that_raises():
    return with_hook(False, lambda **_keywords: 1 / 0, lambda: launch(use, X, 4))


@form(since=(3, 2))
def a_hook_after_the_compile_that_raises():
    kernel = jit(use)
    return [tried(lambda: with_hook(True, lambda **_keywords: 1 / 0, lambda: launch(kernel, X, 4))), size(kernel)]


def written(kernel: Any, *arguments: Any) -> str:
    """What Triton writes of a specialization for a hook."""
    said = []
    with_hook(
        False,
        lambda **keywords: said.append(keywords["compile"]["specialization_data"]),
        lambda: launch(kernel, *arguments),
    )
    return said[0]


PRELOADED = {
    "number": 4,
    "text": "text",
    "dtype": tl.float16,
    "tuple": (1, 2),
    "enum": Color.RED,
    "kernel": double,
    "constexpr": tl.constexpr(3),
}


@functools.partial(each, "preload", PRELOADED)
def _preload(value):
    text = written(jit(take), X, 4, value)
    again = jit(take)
    return text, tried(lambda: again.preload(text)), size(again), launch(again, X, 4, value), size(again)


@form
def a_preload_for_another_kernel():
    return jit(take).preload(written(jit(use), X, 4))


@form
def a_preload_of_nonsense():
    return tried_each(("{", "{}", '{"name": null}', None), lambda text: jit(take).preload(text))


# --- Heuristics and tuning.


def block(x, n, BLOCK: tl.constexpr):
    tl.store(x + tl.arange(0, BLOCK), n)


@form
def heuristics():
    return launch(triton.heuristics({"BLOCK": lambda meta: 16 if meta["n"] > 3 else 32})(jit(block)), X, 4)


@form
def heuristics_that_raise():
    return launch(triton.heuristics({"BLOCK": lambda _meta: 1 // 0})(jit(block)), X, 4)


@form
def heuristics_that_give_an_enum():
    return launch(triton.heuristics({"C": lambda _meta: Color.RED})(jit(take)), X, 4)


def tuned(function: Any, *configurations: Any, key: tuple[str, ...] = ("n",), **options: Any) -> Any:
    return triton.autotune(configs=list(configurations), key=list(key), **options)(jit(function))


BLOCKS = [triton.Config({"BLOCK": size}) for size in (16, 32)]


@form
def one_configuration():
    return launch(tuned(block, *BLOCKS[:1]), X, 4)


def won(tuner: Any, *arguments: Any, **keywords: Any) -> Any:
    """Which configuration is the fastest is chance: whether it was one of them is not."""
    kernel = launch(tuner, *arguments, **keywords)
    return type(kernel).__name__, tuner.best_config in tuner.configs, len(tuner.cache), size(tuner.fn)


@form
def two_configurations():
    tuner = tuned(block, *BLOCKS)
    return [won(tuner, X, value) for value in (4, 4, 16)]


@form
def configurations_with_a_hook():
    seen = []
    hooked = [
        triton.Config({"BLOCK": size}, pre_hook=lambda arguments: seen.append(sorted(arguments))) for size in (16, 32)
    ]
    return won(tuned(block, *hooked), X, 4), len(seen) > 2, seen[0]


@form
def configurations_that_are_pruned():
    prune = {"early_config_prune": lambda configurations, *_arguments, **_keywords: configurations[:1]}
    return won(tuned(block, *BLOCKS, prune_configs_by=prune), X, 4)


@form
def configurations_of_enums():
    enums = [triton.Config({"C": value}) for value in (Color.RED, Level.HIGH)]
    return won(tuned(take, *enums), X, 4)


@form
def configurations_of_kernels():
    return won(tuned(applied, *(triton.Config({"FUNCTION": value}) for value in (double, triple)), key=()), X)


@form
def configurations_that_do_not_compile():
    return launch(tuned(picky, *(triton.Config({"C": value}) for value in (1, 2)), key=()), X)


@form
def a_configuration_that_is_given_twice():
    return launch(tuned(block, *BLOCKS), X, 4, BLOCK=16)


@form
def values_that_are_reset_and_restored():
    return won(tuned(block, *BLOCKS, reset_to_zero=["x"]), X, 4), won(tuned(block, *BLOCKS, restore_value=["x"]), X, 4)


@form(since=(3, 4))
def a_tuning_that_is_kept_on_disk():
    return [won(tuned(block, *BLOCKS, cache_results=True), X, 4)[:2] for _ in range(2)]


@form
def heuristics_in_a_tuning():
    inner = triton.heuristics({"BLOCK": lambda _meta: 16})(jit(block))
    tuner = triton.autotune(configs=[triton.Config({}, num_warps=count) for count in (2, 4)], key=["n"])(inner)
    kernel = launch(tuner, X, 4)
    return type(kernel).__name__, tuner.best_config in tuner.configs


@form
def a_tuner_that_warms_up():
    return [type(kernel).__name__ for kernel in tuned(block, *BLOCKS).warmup(X, 4, grid=(1,)) or ()]


# --- What newer versions have.


@form(since=(3, 5))
def a_pool_of_threads():
    from triton.runtime._async_compile import AsyncCompileMode

    kernel = jit(take)
    with ThreadPoolExecutor(2) as pool, AsyncCompileMode(pool):
        for value in (1, Color.RED, double):
            launch(kernel, X, 4, value)
    return size(kernel), [launch(kernel, X, 4, value) for value in (1, Color.RED, double)]


class Sized:
    """torch's dtype, as a descriptor reads it."""

    itemsize = 4

    def __str__(self) -> str:
        return "torch.float32"


@form(since=(3, 4))
def a_descriptor():
    from triton.tools.tensor_descriptor import TensorDescriptor

    def load(x, description):
        tl.store(x + tl.arange(0, 16), description.load([0]))

    tensor = Tensor("float32")
    tensor.dtype = Sized()
    return launch(load, X, TensorDescriptor(tensor, [64], [1], [16]))


if VERSION >= (3, 4):
    from triton.experimental import gluon
    from triton.experimental.gluon import language as gl

    def laid(x, LAYOUT: gl.constexpr, B: gl.constexpr):
        index = gl.arange(0, B, layout=LAYOUT)
        gl.store(x + index, gl.load(x + index) + 1)

    def fixed(x, B: gl.constexpr):
        layout: gl.constexpr = gl.BlockedLayout([1], [32], [4], [0])
        index = gl.arange(0, B, layout=layout)
        gl.store(x + index, gl.load(x + index) + 1)

    LAYOUTS = {
        "blocked": gl.BlockedLayout([1], [32], [4], [0]),
        "wide": gl.BlockedLayout([2], [32], [4], [0]),
        "slice": gl.SliceLayout(0, gl.BlockedLayout([1, 1], [1, 32], [1, 4], [1, 0])),
        "of the wrong rank": gl.BlockedLayout([1, 1], [1, 32], [1, 4], [1, 0]),
        "none": None,
        "number": 3,
    }
    each("layout", LAYOUTS, lambda layout: gluon.jit(laid)[(1,)](X, layout, 128))
    each("layout as a constant", LAYOUTS, lambda layout: launch(take, X, 4, layout))
    each("layout in a tuple", LAYOUTS, lambda layout: launch(take, X, 4, (layout, 3)))

    @form
    def a_layout_of_the_kernel_itself():
        return gluon.jit(fixed)[(1,)](X, 128)

    @form
    def layouts_again():
        kernel = gluon.jit(laid)
        values = (LAYOUTS["blocked"], LAYOUTS["wide"], LAYOUTS["blocked"])
        return [kernel[(1,)](X, value, 128) for value in values], size(kernel)

    @form
    def layouts_that_are_tuned():
        configurations = [triton.Config({"LAYOUT": LAYOUTS[name]}) for name in ("blocked", "wide")]
        tuner = triton.autotune(configs=configurations, key=[])(gluon.jit(laid))
        return type(tuner[(1,)](X, B=128)).__name__, len(tuner.cache)

    @form
    def a_layout_that_warms_up():
        return gluon.jit(laid).warmup(X, LAYOUTS["blocked"], 128, grid=(1,))


# --- What came of them.


def size(kernel: Any) -> int:
    """Kernels that it has in memory."""
    while not isinstance(kernel, JITFunction):
        kernel = kernel.fn
    caches = getattr(kernel, "device_caches", None)
    if caches is None:
        return sum(len(cache) for cache in kernel.cache.values())
    return sum(len(cache[0]) for cache in caches.values())


def plain(text: str) -> str:
    return re.sub(r"0x[0-9a-f]+", "0x", text)


def tried(run: Callable[[], Any]) -> Any:
    try:
        return said(run())
    except BaseException as error:
        causes = []
        while error is not None:
            causes.append([f"{type(error).__module__}.{type(error).__qualname__}", plain(text_of(error))])
            error = error.__cause__ or error.__context__
        return {"raised": causes}


def tried_each(values: Any, run: Callable[[Any], Any]) -> list[Any]:
    return [tried(functools.partial(run, value)) for value in values]


def text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as other:
        return f"<{type(other).__name__}>"


def said(value: Any) -> Any:
    if isinstance(value, dict):
        return value
    if isinstance(value, (list, tuple)) and not hasattr(value, "asm"):
        return [said(one) for one in value]
    if hasattr(value, "result") and not hasattr(value, "asm"):
        value = value.result()
    if hasattr(value, "asm"):
        ptx = hashlib.sha256(value.asm["ptx"].encode()).hexdigest()
        return {"kernel": value.name, "hash": value.hash, "ptx": ptx}
    return value if value is None or isinstance(value, (bool, int, float, str)) else plain(repr(value))


HEARD: list[Any] = []


def hook(place: str, answer: Any) -> Callable[..., Any]:
    def hear(**keywords: Any) -> Any:
        payload = keywords["compile"]
        compared = {name: plain(repr(payload[name])) for name in payload if name not in ("constants", "configs")}
        HEARD.append([place, sorted(keywords), plain(keywords["repr"]), keywords["is_manual_warmup"], compared])
        return answer

    return hear


def run_all() -> dict[str, Any]:
    if os.environ.get("FORMS_HOOKED"):
        for after in (False, True):
            if place := slot(after):
                setattr(*place, hook(place[1], None))
    serve: Callable[[str], Any] = lambda _name: _Nothing()  # noqa: E731
    if os.environ.get("FORMS_WATCHED"):
        import jitspan

        jitspan.activate()
        serve = lambda name: jitspan.request(name=name)  # noqa: E731
    results = {}
    for name, run in FORMS.items():
        GPU.launches.clear()
        HEARD.clear()
        with serve(name):
            result = tried(run)
        results[name] = {"result": result, "launches": [list(launch) for launch in GPU.launches], "heard": list(HEARD)}
        if name.startswith(("configurations", "two_conf", "values_that", "heuristics_in", "layouts_that", "a_tuning")):
            # Which one wins, and is compiled again or launched, is chance.
            results[name] |= {"launches": len(GPU.launches), "heard": len(HEARD)}
    return results


class _Nothing:
    def __enter__(self) -> None:
        pass

    def __exit__(self, *_error: object) -> None:
        pass
