"""The model that `rust_host.rs` embeds: one Triton kernel, compiled once for each block size, warmed up for one."""

import os

import fake_gpu
import jitspan
import triton
import triton.language as tl

fake_gpu.install()

SCORES, WEIGHTS = fake_gpu.FakeTensor("float32"), fake_gpu.FakeTensor("float32")


@triton.jit  # type: ignore[untyped-decorator]
def attention_softmax(output, scores, length, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    column = tl.arange(0, BLOCK)
    inside = column < length
    score = tl.load(scores + column, mask=inside, other=-float("inf"))
    weight = tl.exp(score - tl.max(score, axis=0))
    tl.store(output + column, weight / tl.sum(weight, axis=0), mask=inside)


def generate(length: int) -> int:
    block: int = triton.next_power_of_2(length)
    attention_softmax[(1,)](WEIGHTS, SCORES, length, BLOCK=block)
    return block


generate(128)
# `jitspan` is the module that the Rust program has registered, not the wheel: the wheel could not see its spans.
jitspan.activate(mode="error" if os.environ.get("JIT_MONITOR_MODE") == "error" else "warn")
