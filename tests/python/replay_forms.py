"""Ways to call a kernel that a server has at module level, each with several points: what a manifest must bring back.

    python replay_forms.py record    # launches all of them with jitspan armed
    python replay_forms.py replay    # preloads the manifest, then launches all of them again
    python replay_forms.py again     # only launches

Prints what compiled, by form, and each kernel's hash, as its last line.
"""

from __future__ import annotations

import enum
import json
import os
import sys
import types
from collections.abc import Callable
from typing import Any, NamedTuple

import fake_gpu
import triton
import triton.language as tl
import triton.runtime.jit

VERSION = fake_gpu.TRITON_VERSION
GPU = fake_gpu.install()
JITFunction = triton.runtime.jit.JITFunction

if VERSION < (3, 2):
    # This old autotuner imports torch to ask for a GPU, and benchmarks with a function of its own.
    sys.modules["torch"] = types.ModuleType("torch")
    sys.modules["torch"].cuda = types.SimpleNamespace(is_available=lambda: False)
    import triton.runtime.autotuner

    triton.runtime.autotuner.do_bench = lambda call, **_options: fake_gpu.benchmark(call)

import jitspan  # noqa: E402

X, Y, HALF, BRAIN = (fake_gpu.FakeTensor(name) for name in ("float32", "float32", "float16", "bfloat16"))
BYTES, LONG, UNALIGNED = fake_gpu.FakeTensor("int8"), fake_gpu.FakeTensor("int64"), fake_gpu.FakeTensor(offset=4)

FORMS: dict[str, list[Callable[[], Any]]] = {}


def form(name: str, *launches: Callable[[], Any], since: tuple[int, int] = (3, 0)) -> None:
    if since <= VERSION:
        FORMS[name] = list(launches)


class Color(enum.Enum):
    RED = 1
    BLUE = 2


class Level(enum.IntEnum):
    HIGH = 3


class Pair(NamedTuple):
    left: Any
    right: Any


class Frame(NamedTuple):
    base: Any
    inner: Any


@triton.jit
def double(value):
    return value * 2


@triton.jit
def triple(value):
    return value * 3


# Each form has kernels of its own, so that the first launch of each point compiles.


@triton.jit
def plain(x, n, BLOCK: tl.constexpr):
    index = tl.arange(0, BLOCK)
    tl.store(x + index, tl.load(x + index, mask=index < n) + n, mask=index < n)


form("number: multiple of 16", lambda: plain[(1,)](X, 32, BLOCK=64))
form("number: other", lambda: plain[(1,)](X, 17, BLOCK=64))
form("number: one", lambda: plain[(1,)](X, 1, BLOCK=64))
form("number: 64 bits", lambda: plain[(1,)](X, 1 << 40, BLOCK=64), lambda: plain[(1,)](X, (1 << 40) + 1, BLOCK=64))
form("number: unsigned", lambda: plain[(1,)](X, 1 << 63, BLOCK=64), lambda: plain[(1,)](X, (1 << 63) + 1, BLOCK=64))
form("number: negative", lambda: plain[(1,)](X, -16, BLOCK=128), lambda: plain[(1,)](X, -7, BLOCK=128))
form("float", lambda: plain[(1,)](X, 0.5, BLOCK=64))
form("bool", lambda: plain[(1,)](X, True, BLOCK=64), lambda: plain[(1,)](X, False, BLOCK=32))
form("pointer: types", *(lambda of=of: plain[(1,)](of, 32, BLOCK=64) for of in (HALF, BRAIN, BYTES, LONG)))
form("pointer: unaligned", lambda: plain[(1,)](UNALIGNED, 32, BLOCK=64))
form("constant", lambda: plain[(1,)](X, 32, BLOCK=16), lambda: plain[(1,)](X, 32, BLOCK=256))
form("by keyword, in another order", lambda: plain[(1,)](BLOCK=512, n=48, x=X))


@triton.jit
def opted(x, n, BLOCK: tl.constexpr = 64):
    index = tl.arange(0, BLOCK)
    tl.store(x + index, n, mask=index < n)


form("option: warps", lambda: opted[(1,)](X, 32, num_warps=8), lambda: opted[(1,)](X, 32, num_warps=2))
form(
    "option: order",
    lambda: opted[(1,)](X, 17, num_warps=2, num_stages=2),
    lambda: opted[(1,)](X, 17, num_stages=2, num_warps=2),
)
form("option: debug", lambda: opted[(1,)](X, 19, debug=True, num_warps=1))
form("option: fusion", lambda: opted[(1,)](X, 32, enable_fp_fusion=False))
form("default", lambda: opted[(1,)](X, 32), lambda: opted[(1,)](X, 1))


@triton.jit
def absent(x, y, n):
    index = tl.arange(0, 64)
    value = index + n
    if y is not None:
        value += tl.load(y + index).to(tl.int32)
    tl.store(x + index, value.to(tl.float32))


form("none", lambda: absent[(1,)](X, None, 32), lambda: absent[(1,)](X, Y, 32))


@triton.jit
def annotated(x, n: tl.int32, m: tl.int64, BLOCK: tl.constexpr):
    index = tl.arange(0, BLOCK)
    tl.store(x + index, (index + n + m).to(tl.float32), mask=index < n)


form(
    "annotated",
    lambda: annotated[(1,)](X, 16, 16, BLOCK=64),
    lambda: annotated[(1,)](X, 1, 16, BLOCK=64),
    lambda: annotated[(1,)](X, 17, 1, BLOCK=64),
    lambda: annotated[(1,)](X, 17, 17, BLOCK=64),
)
# A bool is no whole number to it. (3.0 and 3.1 specialize it as one, which the signature does not show.)
form("annotated: bool", lambda: annotated[(1,)](X, True, 16, BLOCK=32), since=(3, 3))


@triton.jit
def annotated_float(x, f: tl.float32, flag: tl.int1):
    index = tl.arange(0, 64)
    tl.store(x + index, index * f + flag)


form(
    "annotated: float",
    lambda: annotated_float[(1,)](X, 0.5, True),
    lambda: annotated_float[(1,)](HALF, 3, 1),
    since=(3, 3),
)


@triton.jit(do_not_specialize=["n"])
def unspecialized(x, n, BLOCK: tl.constexpr):
    index = tl.arange(0, BLOCK)
    tl.store(x + index, n, mask=index < n)


form("not specialized", lambda: unspecialized[(1,)](X, 1, BLOCK=64), lambda: unspecialized[(1,)](HALF, 32, BLOCK=64))


@triton.jit
def constants(x, A: tl.constexpr, B: tl.constexpr):  # noqa: ARG001
    index = tl.arange(0, 64)
    if A is None:
        tl.store(x + index, 0)
    else:
        tl.store(x + index, 1)


form(
    "constant: text",
    lambda: constants[(1,)](X, 'it\'s {a} "text", \n(1)', 1),
    lambda: constants[(1,)](X, "ünï ☃", 2),
    lambda: constants[(1,)](X, "", 2),
)
form(
    "constant: fraction",
    lambda: constants[(1,)](X, 0.1, 3),
    lambda: constants[(1,)](X, 1 / 3, 3),
    lambda: constants[(1,)](X, -0.0, 3),
    lambda: constants[(1,)](X, 5e-324, 3),
)
form("constant: infinite", lambda: constants[(1,)](X, float("inf"), 4), lambda: constants[(1,)](X, float("-inf"), 4))
form("constant: big", lambda: constants[(1,)](X, 1 << 80, 5), lambda: constants[(1,)](X, -(1 << 60), 5))
form("constant: bool and None", *(lambda of=of: constants[(1,)](X, of, 6) for of in (True, False, None)))
form("constant: tuple", lambda: constants[(1,)](X, (1, (2.5, "a"), ()), 7), lambda: constants[(1,)](X, (1,), 7))
form("constant: type", lambda: constants[(1,)](X, tl.float16, 8), lambda: constants[(1,)](X, tl.int8, 8))
form("constant: enum", lambda: constants[(1,)](X, Color.RED, 9), lambda: constants[(1,)](X, Color.BLUE, 9))
form("constant: named tuple", lambda: constants[(1,)](X, Pair(1, "b"), 11))
form("constant: constexpr", lambda: constants[(1,)](X, tl.constexpr(5), 12), since=(3, 3))
form("constant: tuple of types", lambda: constants[(1,)](X, (tl.float16, tl.int8), 13))


@triton.jit
def applied(x, FUNCTION: tl.constexpr):
    index = tl.arange(0, 64)
    tl.store(x + index, FUNCTION(index.to(tl.float32)))


# A kernel as a constant is refused by Triton before 3.3 (`callable`).
form("constant: kernel", lambda: applied[(1,)](X, double), lambda: applied[(1,)](X, triple), since=(3, 3))


@triton.jit
def first_of(x, pair):
    index = tl.arange(0, 64)
    tl.store(x + index, pair[0])


@triton.jit
def nested(x, pair):
    index = tl.arange(0, 64)
    tl.store(x + index, pair[1][0])


form(
    "tuple",
    lambda: first_of[(1,)](X, (1, 16, 17)),
    lambda: first_of[(1,)](X, (3, X)),
    lambda: first_of[(1,)](X, (0.5, None)),
    since=(3, 3),
)
form("tuple: nested", lambda: nested[(1,)](X, (X, (3, Y))), lambda: nested[(1,)](X, (X, (16, (1,)))), since=(3, 3))
form(
    "tuple: named", lambda: first_of[(1,)](X, Pair(5.5, X)), lambda: nested[(1,)](X, Frame(X, Pair(7, 1))), since=(3, 3)
)
form("tuple: constexpr inside", lambda: first_of[(1,)](X, (tl.constexpr(3), 4)), since=(3, 3))


@triton.jit
def outer(x, n):
    index = tl.arange(0, 64)
    tl.store(x + index, double(index + n))


form("a kernel that calls another", lambda: outer[(1,)](X, 4))


@triton.heuristics({"EVEN": lambda arguments: arguments["n"] % 2 == 0})
@triton.jit
def judged(x, n, EVEN: tl.constexpr):
    index = tl.arange(0, 64)
    tl.store(x + index, n + EVEN)


form("heuristics", lambda: judged[(1,)](X, 32), lambda: judged[(1,)](X, 33))


class Held:
    @staticmethod
    @triton.jit
    def kernel(x, n):
        tl.store(x + tl.arange(0, 64), n)


form("in a class", lambda: Held.kernel[(1,)](X, 32), lambda: Held.kernel[(1,)](X, 1))


def made(factor: int):
    scale = tl.constexpr(factor)

    @triton.jit
    def kernel(x, n):
        tl.store(x + tl.arange(0, 64), n * scale)

    return kernel


MADE = {"three": made(3), "five": made(5)}
# What a function around a kernel has is not seen before 3.3.
form("made by a function", lambda: MADE["three"][(1,)](X, 32), lambda: MADE["five"][(1,)](HALF, 32), since=(3, 3))


@triton.jit
def shadowed(x, n):
    tl.store(x + tl.arange(0, 64), n + 1)


FIRST = shadowed


@triton.jit
def shadowed(x, n):
    tl.store(x + tl.arange(0, 64), n + 2)


form("one name, two kernels", lambda: FIRST[(1,)](X, 32), lambda: shadowed[(1,)](X, 32))

GENERATED = types.ModuleType("replay_generated")
GENERATED.__file__ = os.path.join(os.environ["REPLAY_FOLDER"], "replay_generated.py")
SOURCE = """import triton
import triton.language as tl


@triton.jit
def generated(x, n):
    tl.store(x + tl.arange(0, 64), n * 3)
"""
with open(GENERATED.__file__, "w") as file:
    file.write(SOURCE)
sys.modules["replay_generated"] = GENERATED
exec(compile(SOURCE, GENERATED.__file__, "exec"), vars(GENERATED))
form("in a generated module", lambda: GENERATED.generated[(1,)](X, 32), lambda: GENERATED.generated[(1,)](X, 1))

HOOKED: list[int] = []


@triton.jit
def hooked(x, n):
    tl.store(x + tl.arange(0, 64), n)


# Made for real arguments.
hooked.add_pre_run_hook(lambda x, n, **_options: HOOKED.append(n + x._address))
form("with a hook before the run", lambda: hooked[(1,)](X, 32))


@triton.jit
def read_only(x: tl.const, y, n):
    index = tl.arange(0, 64)
    tl.store(y + index, tl.load(x + index) + n)


form("read only", lambda: read_only[(1,)](X, Y, 32), lambda: read_only[(1,)](UNALIGNED, Y, 1))

BLOCKS = [triton.Config({"BLOCK": size}, num_warps=warps) for size in (64, 128) for warps in (2, 4)]


def block(x, n, BLOCK: tl.constexpr):
    index = tl.arange(0, BLOCK)
    tl.store(x + index, n, mask=index < n)


tuned = triton.autotune(configs=BLOCKS, key=["n"])(triton.jit(block))
form("tuned", lambda: tuned[(1,)](X, 32), lambda: tuned[(1,)](X, 33), lambda: tuned[(1,)](HALF, 32))


@triton.autotune(
    configs=[triton.Config({"BLOCK": size}, pre_hook=lambda _arguments: None) for size in (64, 128)], key=["n"]
)
@triton.jit
def tuned_with_a_hook(x, n, BLOCK: tl.constexpr):
    tl.store(x + tl.arange(0, BLOCK), n)


form("tuned, with a hook", lambda: tuned_with_a_hook[(1,)](X, 32))


def prune(_configurations, arguments, **_keywords):
    return [triton.Config({"BLOCK": size * (2 if arguments["n"] > 16 else 1)}, num_warps=1) for size in (32, 64)]


@triton.autotune(configs=BLOCKS, key=["n"], prune_configs_by={"early_config_prune": prune})
@triton.jit
def tuned_by_a_pruner(x, n, BLOCK: tl.constexpr):
    tl.store(x + tl.arange(0, BLOCK), n + 1)


form("tuned, made by the pruner", lambda: tuned_by_a_pruner[(1,)](X, 32), lambda: tuned_by_a_pruner[(1,)](X, 3))


@triton.autotune(configs=BLOCKS[:2], key=["n"])
@triton.heuristics({"EVEN": lambda arguments: arguments["n"] % 2 == 0})
@triton.jit
def tuned_and_judged(x, n, BLOCK: tl.constexpr, EVEN: tl.constexpr):
    tl.store(x + tl.arange(0, BLOCK), n + EVEN)


form("tuned over heuristics", lambda: tuned_and_judged[(1,)](X, 32))


@triton.autotune(configs=BLOCKS[:2], key=["n", "flag"])
@triton.jit
def tuned_by_keyword(x, n, flag, BLOCK: tl.constexpr):
    tl.store(x + tl.arange(0, BLOCK), n + flag)


form("tuned, by keyword", lambda: tuned_by_keyword[(1,)](flag=True, n=32, x=X))


class Sized:
    """torch's dtype, as a descriptor reads it."""

    itemsize = 4
    is_floating_point = True

    def __str__(self) -> str:
        return "torch.float32"


def described(*block: int) -> Any:
    from triton.tools.tensor_descriptor import TensorDescriptor

    tensor = fake_gpu.FakeTensor("float32")
    tensor.dtype = Sized()
    strides = [1] if len(block) == 1 else [64, 1]
    return TensorDescriptor(tensor, [64] * len(block), strides, list(block))


@triton.jit
def descriptor(x, description):
    tl.store(x + tl.arange(0, 16), description.load([0]))


@triton.jit
def descriptor_of_two(x, description):
    block = description.load([0, 0])
    tl.store(x + tl.arange(0, 16), tl.sum(block, axis=0))


form(
    "descriptor",
    lambda: descriptor[(1,)](X, described(16)),
    lambda: descriptor_of_two[(1,)](X, described(32, 16)),
    since=(3, 4),
)

if VERSION >= (3, 5):
    from triton.experimental import gluon
    from triton.experimental.gluon import language as gl

    @gluon.jit
    def laid(x, LAYOUT: gl.constexpr, B: gl.constexpr):
        index = gl.arange(0, B, layout=LAYOUT)
        gl.store(x + index, gl.load(x + index) + 1)

    BLOCKED = gl.BlockedLayout([1], [32], [4], [0])
    WIDE = gl.BlockedLayout([2], [32], [4], [0])
    SLICED = gl.SliceLayout(0, gl.BlockedLayout([1, 1], [1, 32], [1, 4], [1, 0]))
    form("layout", *(lambda of=of: laid[(1,)](X, of, 128) for of in (BLOCKED, WIDE, SLICED)))

if VERSION >= (3, 9):
    STARRED = """
@triton.jit
def starred(x, *rest):
    tl.store(x + tl.arange(0, 64), rest[0])
"""
    path = os.path.join(os.environ["REPLAY_FOLDER"], "replay_starred.py")
    with open(path, "w") as file:
        file.write(f"import triton\nimport triton.language as tl\n\n{STARRED}")
    STARRED_MODULE = types.ModuleType("replay_starred")
    STARRED_MODULE.__file__ = path
    sys.modules["replay_starred"] = STARRED_MODULE
    exec(compile(f"import triton\nimport triton.language as tl\n\n{STARRED}", path, "exec"), vars(STARRED_MODULE))
    form(
        "starred parameters",
        lambda: STARRED_MODULE.starred[(1,)](X, 4, 5),
        lambda: STARRED_MODULE.starred[(1,)](X, 16, X, 1),
    )


def launch_all() -> dict[str, Any]:
    """By form: what each launch compiled or tuned, as jitspan counts it, and the hashes of the kernels."""
    seen: dict[str, Any] = {}
    for name, launches in FORMS.items():
        before = counted()
        hashes, failures = [], []
        for launch in launches:
            try:
                with jitspan.request(name=name):
                    kernel = launch()
                hashes.append(getattr(kernel, "hash", None))
            except Exception as error:
                failures.append(f"{type(error).__name__}: {error}"[:300])
        seen[name] = {"events": counted() - before, "hashes": hashes, "failures": failures}
    return seen


def counted() -> int:
    stats = jitspan.stats()
    return sum(stats.get(f"events.{kind}", 0) for kind in ("compile", "load", "autotune"))


def main(task: str) -> None:
    counts = jitspan.preload() if task == "replay" else None
    jitspan.activate()
    forms = launch_all()
    result = {"preload": counts, "forms": forms, "stats": jitspan.stats(), "hooked": len(HOOKED)}
    result["status"] = jitspan.status()[0].preloaded
    jitspan.flush()
    print(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1])
