"""Who we say we are: facts of the process, and the resource of an OpenTelemetry SDK that is there too."""

from __future__ import annotations

import os
import platform
import socket

SOURCE = """
import json
from support import fake_triton
fake_triton.install()
import jitspan
jitspan.activate()
fake_triton.JITFunction("k").launch("a")
assert jitspan.flush(timeout=10)
print(json.dumps(None))
"""

PROVIDER = """
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
trace.set_tracer_provider(TracerProvider(resource=Resource.create({"service.name": "server", "rank": 3})))
"""


def resource(scripts, receiver, source: str = SOURCE, **env: str) -> dict[str, object]:
    scripts.run(source, env=receiver.environment() | env).json()
    found = [span["resource"] for span in receiver.spans]
    assert found
    assert all(other == found[0] for other in found)
    return found[0]


def test_the_facts_of_the_process_are_told_and_its_command_line_is_not(scripts, receiver):
    found = resource(scripts, receiver)
    assert found["process.runtime.name"] == "cpython"
    assert found["process.runtime.version"] == platform.python_version()
    assert found["host.name"] == socket.gethostname()
    assert found["os.type"] == "linux"
    assert found["host.arch"] in {"amd64", "arm64"}
    assert found["telemetry.sdk.name"] == "jitspan"
    assert isinstance(found["process.pid"], int)
    assert found["process.pid"] != os.getpid()
    assert len(found["service.instance.id"]) == 36
    assert not [key for key in found if key.startswith("process.command")]


def test_what_the_user_said_wins(scripts, receiver):
    found = resource(
        scripts,
        receiver,
        PROVIDER + SOURCE,
        OTEL_SERVICE_NAME="said",
        OTEL_RESOURCE_ATTRIBUTES="service.name=not%20this,deployment.environment.name=a%20b",
    )
    assert found["service.name"] == "said"
    assert found["deployment.environment.name"] == "a b"


def test_the_resource_of_an_sdk_in_the_process_is_taken_over(scripts, receiver):
    source = (
        PROVIDER
        + SOURCE
        + "\nprint(json.dumps(trace.get_tracer_provider().resource.attributes['service.instance.id']))"
    )
    instance = scripts.run(source, env=receiver.environment()).json()
    found = receiver.spans[0]["resource"]
    assert (found["service.name"], found["rank"]) == ("server", 3)
    assert found["service.instance.id"] == instance
    assert found["telemetry.sdk.name"] == "jitspan"


def test_a_provider_that_is_set_after_activate_is_found_by_the_first_event(scripts, receiver):
    source = SOURCE.replace("jitspan.activate()\n", "jitspan.activate()\n" + PROVIDER)
    assert resource(scripts, receiver, source)["service.name"] == "server"


def test_a_forked_child_is_a_process_of_its_own_even_if_the_sdk_says_otherwise(scripts, receiver):
    scripts.run(
        PROVIDER
        + SOURCE
        + """
import os
process = os.fork()
if process == 0:
    fake_triton.JITFunction("k").launch("b")
    os._exit(0 if jitspan.flush(timeout=10) else 1)
assert os.waitpid(process, 0)[1] == 0
print("null")
""",
        env=receiver.environment(),
    ).json()
    found = {span["resource"]["process.pid"]: span["resource"] for span in receiver.spans}
    assert len(found) == 2
    assert len({resource["service.instance.id"] for resource in found.values()}) == 2
    assert {resource["service.name"] for resource in found.values()} == {"server"}


def test_looking_for_an_sdk_imports_nothing(scripts, receiver):
    source = SOURCE + "\nimport sys\nprint(json.dumps([m for m in sys.modules if m.startswith('opentelemetry')]))"
    assert scripts.run(source, env=receiver.environment()).json() == []
