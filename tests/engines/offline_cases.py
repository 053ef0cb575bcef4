"""What runs in a process of `offline.py`. Each function is a case; what it returns is its answer."""

from __future__ import annotations

import builtins
import importlib.util
import logging
import os
import pickle
import sys
import types
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import jitspan


def load_plugins() -> None:
    from vllm.plugins import load_general_plugins

    load_general_plugins()


class Logged(logging.Handler):
    """What jitspan says, whatever vLLM's configuration of logging makes of it."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []
        self.levels: list[str] = []
        logging.getLogger("jitspan").addHandler(self)
        logging.getLogger("jitspan").setLevel(logging.DEBUG)

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
        self.levels.append(record.levelname)


def row() -> dict[str, Any]:
    """vLLM's row of `status()`."""
    (found,) = (row for row in jitspan.status() if row.runtime == "vllm")
    return {"standing": found.standing, "missing": found.missing, "reason": found.reason, "faults": found.faults}


def wrappers() -> list[str]:
    """Functions of vLLM that are not its own any more, and finders of ours."""
    found = [type(finder).__name__ for finder in sys.meta_path if type(finder).__module__ == "jitspan"]
    for name, module in list(sys.modules.items()):
        if not name.startswith("vllm."):
            continue
        for owner in [module, *(value for value in vars(module).values() if isinstance(value, type))]:
            if getattr(owner, "__module__", name) == name:
                found += [key for key, value in vars(owner).items() if type(value).__name__ == "Wrapper"]
    return found


# --- An engine in this very process.


def engine(**options: Any) -> Any:
    from vllm import LLM

    sizes = {"max_model_len": 256, "max_num_seqs": 16, "max_num_batched_tokens": 128, "kv_cache_memory_bytes": 64 << 20}
    return LLM(os.environ["MODEL"], seed=0, **sizes, **options)


def add(llm: Any, name: str, traceparent: str | None, *, tokens: int = 2, adapter: Any = None, **options: Any) -> None:
    from vllm import SamplingParams

    parameters = SamplingParams(**({"temperature": 0, "max_tokens": tokens, "ignore_eos": True} | options))
    headers = {"traceparent": traceparent} if traceparent else None
    prompt = {"prompt_token_ids": [5, 6, 7, 8]}
    llm.llm_engine.add_request(name, prompt, parameters, lora_request=adapter, trace_headers=headers)


def finish(llm: Any) -> dict[str, list[int]]:
    finished: dict[str, list[int]] = {}
    while llm.llm_engine.has_unfinished_requests():
        for output in llm.llm_engine.step():
            if output.finished:
                finished[output.request_id] = list(output.outputs[0].token_ids)
    return finished


def requests_of_all_kinds(parents: dict[str, str]) -> dict[str, Any]:
    """One engine for all that can happen to a request; JITSPAN_MAX_REQUESTS is 2."""
    llm = engine()
    jitspan._vllm_plugin()  # once more
    answer: dict[str, Any] = {"armed": jitspan.is_active(), "status": row()}

    add(llm, "alone", parents["alone"])
    answer["alone"] = finish(llm)

    for number in range(3):
        add(llm, f"batch-{number}", parents[f"batch-{number}"], tokens=1, temperature=0.8, top_k=20, top_p=0.9)
    finish(llm)
    answer["omitted"] = jitspan.stats()["requests.omitted"]

    add(llm, "malformed", "00-nonsense", tokens=1, logprobs=3)
    answer["malformed"] = [finish(llm), jitspan.stats()["carriers.malformed"]]

    # Aborted after it has stalled; then its id comes again, for somebody else.
    add(llm, "again", parents["aborted"], tokens=8, temperature=0.8, top_p=0.9)
    llm.llm_engine.step()
    llm.llm_engine.abort_request(["again"])
    add(llm, "again", parents["again"], tokens=1, temperature=0.8, top_p=0.9)
    finish(llm)

    # Preempted between two of its steps, and begun anew.
    add(llm, "preempted", parents["preempted"], tokens=4)
    llm.llm_engine.step()
    llm.llm_engine.reset_prefix_cache(reset_running_requests=True)
    answer["preempted"] = finish(llm)

    if by_ray(llm):
        add(llm, "ray", parents["ray"], tokens=1, temperature=0.8, top_k=20)
        answer["ray"] = finish(llm)

    add(llm, "last", parents["last"], tokens=1)  # brings the ids of those before it
    finish(llm)
    llm.llm_engine.step()
    answer["kept"] = jitspan._vllm_kept()
    answer["faults"] = {name: count for name, count in jitspan.stats().items() if name.startswith("faults") and count}
    return answer


def one_request(parents: dict[str, str], tracing: str) -> dict[str, Any]:
    llm = engine(otlp_traces_endpoint=tracing, disable_log_stats=False)
    add(llm, "alone", parents["alone"])
    return {"tokens": finish(llm), "stats": jitspan.stats()}


def adapters(parents: dict[str, str], tracing: str) -> dict[str, Any]:
    """Requests with an adapter, alone and three together: their shapes meet kernels that the warm-up had not."""
    from vllm.lora.request import LoRARequest

    llm = engine(enable_lora=True, max_lora_rank=8, otlp_traces_endpoint=tracing, disable_log_stats=False)
    adapter = LoRARequest("tiny", 1, os.path.join(os.environ["MODEL"], "adapter"))
    add(llm, "alone", parents["alone"], tokens=3, adapter=adapter)
    tokens = finish(llm)
    for number in range(3):
        add(llm, f"together-{number}", None, tokens=3, adapter=adapter)
    finish(llm)
    return {"tokens": tokens, "stats": jitspan.stats()}


def for_a_picture(tracing: str) -> None:
    llm = engine(otlp_traces_endpoint=tracing, disable_log_stats=False)
    add(llm, "chat-4711", None, tokens=6, temperature=0.8, top_k=20, top_p=0.9)
    finish(llm)


def by_ray(llm: Any) -> bool:
    """From here on each step goes through vLLM's `RayWorkerWrapper.execute_model_ray`, pickled. Ray is not there.

    False: neither is that wrapper. Newer releases have no compiled graph."""
    names = ("ray", "ray.util", "ray.util.placement_group", "ray._private", "ray._private.state")
    sys.modules.update({name: types.ModuleType(name) for name in names})
    sys.modules["ray.util"].placement_group_table = None
    sys.modules["ray.util.placement_group"].PlacementGroup = None
    sys.modules["ray._private.state"].available_resources_per_node = None
    sys.modules.pop("vllm.v1.executor.ray_utils", None)
    ray_utils = importlib.import_module("vllm.v1.executor.ray_utils")
    if not hasattr(ray_utils, "RayWorkerWrapper"):
        return False
    executor = llm.llm_engine.engine_core.engine_core.model_executor
    wrapper = object.__new__(ray_utils.RayWorkerWrapper)
    wrapper.__dict__.update(executor.driver_worker.__dict__, compiled_dag_cuda_device_set=True)
    waiting: list[bytes] = []

    def done(value: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(value)
        return future

    def execute_model(scheduler_output: Any, non_block: bool = False) -> Any:
        waiting.append(pickle.dumps(scheduler_output))
        return done(None) if non_block else None

    def sample_tokens(grammar_output: Any, non_block: bool = False) -> Any:
        output = wrapper.execute_model_ray((pickle.loads(waiting.pop()), grammar_output))
        output = pickle.loads(pickle.dumps(output))
        return done(output) if non_block else output

    executor.execute_model, executor.sample_tokens = execute_model, sample_tokens
    return True


def a_platform_that_arms_nothing(parents: dict[str, str]) -> dict[str, Any]:
    logged = Logged()
    llm = engine()
    runner = llm.llm_engine.engine_core.engine_core.model_executor.driver_worker.worker.model_runner
    answer = {"armed": jitspan.is_active(), "said": [line for line in logged.lines if "activated" in line]}
    add(llm, "alone", parents["alone"])
    answer["alone"] = finish(llm)
    answer["runner"] = [base.__module__ for base in type(runner).__mro__]
    answer["status"] = row()
    return answer


# --- Without an engine: vLLM's own classes, and a runner that does nothing.


class Runner:
    compiles = False
    state: tuple[Any, ...] = (None, None, None)

    def execute_model(self, scheduler_output: Any, intermediate_tensors: Any = None, dummy_run: bool = False) -> None:
        self.state = scheduler_output, intermediate_tensors, dummy_run
        if self.compiles:
            compile_one()

    def sample_tokens(self, grammar_output: Any) -> Any:
        scheduler_output, *_ = self.state
        del grammar_output, scheduler_output
        from vllm.v1.outputs import ModelRunnerOutput

        return ModelRunnerOutput(req_ids=["x"], req_id_to_index={"x": 0})


class Worker:
    def __init__(self, jit_warmup: bool = True) -> None:
        self.rank = 0
        self.model_runner = Runner()
        kernels = types.SimpleNamespace(enable_jit_warmup=jit_warmup)
        self.vllm_config = types.SimpleNamespace(kernel_config=kernels)

    def init_device(self) -> None:
        pass

    def compile_or_warm_up_model(self) -> str:
        return "warm"


def wrapped(worker: Worker) -> Worker:
    """As an executor does it: what we stand on is found through vLLM's wrapper."""
    from vllm.config import VllmConfig
    from vllm.v1.worker.worker_base import WorkerWrapperBase

    wrapper = WorkerWrapperBase()
    wrapper.vllm_config = VllmConfig()
    wrapper.worker = worker
    wrapper.init_device()
    return worker


def step(new: list[str], scheduled: list[str], finished: list[str], headers: dict[str, Any] | None = None) -> Any:
    from vllm.v1.core.sched.output import NewRequestData, SchedulerOutput

    output = SchedulerOutput.make_empty()
    absent = dict.fromkeys(NewRequestData.__annotations__)
    output.scheduled_new_reqs = [NewRequestData(**(absent | {"req_id": name})) for name in new]
    output.num_scheduled_tokens = dict.fromkeys(scheduled, 1)
    output.finished_req_ids = set(finished)
    for request in output.scheduled_new_reqs:
        request.jitspan = (headers or {}).get(request.req_id, {}) | {"finished": finished}
    return pickle.loads(pickle.dumps(output))


def switched_off() -> dict[str, Any]:
    logged = Logged()
    load_plugins()
    worker = wrapped(Worker())
    worker.compile_or_warm_up_model()
    compile_one()
    return {
        "wrappers": wrappers(),
        "armed": jitspan.is_active(),
        "stats": jitspan.stats(),
        "said": logged.lines,
    }


def compile_one() -> None:
    # Not on the path: a library that vLLM imports looks for a package of this name.
    file = Path(__file__).parents[1] / "python/kernels.py"
    spec = importlib.util.spec_from_file_location("kernels_of_the_test", file)
    kernels = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(kernels)
    kernels.add[(1,)](kernels.OUTPUT, kernels.INPUT, kernels.INPUT, 64, BLOCK=128)


def the_flag_says(mode: str) -> dict[str, Any]:
    load_plugins()
    from vllm.utils import jit_monitor

    jit_monitor.activate(mode=mode)
    try:
        compile_one()
    except RuntimeError as error:
        return {"raised": type(error).__name__}
    return {"raised": None}


def forked(parent: str) -> dict[str, Any]:
    """vLLM's default on a GPU: the front end, where the plug-in is loaded, forks the engine core and its workers."""
    load_plugins()
    child = os.fork()
    if child == 0:
        worker = wrapped(Worker())
        worker.compile_or_warm_up_model()
        worker.model_runner.compiles = True
        worker.model_runner.execute_model(step(["a"], ["a"], [], {"a": {"traceparent": parent}}))
        worker.model_runner.sample_tokens(None)
        sys.exit(0)
    _, status = os.waitpid(child, 0)
    return {"status": status, "armed": jitspan.is_active(), "compiles": jitspan.stats()["events.compile"]}


def a_dummy_run(parent: str) -> dict[str, Any]:
    """Idle ranks of data parallelism, and profiling, run a step of nobody's; then `sample_tokens` alone."""
    load_plugins()
    worker = wrapped(Worker())
    worker.compile_or_warm_up_model()
    worker.model_runner.compiles = True
    worker.model_runner.execute_model(step(["a"], ["a"], [], {"a": {"traceparent": parent}}), None, True)
    worker.model_runner.sample_tokens(None)
    return {"stats": jitspan.stats(), "kept": jitspan._vllm_kept()}


def no_warm_up(parent: str) -> dict[str, Any]:
    """As with --enforce-eager; then a request."""
    logged = Logged()
    load_plugins()
    worker = wrapped(Worker(jit_warmup=False))
    returned = [worker.compile_or_warm_up_model(), worker.compile_or_warm_up_model()]
    worker.model_runner.compiles = True
    worker.model_runner.execute_model(step(["a"], ["a"], [], {"a": {"traceparent": parent}}))
    said = list(zip(logged.levels, logged.lines, strict=True))
    return {"armed": jitspan.is_active(), "returned": returned, "said": said}


def ten_thousand_requests(parent: str) -> dict[str, Any]:
    """Each has a context, runs for two steps, and is finished; one batch in 1,000 is cut short by an error."""
    load_plugins()
    worker = wrapped(Worker())
    before = jitspan._vllm_kept()
    running: list[str] = []
    most = 0
    for number in range(10_000):
        name = f"request-{number % 4_000}"  # ids come again
        finished, running = running[:-1], [*running[-1:], name]
        output = step([name], running, finished, {name: {"traceparent": parent}})
        worker.model_runner.execute_model(output)
        if number % 1000 != 999:
            worker.model_runner.sample_tokens(None)
        most = max(most, jitspan._vllm_kept()[0])
    worker.model_runner.execute_model(step(["x"], ["x"], running))
    worker.model_runner.sample_tokens(None)
    return {"before": before, "most": most, "kept": jitspan._vllm_kept(), "stats": jitspan.stats()}


def without(point: str) -> dict[str, Any]:
    """Hides every place of a point, so that vLLM still finds it and we do not."""
    logged = Logged()
    (known,) = (known for known in jitspan._engine_points() if known["point"] == point)
    for name, path in known["places"]:
        if known["variables"]:
            method = path.rpartition(".")[2]
            setattr(Runner, method, lambda _self, _output: types.SimpleNamespace(req_ids=["x"]))
            break
        if known["reached"] == "object":
            method = path.rpartition(".")[2]
            hide(Worker if method in vars(Worker) else Runner, method)
            break
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue
        owner, _, member = path.rpartition(".")
        if member == "__init__":  # each class has one
            owner, member = "", owner
        if point == "vllm.context":
            module.NewRequestData.__setstate__ = lambda self, state: vars(self).update(state)
            continue
        if not owner:
            # A global that is not there is looked for among the built-ins.
            if hasattr(module, member):
                setattr(builtins, member, vars(module).pop(member))
            continue
        for each in [getattr(module, owner)] if owner != "*" else list(vars(module).values()):
            if isinstance(each, type) and each.__module__ == name and member in vars(each):
                for base in reversed(each.__mro__):
                    if member in vars(base):
                        hide(base, member)
    load_plugins()
    worker = wrapped(Worker())
    worker.compile_or_warm_up_model()
    worker.model_runner.execute_model(step(["a"], ["a"], []))
    return {"status": row(), "said": logged.lines, "output": worker.model_runner.sample_tokens(None).req_ids}


def hide(owner: type, member: str) -> None:
    hidden = vars(owner)[member]
    delattr(owner, member)
    before = getattr(owner, "__getattr__", None)

    def find(self: Any, name: str) -> Any:
        if name == member:
            return hidden.__get__(self, owner)
        if before is None:
            raise AttributeError(name)
        return before(self, name)

    owner.__getattr__ = find
