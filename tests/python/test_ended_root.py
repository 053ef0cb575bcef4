"""The server's span may end while a kernel compiles in a span below it: nothing is written to it then."""

from __future__ import annotations

SOURCE = """
import json, logging, sys, threading, time
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from support import fake_triton
fake_triton.install()
import jitspan

logging.basicConfig(level="WARNING", stream=sys.stderr)
memory = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(memory))
tracer = provider.get_tracer("server")
jitspan.activate()
server = tracer.start_span("server")
with trace.use_span(server, end_on_exit=False), tracer.start_as_current_span("inner"):
    if {ends}:
        threading.Timer(0.2, server.end).start()
    fake_triton.JITFunction("rms_norm", seconds=0.6).launch("a")
server.end()
print(json.dumps({{span.name: span.attributes.get("jit.compile.count") for span in memory.get_finished_spans()}}))
"""


def test_a_root_that_has_ended_meanwhile_is_left_alone(scripts):
    finished = scripts.run(SOURCE.format(ends=True), env={"OTEL_TRACES_EXPORTER": "none"})
    assert finished.json() == {"server": None, "inner": 1}
    assert "Setting attribute on ended span" not in finished.stderr
    assert scripts.run(SOURCE.format(ends=False), env={"OTEL_TRACES_EXPORTER": "none"}).json() == {
        "inner": 1,
        "server": 1,
    }
