"""Log-based events, through the Collector with logs-events.yaml laid over single.yaml."""

from __future__ import annotations

from backends import HOST, Collector, get_text, wait_until
from conftest import Running
from support.receiver import Receiver
from traffic import many


def test_log_based_events_are_sent_on_and_counted(running: Running, receiver: Receiver) -> None:
    collector = running.collector("single", "logs-events", LOGS_ENDPOINT=receiver.http_endpoint)
    requests = many(30, stalled=30, seconds=1.0)

    running.sender(collector).send_logs(requests)

    receiver.wait_for(lambda received: len(received.logs) == 30, 20)
    assert {record["trace_id"] for record in receiver.logs} == {request.hex for request in requests}
    record = receiver.logs[0]
    assert record["event_name"] == "jit.compile"
    assert record["attributes"] == requests[0].compile_attributes()

    wait_until(lambda: value(collector, "jit_logs_compiles_total{") == 30, 20, "30 compiles are counted")
    assert value(collector, "jit_logs_compile_duration_seconds_count{") == 30
    assert abs(value(collector, "jit_logs_compile_duration_seconds_sum{") - 30 * 0.8) < 1e-6


def test_from_an_agent_they_go_through_the_gateway(running: Running, receiver: Receiver) -> None:
    samplers = [
        running.collector(
            "gateway-sampler", "logs-events", name=f"sampler-{number}", LOGS_ENDPOINT=receiver.http_endpoint
        )
        for number in range(2)
    ]
    addresses = {f"SAMPLER_{number}": sampler.otlp_grpc for number, sampler in enumerate(samplers, 1)}
    gateway = running.collector("gateway-loadbalancer", program="otelcol-load-balancing", **addresses)
    agent = running.collector("agent", GATEWAY_ENDPOINT=gateway.otlp_grpc)
    requests = many(40, stalled=40)

    running.sender(agent).send_logs(requests)

    receiver.wait_for(lambda received: len(received.logs) == 40, 20)
    assert {record["trace_id"] for record in receiver.logs} == {request.hex for request in requests}

    def counted() -> float:
        return sum(value(sampler, "jit_logs_compiles_total{") or 0 for sampler in samplers)

    wait_until(lambda: counted() == 40, 20, "each is counted by one of the samplers")


def value(collector: Collector, name: str) -> float | None:
    lines = get_text(f"http://{HOST}:{collector.prometheus_port}/metrics").splitlines()
    return next((float(line.split("} ")[1].split(" ")[0]) for line in lines if line.startswith(name)), None)
