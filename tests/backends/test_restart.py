"""Nothing that was acknowledged is lost when a program behind it goes away and comes back."""

from __future__ import annotations

import time

from backends import Jaeger, wait_until
from conftest import Running
from traffic import many


def test_jaeger_killed_and_restarted_has_everything_that_the_collector_acknowledged(running: Running) -> None:
    jaeger = running.jaeger("badger")
    collector = running.collector("single", TRACES_ENDPOINT=jaeger.otlp_grpc)
    sender = running.sender(collector)
    # All of them stalled, so that sampling drops none.
    batches = [many(100, stalled=100) for _ in range(40)]

    for number, batch in enumerate(batches):
        sender.send(batch)
        time.sleep(0.1)
        if number == 12:
            jaeger.kill()
        if number == 28:
            jaeger.start()

    everything = {request.hex for batch in batches for request in batch}
    wait_until(lambda: everything <= traces(jaeger), 60, "every acknowledged trace is in Jaeger")


def test_an_agent_killed_while_the_gateway_is_away_still_sends_what_it_acknowledged(running: Running) -> None:
    jaeger = running.jaeger()
    gateway = running.collector("single", TRACES_ENDPOINT=jaeger.otlp_grpc)
    agent = running.collector("agent", GATEWAY_ENDPOINT=gateway.otlp_grpc)
    sender = running.sender(agent)
    gateway.kill()
    requests = many(500, stalled=500)

    sender.send(requests)
    agent.kill()
    gateway.start()
    agent.start()

    everything = {request.hex for request in requests}
    wait_until(lambda: everything <= traces(jaeger), 40, "every acknowledged trace is in Jaeger")


def traces(jaeger: Jaeger) -> set[str]:
    return {trace["traceID"] for trace in jaeger.search(service="vllm", limit="20000")}
