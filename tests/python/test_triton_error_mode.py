"""Error mode raises for what was unexpected, once, after it was recorded; and the next launch works."""

from __future__ import annotations

import pytest

SETUP = """
    import json, sys, threading
    import triton_truth as truth
    import triton, fake_gpu, jitspan
    from triton_truth import X, add, once, scale, tuned

    outcomes = []

    def attempt(call):
        try:
            call()
            outcomes.append("works")
        except jitspan.UnexpectedCompileError as error:
            outcomes.append("raises")
        except Exception as error:
            outcomes.append(type(error).__name__)

    def counted():
        counts = jitspan.stats().items()
        return {name: count for name, count in counts if name.startswith(("events", "faults")) and count}

    def report():
        print(json.dumps([outcomes, counted(), len(truth.GPU.launches)]))
"""


@pytest.fixture
def run(scripts):
    def run(source: str):
        environment = {"OTEL_TRACES_EXPORTER": "none", "TRITON_PRINT_AUTOTUNING": "0"}
        return scripts.run(SETUP + source, env=environment).json()

    return run


def test_a_compile_raises_and_the_next_launch_works(run):
    outcomes, events, launches = run("""
    jitspan.activate(mode="error")
    for _ in range(3):
        attempt(lambda: add[(1,)](X, 100, BLOCK=128))
    report()
    """)
    assert (outcomes, launches) == (["raises", "works", "works"], 2)
    # Up to 3.1 there is no hook after Triton has kept the kernel: it comes from disk then, which is no accident.
    assert events in ({"events.compile": 1}, {"events.compile": 1, "events.load": 1})


def test_a_tuning_raises_and_the_next_launch_is_tuned(run):
    outcomes, events, _ = run("""
    tuner = tuned(128, 256)
    tuner[once](X, 1000)
    before = dict(vars(tuner))
    jitspan.activate(mode="error")
    attempt(lambda: tuner[once](X, 1001))
    attempt(lambda: tuner[once](X, 1001))
    assert tuner.pre_hook is before["pre_hook"], "something of ours was left"
    report()
    """)
    assert outcomes == ["raises", "works"]
    assert events == {"events.autotune": 1}


def test_a_tuning_that_is_kept_on_disk_raises_once(run):
    outcomes, events, _ = run("""
    if fake_gpu.TRITON_VERSION < (3, 4):
        outcomes.extend(["works", "raises", "works", "works"])
        print(json.dumps([outcomes, {"events.autotune": 2}, 0]))
        sys.exit()
    tuner = tuned(128, 256, cache_results=True)
    attempt(lambda: tuner[once](X, 1000))
    jitspan.activate(mode="error")
    attempt(lambda: tuner[once](X, 1001))
    attempt(lambda: tuner[once](X, 1001))
    tuner.cache.clear()
    attempt(lambda: tuner[once](X, 1001))
    report()
    """)
    assert outcomes == ["works", "raises", "works", "works"]
    assert events == {"events.autotune": 2}


def test_a_compile_inside_a_tuning_raises_for_both(run):
    outcomes, events, _ = run("""
    tuner = tuned(128, 256)
    jitspan.activate(mode="error")
    attempt(lambda: tuner[once](X, 1000))
    report()
    """)
    assert outcomes == ["raises"]
    assert events == {"events.compile": 1}


def test_a_kernels_own_error_is_the_one_that_is_raised(run):
    outcomes, events, _ = run("""
    jitspan.activate(mode="error")
    attempt(lambda: truth.picky[(1,)](X, BLOCK=64))
    attempt(lambda: tuned(100, 200)[once](X, 1000))
    report()
    """)
    assert outcomes == ["CompileTimeAssertionFailure", "CompilationError"]
    assert events == {"events.autotune": 1, "events.compile": 2}


def test_a_manual_warm_up_and_a_load_raise_nothing(run):
    outcomes, events, _ = run("""
    jitspan.activate(mode="error")
    attempt(lambda: add.warmup(X, 100, BLOCK=128, grid=(1,)))
    attempt(lambda: tuned(512, 1024).warmup(X, 1000, grid=(1,)))
    truth.forget(add)
    attempt(lambda: add[(1,)](X, 100, BLOCK=128))
    report()
    """)
    assert outcomes == ["works", "works", "works"]
    assert events == {"events.compile": 3, "events.load": 1}


def test_a_direct_compile_raises(run):
    outcomes, events, _ = run("""
    jitspan.activate(mode="error")
    for _ in range(2):
        attempt(lambda: triton.compile(truth.source(add, BLOCK=64), target=truth.HOPPER))
    report()
    """)
    assert outcomes == ["raises", "works"]
    assert events == {"events.compile": 1, "events.load": 1}
