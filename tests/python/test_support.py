"""The doubles these tests lean on, the fake GPU and the receiver, do what the tests take for granted."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub
from support.receiver import UNAVAILABLE, Receiver, black_hole, closed_port, partial_success, retry_after
from support.records import normalised


def request(name: str = "inference") -> ExportTraceServiceRequest:
    message = ExportTraceServiceRequest()
    span = (
        message.resource_spans.add()
        .scope_spans.add()
        .spans.add(
            name=name, trace_id=b"\x01" * 16, span_id=b"\x02" * 8, start_time_unix_nano=10, end_time_unix_nano=30
        )
    )
    span.attributes.add(key="jit.compile.count").value.int_value = 1
    span.attributes.add(key="jit.stall.time").value.double_value = 0.25
    span.events.add(name="jit.compile", time_unix_nano=20)
    return message


def export(receiver: Receiver, name: str = "inference", timeout: float = 5):
    with grpc.insecure_channel(receiver.grpc_endpoint.removeprefix("http://")) as channel:
        return TraceServiceStub(channel).Export(request(name), timeout=timeout)


def post(receiver: Receiver):
    return urllib.request.urlopen(
        urllib.request.Request(
            f"{receiver.http_endpoint}/v1/traces",
            request().SerializeToString(),
            {"Content-Type": "application/x-protobuf"},
        ),
        timeout=5,
    )


def test_both_protocols_deliver_the_same_plain_values(receiver):
    export(receiver)
    with post(receiver) as response:
        assert response.status == 200
    by_grpc, by_http = receiver.spans
    assert by_grpc == by_http
    assert normalised([by_grpc]) == [
        {
            "scope": "",
            "name": "inference",
            "trace_id": "trace-1",
            "span_id": "span-1",
            "parent_span_id": "",
            "trace_state": "",
            "flags": 0,
            "kind": "UNSPECIFIED",
            "start_ns": "t0",
            "end_ns": "t2",
            "status": "UNSET",
            "status_message": "",
            "attributes": {"jit.compile.count": 1, "jit.stall.time": float},
            "events": [{"name": "jit.compile", "time_ns": "t1", "attributes": {}}],
            "dropped_events": 0,
            "dropped_attributes": 0,
        }
    ]


def test_a_refused_export_is_not_among_the_spans(receiver):
    receiver.answer_next(UNAVAILABLE)
    with pytest.raises(grpc.RpcError) as refusal:
        export(receiver, "refused")
    assert refusal.value.code() is grpc.StatusCode.UNAVAILABLE
    export(receiver, "taken")
    assert [span["name"] for span in receiver.spans] == ["taken"]
    assert [seen.records[0]["name"] for seen in receiver.exports] == ["refused", "taken"]


def test_a_request_to_retry_carries_its_delay_in_both_protocols(receiver):
    receiver.answer(retry_after(7))
    with pytest.raises(grpc.RpcError) as refusal:
        export(receiver)
    details = dict(refusal.value.trailing_metadata())["grpc-status-details-bin"]
    info = RetryInfo()
    Status.FromString(details).details[0].Unpack(info)
    assert info.retry_delay.seconds == 7
    with pytest.raises(urllib.error.HTTPError) as http_refusal:
        post(receiver)
    assert (http_refusal.value.code, http_refusal.value.headers["Retry-After"]) == (503, "7")
    http_refusal.value.close()


def test_a_partial_success_says_how_many_and_why(receiver):
    receiver.answer(partial_success(3, "too old"))
    answer = export(receiver).partial_success
    assert (answer.rejected_spans, answer.error_message) == (3, "too old")


def test_a_hanging_receiver_answers_only_when_released(receiver):
    receiver.hang()
    with pytest.raises(grpc.RpcError) as late:
        export(receiver, timeout=0.3)
    assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    receiver.release()
    export(receiver, "after")
    assert "after" in [span["name"] for span in receiver.spans]


def test_a_stopped_receiver_comes_back_on_the_same_ports(receiver):
    ports = (receiver.grpc_port, receiver.http_port)
    receiver.stop()
    with pytest.raises(grpc.RpcError):
        export(receiver)
    receiver.start()
    assert (receiver.grpc_port, receiver.http_port) == ports
    export(receiver)
    with post(receiver):
        pass
    assert len(receiver.spans) == 2


def test_a_black_hole_connects_and_a_closed_port_does_not():
    with black_hole() as endpoint, pytest.raises(TimeoutError):
        urllib.request.urlopen(endpoint, timeout=0.2)
    with pytest.raises(urllib.error.URLError, match="refused"):
        urllib.request.urlopen(closed_port(), timeout=1)


def test_as_a_child_process_it_writes_each_export_as_a_line(scripts):
    process = subprocess.Popen(
        [sys.executable, "-m", "support.receiver"], env=scripts.environment, stdout=subprocess.PIPE, text=True
    )
    try:
        endpoints = json.loads(process.stdout.readline())
        with grpc.insecure_channel(endpoints["grpc"].removeprefix("http://")) as channel:
            TraceServiceStub(channel).Export(request(), timeout=5)
        line = json.loads(process.stdout.readline())
        assert (line["signal"], line["records"][0]["name"]) == ("traces", "inference")
    finally:
        process.terminate()
        process.communicate(timeout=10)
    assert process.returncode == 0


def test_the_fake_gpu_compiles_for_real_and_only_once(scripts):
    finished = scripts.run(
        """
        import json, kernels

        compiled = kernels.launch_add(1024)
        assert kernels.launch_add(1024) is compiled
        print(json.dumps({
            "launches": [list(launch) for launch in kernels.GPU.launches],
            "cubin": bytes(compiled.asm["cubin"][:4]).decode("latin-1"),
            "ptx": ".target sm_90a" in compiled.asm["ptx"],
            "specializations": sum(len(caches[0]) for caches in kernels.add.device_caches.values()),
        }))
        """
    )
    assert finished.json() == {
        "launches": [["add", [8, 1, 1]]] * 2,
        "cubin": "\x7fELF",
        "ptx": True,
        "specializations": 1,
    }


def test_the_fake_gpu_sees_unaligned_tensors_failing_kernels_and_autotuning(scripts):
    finished = scripts.run(
        """
        import json, fake_gpu, kernels
        from triton.compiler.errors import CompilationError

        aligned = kernels.launch_add(1024)
        kernels.INPUT = fake_gpu.FakeTensor("float32", offset=4)
        unaligned = kernels.launch_add(1024)
        try:
            kernels.launch_broken()
        except CompilationError as error:
            failure = type(error).__name__
        kernels.launch_tuned_copy()
        print(json.dumps([unaligned is aligned, failure, len(kernels.tuned_copy.configs_timings)]))
        """
    )
    assert finished.json() == [False, "CompileTimeAssertionFailure", 2]
