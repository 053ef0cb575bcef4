"""What FlashInfer does when a module is asked for: real ninja and a real C++ compiler, and no nvcc.

`CUDA_HOME` is a folder of ours, whose `nvcc` hands a source on to the C++ compiler: what is in it is no CUDA.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from steps import event, main, request, step, watch

FOLDER = Path.cwd()
CUDA = FOLDER / "cuda"
NVCC = """#!/bin/sh
case "$*" in *--version*) echo "Cuda compilation tools, release 13.0, V13.0.88"; exit 0;; esac
for argument; do case "$argument" in *.cu) source=$argument;; *.o) object=$argument;; esac; done
exec c++ -fPIC -c -x c++ "$source" -o "$object"
"""


def prepare() -> None:
    (CUDA / "bin").mkdir(parents=True)
    (CUDA / "lib64").mkdir()
    (CUDA / "bin" / "nvcc").write_text(NVCC)
    (CUDA / "bin" / "nvcc").chmod(0o755)
    for name in ("cudart", "cuda", "nvrtc"):
        library = CUDA / "lib64" / f"lib{name}.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-x", "c", "/dev/null", "-o", str(library)], check=True)
    for name in ("first", "second", "third", "fourth"):
        (FOLDER / f"{name}.cu").write_text(f'extern "C" int {name}() {{ return 42; }}\n')
    (FOLDER / "wrong.cu").write_text("this is no C++\n")


if not CUDA.exists():
    prepare()
os.environ |= {
    "FLASHINFER_WORKSPACE_BASE": str(FOLDER),
    "FLASHINFER_CUDA_ARCH_LIST": "9.0a",
    "TORCH_CUDA_ARCH_LIST": "9.0a",
    "CUDA_HOME": str(CUDA),
    "PATH": os.pathsep.join([str(Path(sys.prefix) / "lib"), os.environ["PATH"]]),
}
watch()

from flashinfer.jit import core  # noqa: E402

try:
    from flashinfer.autotuner import autotuner as tuner
except ImportError:
    from flashinfer import autotuner as tuner

import torch  # noqa: E402

OLD = not hasattr(core, "JitSpecNvcc")


def spec(name: str, *sources: str) -> core.JitSpec:
    return core.gen_jit_spec(name, [FOLDER / f"{source}.cu" for source in sources or (name,)])


@step(event("compile", "first", "miss", "first_use"))
def a_module_that_is_nowhere():
    return type(spec("first").build_and_load()).__name__


@step(event("load", "first", "hit", "recompile"))
def a_ninja_run_with_nothing_to_do():
    return type(spec("first").build_and_load()).__name__


@step(event("compile", "first", "miss", "recompile"))
def a_source_that_has_changed():
    (FOLDER / "first.cu").write_text('extern "C" int first() { return 43; }\n')
    return type(spec("first").build_and_load()).__name__


@step(event("compile", "wrong", "miss", "first_use", error="RuntimeError"))
def a_source_that_does_not_compile():
    return spec("wrong").build_and_load()


@step(
    event("compile", "second", "miss", "first_use", request="in_a_thread_of_second"),
    event("compile", "third", "miss", "first_use", request="in_a_thread_of_third"),
)
def in_two_threads():
    from concurrent.futures import ThreadPoolExecutor

    def serve(name: str) -> str:
        with request(f"in_a_thread_of_{name}"):
            return type(spec(name).build_and_load()).__name__

    with ThreadPoolExecutor(2) as threads:
        return list(threads.map(serve, ("second", "third")))


@step()
def forbidden():
    os.environ["FLASHINFER_DISABLE_JIT"] = "1"
    try:
        return spec("fourth").build_and_load() if not OLD else None
    finally:
        del os.environ["FLASHINFER_DISABLE_JIT"]


class Runner(tuner.TunableRunner):
    def get_valid_tactics(self, *_arguments):
        return [0, 1]

    def forward(self, *arguments, **_options):
        return arguments[0]


def choose(size: int) -> int:
    config = tuner.TuningConfig()
    _, tactic = tuner.AutoTuner.get().choose_one("scale", [Runner()], config, [torch.ones(size)])
    return tactic


def miss(size: int) -> dict[str, str]:
    shapes = f"(torch.Size([{size}]),)" if OLD else f"(({size},),)"
    return event("tuner_miss", "scale", "miss", key=f"input_shapes={shapes}")


@step(*([miss(8)] if OLD else []))
def an_operation_that_nobody_tuned():
    return [choose(8) for _ in range(3)]


@step(miss(16))
def a_shape_that_no_tuning_covers():
    instance = tuner.AutoTuner.get()
    tuned = tuner.AutoTuner._get_cache_key("scale", Runner(), ((4,),), tuner.TuningConfig(), *(() if OLD else ((),)))
    instance.profiling_cache[tuned] = (0, 1, None) if OLD else (1, None)
    return [choose(16) for _ in range(3)]


@step()
def a_shape_that_a_tuning_covers():
    return choose(4)


if __name__ == "__main__":
    main()
