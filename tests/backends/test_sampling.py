"""What tail sampling keeps, and that all spans of a trace meet in one sampler."""

from __future__ import annotations

import random
import time

import yaml
from backends import CONFIG, Collector, Jaeger, wait_until
from conftest import Running
from traffic import SERVER, Request, many

TRACES = 10_000
STALLED = 100
FAILED = 100


def test_of_10_000_traces_all_that_stalled_or_failed_are_kept_and_a_twentieth_of_the_rest(running: Running) -> None:
    jaeger = running.jaeger()
    collector = running.collector("single", TRACES_ENDPOINT=jaeger.otlp_grpc)
    requests = many(TRACES, stalled=STALLED, failed=FAILED)
    sender = running.sender(collector)
    # The server and the engine send by themselves: the parts of one trace come in different messages.
    sender.send(requests, part="server_span", at_once=500)
    sender.send(random.sample(requests, len(requests)), part="stall_spans", at_once=500)

    kept = settled(jaeger)

    stalled = {request.hex for request in requests if request.stall}
    failed = {request.hex for request in requests if request.failed}
    assert stalled <= kept.keys()
    assert failed <= kept.keys()
    assert {len(kept[trace]) for trace in stalled} == {3}, "every span of a stalled trace is kept"
    share = len(kept.keys() - stalled - failed) / (TRACES - STALLED - FAILED)
    assert 0.035 < share < 0.065, "5 % of the others, within 7 standard deviations"


def test_a_stall_that_is_reported_long_after_the_decision_is_kept(running: Running) -> None:
    jaeger = running.jaeger()
    collector = running.collector("single", TRACES_ENDPOINT=jaeger.otlp_grpc, DECISION_WAIT="1s")
    sender = running.sender(collector)
    request = Request(stall=0.04)
    sender.send([request], part="server_span")
    time.sleep(3)

    sender.send([request], part="stall_spans")

    wait_until(lambda: jaeger.trace(request.hex), 10, "the late spans are in Jaeger")
    names = {span["name"] for span in jaeger.trace(request.hex)}
    assert {"vllm.execute_model", "jit.compile"} <= names


def test_the_load_balancer_sends_each_trace_to_one_sampler(running: Running) -> None:
    balancer, samplers, jaegers = two_tiers(running)
    sender = running.sender(balancer)
    requests = many(2_000, stalled=40)
    sender.send(requests, part="server_span")
    sender.send(random.sample(requests, len(requests)), part="stall_spans")

    kept = [settled(jaeger) for jaeger in jaegers]

    assert not kept[0].keys() & kept[1].keys(), "no trace is at both"
    assert all(kept), "both have some"
    stalled = {request.hex for request in requests if request.stall}
    assert stalled <= kept[0].keys() | kept[1].keys()
    assert {len(spans) for side in kept for trace, spans in side.items() if trace in stalled} == {3}
    # Each sampler has measured its share before it dropped most of it.
    wait_until(lambda: sum(calls(sampler) for sampler in samplers) == 2_000, 20, "all requests are counted once")


def test_a_sampler_that_is_away_gets_its_traces_when_it_is_back(running: Running) -> None:
    balancer, samplers, jaegers = two_tiers(running)
    sender = running.sender(balancer)
    samplers[1].kill()
    requests = many(300, stalled=300)

    sender.send(requests)
    time.sleep(2)
    samplers[1].start()

    everything = {request.hex for request in requests}
    wait_until(lambda: everything == set().union(*(traces(jaeger) for jaeger in jaegers)), 40, "all 300 traces arrive")


def test_the_sampler_of_the_gateway_decides_and_measures_as_the_single_collector_does() -> None:
    single, sampler = (yaml.safe_load((CONFIG / "collector" / f"{name}.yaml").read_text()) for name in NAMES)
    del single["receivers"]["otlp"]["protocols"]["http"]

    assert sampler == single


NAMES = ("single", "gateway-sampler")


def two_tiers(running: Running) -> tuple[Collector, list[Collector], list[Jaeger]]:
    """A load balancer, two samplers, and for each a Jaeger of its own, so that one sees what it sent."""
    jaegers = [running.jaeger() for _ in range(2)]
    samplers = [
        running.collector("gateway-sampler", name=f"sampler-{number}", TRACES_ENDPOINT=jaeger.otlp_grpc)
        for number, jaeger in enumerate(jaegers)
    ]
    addresses = {f"SAMPLER_{number}": sampler.otlp_grpc for number, sampler in enumerate(samplers, 1)}
    return running.collector("gateway-loadbalancer", program="otelcol-load-balancing", **addresses), samplers, jaegers


def traces(jaeger: Jaeger) -> dict[str, list[object]]:
    return {trace["traceID"]: trace["spans"] for trace in jaeger.search(service="vllm", limit="20000")}


def settled(jaeger: Jaeger) -> dict[str, list[object]]:
    """The traces in Jaeger, when their number has not changed for longer than the sampler waits."""
    last: list[int] = []

    def unchanged() -> bool:
        last.append(sum(map(len, traces(jaeger).values())))
        return len(last) > 7 and last[-1] > 0 and len(set(last[-7:])) == 1

    wait_until(unchanged, 60, "no more spans arrive in Jaeger", every=1)
    return traces(jaeger)


def calls(sampler: Collector) -> float:
    from backends import HOST, get_text

    lines = get_text(f"http://{HOST}:{sampler.prometheus_port}/metrics").splitlines()
    name = "traces_span_metrics_calls_total{"
    return sum(float(line.split("} ")[1].split(" ")[0]) for line in lines if line.startswith(name) and SERVER in line)
