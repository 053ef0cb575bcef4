"""Log-based events, through the Collector with logs-events.yaml laid over single.yaml."""

from __future__ import annotations

from backends import HOST, get_text, wait_until
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

    def metrics() -> list[str]:
        return get_text(f"http://{HOST}:{collector.prometheus_port}/metrics").splitlines()

    def value(name: str) -> float | None:
        return next((float(line.split("} ")[1].split(" ")[0]) for line in metrics() if line.startswith(name)), None)

    wait_until(lambda: value("jit_logs_compiles_total{") == 30, 20, "30 compiles are counted")
    assert value("jit_logs_compile_duration_seconds_count{") == 30
    assert abs(value("jit_logs_compile_duration_seconds_sum{") - 30 * 0.8) < 1e-6
