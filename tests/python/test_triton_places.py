"""Where we stand in Triton: nothing else is changed by it, and all of it is put back."""

from __future__ import annotations

import pytest

# Everything in Triton's modules and classes, and in one kernel and one tuner.
SNAPSHOT = """
    import json, os, sys, pickle, inspect
    import triton_truth as truth
    import triton, jitspan
    import triton.backends, triton.compiler.compiler, triton.runtime.autotuner, triton.runtime.jit
    from triton_truth import X, add, once, scale, tuned

    tuner = tuned(128, 256)

    def everything():
        found = {"environment": {"printing": sys.intern(os.environ.get("TRITON_PRINT_AUTOTUNING", "unset"))}}
        for module in (triton.runtime.jit, triton.runtime.autotuner, triton.compiler.compiler):
            found[module.__name__] = dict(vars(module))
            for name, value in vars(module).items():
                if isinstance(value, type) and value.__module__.startswith("triton"):
                    found[name] = dict(vars(value))
        for name, backend in triton.backends.backends.items():
            found[f"{name} compiler"] = dict(vars(backend.compiler))
            for launcher, value in backend.driver.__init__.__globals__.items():
                if isinstance(value, type):
                    found[f"{name} {launcher}"] = dict(vars(value))
        if hasattr(triton, "knobs"):
            for name in ("runtime", "compilation", "autotuning"):
                found[name] = dict(vars(getattr(triton.knobs, name)))
        found["kernel"] = {name: value for name, value in vars(add).items() if name == "compile"}
        found["tuner"] = {name: value for name, value in vars(tuner).items() if name in ("pre_hook", "fn")}
        return found

    def changed(before, after):
        names = {(place, name) for both in (before, after) for place in both for name in both[place]}
        gone = object()
        return sorted(
            f"{place}.{name}"
            for place, name in names
            if before.get(place, {}).get(name, gone) is not after.get(place, {}).get(name, gone)
        )
"""


@pytest.fixture
def run(scripts):
    def run(source: str, **environment: str):
        return scripts.run(SNAPSHOT + source, env={"OTEL_TRACES_EXPORTER": "none", **environment}).json()

    return run


def test_deactivate_puts_back_every_place(run):
    left, stood = run("""
    add[(1,)](X, 128, BLOCK=128)
    before = everything()
    jitspan.activate()
    add[(1,)](X, 100, BLOCK=128)
    tuner[once](X, 1000)
    triton.compile(truth.source(add, BLOCK=64), target=truth.HOPPER)
    stood = changed(before, everything())
    jitspan.deactivate()
    print(json.dumps([changed(before, everything()), stood]))
    """)
    assert left == []
    assert {"Autotuner._bench", "Autotuner.prune_configs", "ASTSource.make_ir", "CompiledKernel.__init__"} <= set(stood)
    assert "kernel.compile" in stood
    assert not {"Autotuner.run", "JITFunction.run", "triton.compiler.compiler.compile"} & set(stood)


@pytest.mark.parametrize(("said", "expected"), [(None, True), ("0", False), ("1", True)])
def test_triton_prints_its_tunings_unless_told_not_to(run, said, expected):
    printed, after = run(
        """
    def printing():
        knobs = getattr(triton, "knobs", None)
        return bool(knobs.autotuning.print) if knobs else os.environ.get("TRITON_PRINT_AUTOTUNING") == "1"

    before = printing()
    jitspan.activate()
    during = printing()
    jitspan.deactivate()
    print(json.dumps([during, printing() == before]))
    """,
        **({"TRITON_PRINT_AUTOTUNING": said} if said else {}),
    )
    assert (printed, after) == (expected, True)


def test_what_inspects_triton_sees_triton(run):
    same = run("""
    def looks():
        classes = [triton.compiler.ASTSource, triton.compiler.CompiledKernel, triton.runtime.autotuner.Autotuner]
        return [
            [str(inspect.signature(value)), inspect.getsource(value), value.__doc__, value.__qualname__]
            for each in classes
            for name, value in sorted(vars(each).items())
            if hasattr(value, "__code__") or hasattr(value, "__wrapped__")
        ]

    add[(1,)](X, 128, BLOCK=128)
    before, kernel = looks(), inspect.signature(add.compile)
    jitspan.activate()
    add[(1,)](X, 100, BLOCK=128)
    assert pickle.loads(pickle.dumps(add.compile)).func is triton.compile
    print(json.dumps([looks() == before, inspect.signature(add.compile) == kernel]))
    """)
    assert same == [True, True]


def test_a_version_that_has_lost_places_keeps_the_others(run):
    events, faults = run("""
    triton.runtime.jit.KernelInterface, triton.runtime.autotuner.Autotuner = None, None
    triton.backends.backends = None
    del triton.compiler.compiler.IRSource.parse_options
    triton.__version__ = "99.0.0-unheard-of"
    jitspan.activate()
    add[(1,)](X, 100, BLOCK=128)
    stats = jitspan.stats()
    jitspan.deactivate()
    faults = {name: count for name, count in stats.items() if "fault" in name and count}
    print(json.dumps([stats["events.compile"], faults]))
    """)
    assert (events, faults) == (1, {})
