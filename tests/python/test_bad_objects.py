"""Whatever a runtime hands to a hook, the launch goes on, and the next real compile is reported."""

from __future__ import annotations

import pytest
from support.records import outline, parent_id, trace_id, traceparent

pytestmark = pytest.mark.hostile

PRELUDE = """
import json, jitspan, kernels
from triton import knobs

class Hostile:
    def __getattribute__(self, name):
        raise RuntimeError("no attributes here")
    def __repr__(self):
        raise RuntimeError("no repr here")
    __str__ = __repr__
    __eq__ = __hash__ = __bool__ = __iter__ = __len__ = None

def as_inductor_calls_it():
    compiled = kernels.launch_softmax()
    return {"key": "key", "repr": "source", "fn": kernels.softmax, "compile": compiled, "is_manual_warmup": False,
            "already_compiled": True}

def hook_arguments(value):
    return {name: value for name in ("key", "repr", "fn", "compile", "is_manual_warmup", "already_compiled")}

def call_everything(arguments):
    for hook in (knobs.runtime.jit_cache_hook, knobs.runtime.jit_post_compile_hook):
        assert hook(**arguments) is None
    listener = {name: arguments.get("fn") for name in ("src", "metadata", "metadata_group", "times", "cache_hit")}
    knobs.compilation.listener(**(listener if arguments else {}))
"""


@pytest.mark.parametrize(
    "arguments",
    [
        "{}",
        "hook_arguments(None)",
        "hook_arguments(object())",
        "hook_arguments(7)",
        "hook_arguments('\\ud800')",
        "hook_arguments(b'bytes')",
        "hook_arguments({})",
        "hook_arguments({'signature': 3, 'constants': [], None: Hostile()})",
        "hook_arguments(Hostile())",
        "hook_arguments('x' * 50_000_000)",
        "as_inductor_calls_it()",
    ],
)
def test_an_odd_payload_raises_nothing_and_the_next_compile_is_reported(scripts, receiver, arguments):
    scripts.run(
        PRELUDE
        + f"""
arguments = {arguments}
jitspan.activate()
call_everything(arguments)
with jitspan.request({traceparent(1)!r}):
    assert kernels.launch_add() is not None
assert jitspan.flush(timeout=10)
print("null")
""",
        env=receiver.environment(),
    ).json()
    on_the_request = [line for line in outline(receiver.spans) if line[0] == trace_id(1)]
    assert on_the_request == [(trace_id(1), parent_id(1), "inference", ["jit.compile"])]


def test_a_fault_of_ours_is_counted(scripts, receiver):
    finished = scripts.run(
        PRELUDE
        + """
jitspan.activate()
call_everything(hook_arguments(Hostile()))
print(json.dumps(sum(count for name, count in jitspan.stats().items() if name.startswith("faults."))))
""",
        env=receiver.environment(),
    )
    assert finished.json() > 0


@pytest.mark.parametrize(
    "carrier",
    ["''", "'00-zz'", "'x' * 1_000_000", "{}", "{'traceparent': 7}", "{'traceparent': ['00-', 'b']}", "{7: 8}", "None"],
)
def test_a_carrier_without_a_usable_traceparent_makes_a_root_span(scripts, receiver, carrier):
    scripts.run(
        f"""
        import jitspan, kernels

        jitspan.activate()
        with jitspan.request({carrier}):
            kernels.launch_add()
        assert jitspan.flush(timeout=10)
        print("null")
        """,
        env=receiver.environment(),
    ).json()
    [(found_trace, parent, name, events)] = outline(receiver.spans)
    assert found_trace != "0" * 32
    assert (parent, name, events) == ("", "inference", ["jit.compile"])


@pytest.mark.parametrize(("version", "untested"), [("3.6.0", False), ("99.0.0", True), ("3.10.0+cu13", True)])
def test_a_version_newer_than_all_known_is_tried_and_said_to_be_untested(scripts, version, untested):
    script = f"""
    import json, sys
    from support import fake_triton
    fake_triton.install()
    sys.modules["triton"].__version__ = {version!r}
    import jitspan
    jitspan.activate()
    fake_triton.JITFunction("softmax").launch("a")
    [row] = [row for row in jitspan.status() if row.runtime == "triton"]
    print(json.dumps([row.state, row.version, row.untested, row.events]))
    """
    row = scripts.run(script, env={"OTEL_TRACES_EXPORTER": "none"}).json()
    assert row == ["hooked", version, untested, 1]
