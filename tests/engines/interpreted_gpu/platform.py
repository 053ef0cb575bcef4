"""vLLM's platform for CPUs, with a GPU's choices wherever they decide which Triton kernels run."""

import os
from typing import Any

from vllm.platforms.cpu import CpuPlatform


class InterpretedPlatform(CpuPlatform):
    @classmethod
    def check_and_update_config(cls, vllm_config: Any) -> None:
        from vllm.config import CompilationMode  # that module imports the platform

        parallel = vllm_config.parallel_config
        executor = parallel.distributed_executor_backend
        super().check_and_update_config(vllm_config)
        parallel.distributed_executor_backend = executor  # CPUs have "mp" for "uni"
        parallel.worker_cls = os.environ.get("INTERPRETED_WORKER", "interpreted_gpu.worker.InterpretedWorker")
        if not vllm_config.cache_config.user_specified_block_size:
            vllm_config.cache_config.block_size = 16
        vllm_config.compilation_config.mode = CompilationMode.NONE  # Inductor would write C++ for a CPU
        vllm_config.compilation_config.custom_ops = ["none"]  # the wheel has them for CUDA only

    @classmethod
    def import_kernels(cls) -> None:
        pass

    @classmethod
    def get_attn_backend_cls(cls, *_arguments: Any, **_options: Any) -> str:
        return "vllm.v1.attention.backends.triton_attn.TritonAttentionBackend"

    @classmethod
    def get_punica_wrapper(cls) -> str:
        return "vllm.lora.punica_wrapper.punica_gpu.PunicaWrapperGPU"

    @classmethod
    def get_device_communicator_cls(cls) -> str:
        return "vllm.distributed.device_communicators.base_device_communicator.DeviceCommunicatorBase"

    @classmethod
    def num_compute_units(cls, device_id: int = 0) -> int:
        return 132
