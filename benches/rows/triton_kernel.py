"""A kernel of Triton's on the fake GPU."""

from __future__ import annotations

import os
import sys
import tempfile

from support import ROOT, has, skip

os.environ["TRITON_PRINT_AUTOTUNING"] = "0"
os.environ.setdefault("TRITON_CACHE_DIR", tempfile.mkdtemp(prefix="bench-triton-"))


def launcher():
    """The kernel, and a function that launches it."""
    if not has("triton"):
        skip("no Triton here: `make bench` installs it")
    sys.path.insert(0, str(ROOT / "examples"))
    import fake_gpu
    import triton
    import triton.language as tl

    fake_gpu.install()

    @triton.jit
    def scale(x, n, BLOCK: tl.constexpr):
        index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
        tl.store(x + index, tl.load(x + index, mask=index < n) * 2, mask=index < n)

    x = fake_gpu.FakeTensor("float32")
    return scale, lambda: scale[(1,)](x, 128, BLOCK=128)
