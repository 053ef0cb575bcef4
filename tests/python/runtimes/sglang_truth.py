"""What SGLang's `load_jit` does: real ninja and a real C++ compiler. Kernels of CUDA go the same way, with nvcc."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from steps import event, main, request, step, watch

FOLDER = Path.cwd()
CUDA = FOLDER / "cuda"
if not CUDA.exists():
    (CUDA / "bin").mkdir(parents=True)
    # Only asked for its version, which goes into the key of the cache.
    (CUDA / "bin" / "nvcc").write_text('#!/bin/sh\necho "Cuda compilation tools, release 13.0, V13.0.88"\n')
    (CUDA / "bin" / "nvcc").chmod(0o755)
    (FOLDER / "add.cc").write_text("static int64_t add(int64_t x) { return x + OFFSET; }\n")
    (FOLDER / "wrong.cc").write_text("this is no C++\n")
os.environ |= {
    "SGLANG_JIT_CACHE_DIR": str(FOLDER / "kernels"),
    "SGLANG_CACHE_DIR": str(FOLDER / "cache"),
    "CUDA_HOME": str(CUDA),
    "TVM_FFI_CUDA_ARCH_LIST": "9.0a",
    "PATH": os.pathsep.join([str(Path(path) / "bin") for path in sys.path if "sglang" in path] + [os.environ["PATH"]]),
}
watch()

from sglang.kernels.jit.utils import load_jit  # noqa: E402
from sglang.kernels.jit.utils.compile import loader  # noqa: E402

NEW = "new_specialization"


def load(*arguments: str, offset: int = 0, source: str = "add") -> int:
    module = load_jit(
        *arguments,
        cpp_files=[str(FOLDER / f"{source}.cc")],
        cpp_wrappers=[("add", "add")],
        extra_cflags=[f"-DOFFSET={offset}"],
    )
    return module.add(1)


@step(event("compile", "plus", "miss", "first_use"))
def a_module_that_is_nowhere():
    return load("plus", "3", offset=3)


@step(event("load", "plus", "hit", "recompile"))
def a_module_of_the_cache():
    return load("plus", "3", offset=3)


@step(event("compile", "plus", "miss", NEW, "argument 1: 3 -> 5"))
def another_specialization():
    return load("plus", "5", offset=5)


@step(event("compile", "wrong", "miss", "first_use", error="RuntimeError"))
def a_source_that_does_not_compile():
    try:
        return load("wrong", source="wrong")
    except Exception as error:
        return type(error).__name__


@step(event("compile", "forbidden", "miss", "first_use", error="RuntimeError"))
def a_compile_that_the_operator_forbids():
    os.environ["SGLANG_CRASH_ON_JIT_COMPILE"] = "1"
    try:
        return load("forbidden")
    except RuntimeError as error:
        return "forbids compiling" in str(error)
    finally:
        del os.environ["SGLANG_CRASH_ON_JIT_COMPILE"]


@step(
    event("compile", "first", "miss", "first_use", request="in_a_thread_of_first"),
    event("compile", "second", "miss", "first_use", request="in_a_thread_of_second"),
)
def in_two_threads():
    def serve(name: str) -> int:
        with request(f"in_a_thread_of_{name}"):
            return load(name)

    with ThreadPoolExecutor(2) as threads:
        return list(threads.map(serve, ("first", "second")))


@step(event("load", "sgl_kernel_jit_plus_3", "hit", "first_use"))
def a_library_that_is_loaded_by_itself():
    [library] = [path for path in (FOLDER / "kernels").rglob("*plus_3.so")]
    return loader._load(library).add(1)


if __name__ == "__main__":
    main()
