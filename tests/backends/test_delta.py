"""A server that sends delta metrics: Prometheus gets running totals."""

from __future__ import annotations

import time

from backends import HOST, get_text, wait_until
from conftest import Running
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AGGREGATION_TEMPORALITY_DELTA
from traffic import SECOND, attributes, resource

EXPORTS = 4


def test_deltas_add_up_rank_by_rank(running: Running) -> None:
    collector = running.collector("single", TRACES_ENDPOINT=f"{HOST}:1")
    sender = running.sender(collector)
    began = time.time_ns() - 10 * SECOND
    for number in range(EXPORTS):
        for rank in range(2):
            sender.send_metrics(deltas(rank, began + number * SECOND))

    def values(name: str) -> list[float]:
        lines = get_text(f"http://{HOST}:{collector.prometheus_port}/metrics").splitlines()
        return [float(line.split("} ")[1].split(" ")[0]) for line in lines if line.startswith(f"{name}{{")]

    wait_until(lambda: values("jit_compiles_total") == [3 * EXPORTS] * 2, 20, "each rank's compiles are added up")
    assert values("jit_compile_duration_seconds_count") == [EXPORTS] * 2
    assert values("jit_compile_duration_seconds_sum") == [0.5 * EXPORTS] * 2


def deltas(rank: int, ended_ns: int) -> ExportMetricsServiceRequest:
    """Three compiles, one of them timed, in half a second; between two of these half a second is not reported.

    Points without such gaps the Collector's `prometheus` exporter adds up by itself.
    """
    message = ExportMetricsServiceRequest()
    block = message.resource_metrics.add(resource=resource("vllm", f"rank-{rank}")).scope_metrics.add()
    when = {"start_time_unix_nano": ended_ns - SECOND // 2, "time_unix_nano": ended_ns}
    runtime = attributes({"jit.runtime": "triton"})
    count = block.metrics.add(name="jit.compiles", unit="{compile}").sum
    count.aggregation_temporality, count.is_monotonic = AGGREGATION_TEMPORALITY_DELTA, True
    count.data_points.add(as_int=3, attributes=runtime, **when)
    duration = block.metrics.add(name="jit.compile.duration", unit="s").histogram
    duration.aggregation_temporality = AGGREGATION_TEMPORALITY_DELTA
    duration.data_points.add(
        count=1, sum=0.5, bucket_counts=[0, 1, 0], explicit_bounds=[0.25, 1], attributes=runtime, **when
    )
    return message
