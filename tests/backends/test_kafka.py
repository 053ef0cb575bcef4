"""Kafka between the Collector and Jaeger, with a real broker that `make kafka` fetched."""

from __future__ import annotations

import subprocess

import pytest
from backends import HOST, ROOT, Program, free_ports, wait_until
from conftest import Running
from traffic import many

LIBRARIES = ROOT / "build" / "kafka" / "lib"


@pytest.mark.skipif(not LIBRARIES.exists(), reason="needs a Kafka broker: `make kafka` fetches one")
def test_spans_go_through_kafka_and_wait_there_while_jaeger_is_away(running: Running) -> None:
    broker, kafka = start_broker(running)
    collector = running.collector("single", "kafka", KAFKA_BROKER=broker)
    jaeger = running.jaeger("kafka-ingester", KAFKA_BROKER=broker)
    requests = many(300, stalled=300)
    sender = running.sender(collector)

    sender.send(requests[:100])
    wait_until(lambda: jaeger.search(service="vllm"), 60, "the first spans are in Jaeger")
    jaeger.kill()
    sender.send(requests[100:200])
    jaeger.start()
    kafka.stop()
    sender.send(requests[200:])
    kafka.start()

    def found() -> set[str]:
        return {trace["traceID"] for trace in jaeger.search(service="vllm", limit="20000")}

    wait_until(lambda: found() >= {request.hex for request in requests}, 90, "all 300 traces are in Jaeger", every=1)
    (step,) = (span for span in jaeger.trace(requests[0].hex) if span["name"] == "vllm.execute_model")
    assert [event["name"] for event in step["events"]] == ["jit.compile"]


def start_broker(running: Running) -> tuple[str, Program]:
    port, controller = free_ports(2)
    properties = running.folder / "server.properties"
    properties.write_text(
        f"""
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{HOST}:{controller}
listeners=PLAINTEXT://{HOST}:{port},CONTROLLER://{HOST}:{controller}
advertised.listeners=PLAINTEXT://{HOST}:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={running.folder / "kafka"}
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
"""
    )
    tool = ["java", "-cp", f"{LIBRARIES}/*", "kafka.tools.StorageTool"]
    cluster = subprocess.run([*tool, "random-uuid"], capture_output=True, text=True, check=True).stdout.split()[-1]
    subprocess.run([*tool, "format", "-t", cluster, "-c", str(properties)], capture_output=True, check=True)
    command = ["java", "-Xmx512m", "-cp", f"{LIBRARIES}/*", "kafka.Kafka", str(properties)]
    kafka = Program("kafka", command, running.folder, {}, port)
    kafka.start_timeout = 90.0
    return f"{HOST}:{port}", running(kafka)
