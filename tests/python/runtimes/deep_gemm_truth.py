"""What a call of DeepGEMM does, without a GPU: the real package's Python, down to the operators of its C++.

No kernel can be asked of those without a device. In their place stands what `deep_jit` does with a source: it makes
`<root>/tmp/<uuid>`, writes `kernel.cu`, runs the compiler in a child (`sh -c`), and renames the folder to
`<root>/cache/<name>.<hash>`; a kernel that is there is marked as used, and loaded.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from steps import event, main, request, step, watch

ROOT = Path.cwd() / "kernels"
NVCC = "sleep 0.3; cat kernel.cu > kernel.cubin"


def build(name: str, source: str, compiler: str = NVCC) -> None:
    """What `Runtime::compile` does."""
    digest = hashlib.md5(source.encode()).hexdigest()
    target = ROOT / "cache" / f"{name}.{digest}"
    if (target / ".committed").exists():
        os.utime(target / ".committed")
        # The binary is loaded.
        time.sleep(0.02)
        return
    folder = ROOT / "tmp" / str(uuid.uuid4())
    folder.mkdir(parents=True)
    (folder / "kernel.cu").write_text(source)
    finished = subprocess.run(["sh", "-c", f"cd {folder} && {compiler}"], check=False)
    if finished.returncode:
        raise RuntimeError("Assertion error: NVCC did not produce a valid CUBIN")
    (folder / ".committed").touch()
    target.parent.mkdir(exist_ok=True)
    folder.rename(target)


if "build" in sys.argv:
    # Another process with the same folder.
    for number in range(4):
        build("of_another_process", f"{time.time()} {number}")
    sys.exit()

os.environ |= {"DG_JIT_CACHE_DIR": str(ROOT), "CUDA_HOME": str(Path.cwd())}
watch()

import deep_gemm  # noqa: E402
import torch  # noqa: E402

MEMORY: set[tuple[str, int]] = set()
A, B, D = torch.ones(4), torch.ones(4), torch.ones(4)


def operator(*names: str, compiler: str = NVCC):
    """An operator of `_C` that needs kernels of these names, for the size of its first tensor."""

    def call(*arguments: object) -> None:
        size = next(argument for argument in arguments if isinstance(argument, torch.Tensor)).numel()
        for name in names:
            key = (name, size)
            if key not in MEMORY:
                build(name, f"{name}<{size}>", compiler)
                MEMORY.add(key)

    return call


deep_gemm._C.bf16_gemm_nt = operator("sm90_bf16_gemm")
deep_gemm._C.bf16_gemm_nn = operator("sm90_broken", compiler="sleep 0.1; false")
deep_gemm._C.einsum = operator("sm90_transpose", "sm90_bmm")
NEW = "new_specialization"


@step(event("compile", "sm90_bf16_gemm", "miss", "first_use"))
def a_kernel_that_is_nowhere():
    return deep_gemm.bf16_gemm_nt(A, B, D)


@step()
def a_kernel_in_memory():
    return {deep_gemm.bf16_gemm_nt(A, B, D) for _ in range(100)}


@step(event("compile", "sm90_bf16_gemm", "miss", NEW))
def another_shape():
    return deep_gemm.bf16_gemm_nt(torch.ones(8), B, D)


@step(event("load", "sm90_bf16_gemm", "hit", "recompile"))
def a_kernel_of_the_folder():
    MEMORY.clear()
    return deep_gemm.bf16_gemm_nt(torch.ones(8), B, D)


@step(event("compile", "sm90_transpose", "miss", "first_use"), event("compile", "sm90_bmm", "miss", "first_use"))
def two_kernels_in_one_call():
    return deep_gemm.einsum("bmk,bnk->bmn", A, B, D)


@step(event("compile", "bf16_gemm_nn", "miss", "first_use", error="RuntimeError"))
def a_source_that_does_not_compile():
    return deep_gemm.bf16_gemm_nn(A, B, D)


@step()
def a_call_with_wrong_arguments():
    return deep_gemm.bf16_gemm_nt(A)


@step(event("compile", "sm90_bf16_gemm", "miss", NEW))
def while_another_process_builds():
    with subprocess.Popen([sys.executable, __file__, "build"]):
        time.sleep(0.1)
        return deep_gemm.bf16_gemm_nt(torch.ones(16), B, D)


@step()
def a_slow_call_while_another_process_builds():
    """It waits for the device, say."""
    deep_gemm._C.bf16_gemm_tt = lambda *_arguments: time.sleep(0.04)
    with subprocess.Popen([sys.executable, __file__, "build"]) as other:
        while other.poll() is None:
            deep_gemm.bf16_gemm_tt(A, B, D)


@step(
    event("compile", "sm90_bf16_gemm", "miss", NEW, request="in_a_thread_of_32"),
    event("compile", "sm90_bf16_gemm", "miss", NEW, request="in_a_thread_of_64"),
)
def in_two_threads():
    def serve(size: int) -> None:
        with request(f"in_a_thread_of_{size}"):
            return deep_gemm.bf16_gemm_nt(torch.ones(size), B, D)

    with ThreadPoolExecutor(2) as threads:
        return list(threads.map(serve, (32, 64)))


if __name__ == "__main__":
    main()
