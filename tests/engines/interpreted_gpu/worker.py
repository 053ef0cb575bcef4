"""vLLM's worker for CPUs with the GPU worker's warm-up, which arms `jit_monitor` at its end."""

import contextlib
import ctypes
import os
import subprocess
import sys
import tempfile
from typing import Any

import torch


def load_custom_operators() -> None:
    """vLLM asks for their schemas; none is called here. Their library wants a CUDA driver: an empty one will do."""
    with tempfile.TemporaryDirectory() as folder:
        driver = os.path.join(folder, "libcuda.so.1")
        command = ["cc", "-shared", "-Wl,-soname,libcuda.so.1", "-o", driver, "-xc", "/dev/null"]
        subprocess.run(command, check=True)
        ctypes.CDLL(driver)
    flags = sys.getdlopenflags()
    sys.setdlopenflags(os.RTLD_LAZY)  # else its symbols are looked for now
    try:
        import vllm._C_stable_libtorch  # noqa: F401
    finally:
        sys.setdlopenflags(flags)


def pretend_a_device() -> None:
    # The one operator that vLLM's worker for CPUs calls; only vLLM's wheel for CPUs has it.
    library = torch.library.Library("_C", "FRAGMENT")
    library.define("init_cpu_memory_env(int[] nodes) -> ()")
    library.impl("init_cpu_memory_env", lambda _nodes: None, "CompositeExplicitAutograd")
    if not hasattr(torch.ops._C, "greedy_argmax"):  # from 0.33 on, in CUDA's library only
        library.define("greedy_argmax(Tensor logits) -> Tensor")
        library.impl("greedy_argmax", lambda logits: logits.argmax(dim=-1), "CompositeExplicitAutograd")
    pretend_a_device.library = library  # its operators go when it goes

    torch_tensor = torch.tensor
    torch.tensor = lambda *arguments, **options: torch_tensor(*arguments, **(options | {"pin_memory": False}))
    torch.cuda.stream = lambda *_arguments: contextlib.nullcontext()
    torch.cuda.get_device_capability = lambda *_arguments: (9, 0)


load_custom_operators()
pretend_a_device()

from vllm.v1.worker.cpu_worker import CPUWorker  # noqa: E402
from vllm.v1.worker.gpu_worker import Worker  # noqa: E402


class InterpretedWorker(CPUWorker):
    def __init__(self, **arguments: Any) -> None:
        # torch's store over TCP would listen on every interface; a file is enough for ranks on one machine.
        store = os.path.join(tempfile.gettempdir(), f"interpreted-gpu-{arguments['vllm_config'].instance_id}")
        super().__init__(**(arguments | {"distributed_init_method": f"file://{store}"}))

    def compile_or_warm_up_model(self) -> Any:
        return Worker.compile_or_warm_up_model(self)


class UnmonitoredWorker(InterpretedWorker):
    """As on a platform that does not know of vLLM's `jit_monitor`: its warm-up ends, and nobody is told."""

    def compile_or_warm_up_model(self) -> Any:
        return CPUWorker.compile_or_warm_up_model(self)
