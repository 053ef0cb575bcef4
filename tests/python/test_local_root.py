"""The server's span around one of opentelemetry-python's is found without holding up the process."""

from __future__ import annotations

import pytest

PRELUDE = """
import gc, json
from support import fake_triton
fake_triton.install()
import jitspan
from opentelemetry.sdk.trace import TracerProvider

tracer = TracerProvider().get_tracer("server")
jitspan.activate()
kernel = fake_triton.JITFunction("softmax")

asked, get_objects = [], gc.get_objects

def listen(generation):
    found = get_objects(generation)
    asked.append([generation, len(found)])
    return found

gc.get_objects = listen

def compile(age=lambda: None):
    with tracer.start_as_current_span("server") as server:
        age()
        with tracer.start_as_current_span("inner"):
            kernel.launch(str(len(asked)))
        return "jit.stalled" in server.attributes
"""


@pytest.fixture
def run(scripts):
    return lambda source: scripts.run(PRELUDE + source, env={"OTEL_TRACES_EXPORTER": "none"}).json()


def test_a_young_root_is_found_among_the_young(run):
    found, asked = run("print(json.dumps([compile(), asked]))")
    assert found
    assert [generation for generation, _ in asked] == [0]


def test_an_old_root_is_found_in_a_small_process(run):
    found, asked = run("print(json.dumps([compile(gc.collect), asked]))")
    assert found
    assert [generation for generation, _ in asked] == [0, 1, 2]


@pytest.mark.parametrize("keep", ["gc.collect()", "gc.disable()", "gc.set_threshold(10_000_000)"])
def test_a_list_of_a_large_heap_is_never_asked_for(run, keep):
    found, asked = run(f"""
if "collect" not in {keep!r}:
    {keep}
objects = [[number] for number in range(1_500_000)]
if "collect" in {keep!r}:
    {keep}
young = compile()
old = compile(gc.collect)
print(json.dumps([[young, old], asked]))
""")
    assert max([length for _, length in asked], default=0) < 200_000
    # Young ones are found still, where the young are few.
    assert found[0] == ("collect" in keep)
    assert found[1] is False
