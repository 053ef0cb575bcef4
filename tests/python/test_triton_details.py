"""What an event says besides that it happened: times, launcher, constants, and the full form in verbose mode."""

from __future__ import annotations

import json

import pytest

SETUP = """
    import sys, threading, time, types
    import triton_truth as truth
    import triton, fake_gpu, jitspan
    import triton.backends
    import triton.language as tl
    from triton_truth import X, add, once, scale, tuned
"""


@pytest.fixture
def spans(scripts):
    def spans(source: str, **env: str):
        environment = {"OTEL_TRACES_EXPORTER": "console", "TRITON_PRINT_AUTOTUNING": "0", **env}
        finished = scripts.run(SETUP + source + "\n    jitspan.flush()\n", env=environment)
        assert finished.returncode == 0, finished.stderr
        assert "jitspan fault" not in finished.stderr
        return [json.loads(line) for line in finished.stdout.splitlines() if line.startswith('{"')]

    return spans


def only_event(spans, name="served"):
    (span,) = [span for span in spans if span["name"] == name]
    (event,) = span["events"]
    return event["attributes"]


def test_stages_are_timed_and_the_first_compile_of_the_process_is_marked(spans):
    found = spans("""
    jitspan.activate()
    with jitspan.request(name="served"):
        add[(1,)](X, 128, BLOCK=128)
    with jitspan.request(name="second"):
        add[(1,)](X, 128, BLOCK=256)
    """)
    first, second = only_event(found), only_event(found, "second")
    for event in (first, second):
        stages = {name.removeprefix("jit.stage."): time for name, time in event.items() if "stage" in name}
        assert {"ir_initialization", "ttir", "ttgir", "llir", "ptx", "cubin"} <= set(stages)
        assert 0 < sum(stages.values()) <= event["jit.duration"]
    assert first["jit.first_in_process"] is True
    assert "jit.first_in_process" not in second


LAUNCHER = """
    # A C compiler that takes its time, and the real launcher around it.
    driver = triton.backends.backends["nvidia"].driver
    module = driver.__init__.__globals__

    import triton.runtime.build

    triton.runtime.build._build = lambda *_, **__: time.sleep(0.2)
    if "_build" in module:
        module["_build"] = triton.runtime.build._build

    def load(*_arguments, **_options):
        if built_before:
            time.sleep(0.05)
        else:
            module.get("_build", triton.runtime.build._build)()
        return types.SimpleNamespace(launch=lambda *_: None)

    module["compile_module_from_src"] = load
    # It would look for libcuda.so.
    module["library_dirs"] = lambda: []
    truth.GPU.launcher_cls = module["CudaLauncher"]
    has_launcher = fake_gpu.TRITON_VERSION < (3, 7)
"""


LAUNCHER_BUILT = (
    LAUNCHER
    + """
    built_before = False
    if not has_launcher:
        sys.exit()
    jitspan.activate()
    with jitspan.request(name="served"):
        add[(1,)](X, 128, BLOCK=128)
"""
)


def test_a_launcher_that_is_built_is_a_stall_of_its_own_after_its_compile(spans):
    found = spans(LAUNCHER_BUILT)
    if not found:
        pytest.skip("this version builds no launcher")
    (served,) = [span for span in found if span["name"] == "served"]
    compile, launcher = served["events"]
    assert (compile["name"], launcher["name"]) == ("jit.compile", "jit.launcher")
    (own,) = [span for span in found if span["name"] == "jit.launcher"]
    assert own["parent"] == served["context"]
    assert own["ended"] - own["started"] >= 0.2e9
    compile, launcher = compile["attributes"], launcher["attributes"]
    assert launcher["jit.kernel.name"] == compile["jit.kernel.name"]
    assert launcher["jit.duration"] == launcher["jit.stage.launcher"] >= 0.2
    assert "jit.stage.launcher" not in compile
    whole, longest = served["attributes"]["jit.stall.time"], served["attributes"]["jit.stall.longest"]
    assert whole == pytest.approx(compile["jit.duration"] + launcher["jit.duration"], abs=0.001)
    assert longest == max(compile["jit.duration"], launcher["jit.duration"])
    assert served["attributes"]["jit.compile.count"] == 1


def test_a_launcher_is_no_compile_and_its_time_is_its_kernels(spans):
    found = spans(
        LAUNCHER_BUILT,
        OTEL_METRICS_EXPORTER="console",
    )
    if not found:
        pytest.skip("this version builds no launcher")
    (served,) = [span for span in found if span["name"] == "served"]
    compile, launcher = [event["attributes"]["jit.duration"] for event in served["events"]]
    # Of the exports the last one, after the flush.
    last = {metric["name"]: metric["data"] for metric in found if "data" in metric}
    series = [histogram for _, histogram in last["jit.compile.duration"]["Histogram"] if sum(histogram["counts"])]
    [histogram] = series
    assert (sum(histogram["counts"]), histogram["sum"]) == (1, pytest.approx(compile))
    assert sum(count for _, count in last["jit.compiles"]["Count"]) == 1
    [time] = [seconds for _, seconds in last["jit.kernel.time"]["Time"]]
    assert time == pytest.approx(compile + launcher)


def test_a_launcher_after_a_compile_that_nobody_waited_for_is_in_its_trace(spans):
    found = spans(
        LAUNCHER
        + """
    built_before = False
    if not has_launcher:
        sys.exit()
    jitspan.activate()
    add[(1,)](X, 128, BLOCK=128)
    """
    )
    if not found:
        pytest.skip("this version builds no launcher")
    compile, launcher = found
    assert (compile["name"], launcher["name"]) == ("jit.compile", "jit.launcher")
    assert launcher["parent"] == compile["context"]
    assert launcher["attributes"]["jit.stage.launcher"] >= 0.2


def test_a_launcher_is_waited_for_by_the_request_that_launches(spans):
    found = spans(
        LAUNCHER
        + """
    built_before = False
    if not has_launcher:
        sys.exit()
    jitspan.activate()
    with jitspan.request(name="compiles"):
        add.warmup(X, 128, BLOCK=128, grid=(1,))
    with jitspan.request(name="launches"):
        add[(1,)](X, 128, BLOCK=128)
    """
    )
    if not found:
        pytest.skip("this version builds no launcher")
    served = {span["name"]: [event["name"] for event in span["events"]] for span in found if span["events"]}
    assert served == {"compiles": ["jit.compile"], "launches": ["jit.launcher"]}


def test_a_launcher_that_was_built_before_adds_nothing(spans):
    found = spans(
        LAUNCHER
        + """
    built_before = True
    jitspan.activate()
    if has_launcher:
        add[(1,)](X, 128, BLOCK=128)
    """
    )
    assert "jit.launcher" not in [span["name"] for span in found]


def test_verbose_says_everything(spans):
    found = spans("""
    jitspan.activate(verbose=True)

    def the_caller():
        add[(1,)](X, 100, BLOCK=128)

    with jitspan.request(name="served"):
        the_caller()
    """)
    event = only_event(found)
    assert "x=*fp32" in event["jit.signature"]
    assert "n=i32" in event["jit.signature"]
    assert event["jit.constexprs"] == "BLOCK=128"
    assert "i32" in event["jit.key"]
    assert "the_caller" in event["code.stacktrace"]
    assert "num_warps=4" in event["jit.options"]


def test_constants_are_named_and_never_asked_for_their_repr(spans):
    found = spans("""
    class Loud:
        def __repr__(self):
            raise RuntimeError("asked")
        __str__ = __repr__

    kernel = truth.typed
    tuner = tuned(128, 256)
    jitspan.activate(verbose=True)
    with jitspan.request(name="served"):
        kernel[(1,)](X, 128, TYPE=tl.float16, BLOCK=128)
    tuner.configs[0].kwargs["LOUD"] = Loud()
    with jitspan.request(name="tuned"):
        try:
            tuner[once](X, 1000)
        except Exception:
            pass
    """)
    assert only_event(found)["jit.constexprs"] == "TYPE=fp16, BLOCK=128"
    assert not [span for span in found if "asked" in json.dumps(span["attributes"].get("jit.autotune.timings"))]


def test_amds_stages_are_timed(spans):
    found = spans("""
    from triton.backends.compiler import GPUTarget

    # Before, AMD's backend wants a linker or torch that is not here.
    if fake_gpu.TRITON_VERSION >= (3, 8):
        jitspan.activate()
        with jitspan.request(name="served"):
            triton.compile(truth.source(add, BLOCK=64), target=GPUTarget("hip", "gfx942", 64))
    """)
    if not found:
        pytest.skip("AMD's backend of this version needs ROCm or torch")
    assert {"jit.stage.llir", "jit.stage.amdgcn", "jit.stage.hsaco"} <= set(only_event(found))
