"""OTLP messages as plain Python values, which a test can compare as a whole."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from opentelemetry.proto.trace.v1 import trace_pb2

Record = dict[str, Any]

# Attributes that differ from run to run. Their type is kept, their value is not.
VARYING = {
    "jit.duration",
    "jit.runtime_version",
    "jit.stall.longest",
    "jit.stall.time",
    "thread.id",
    "process.pid",
    "service.instance.id",
}
VARYING_PREFIXES = ("jit.stage.",)


def span_records(request: Any) -> list[Record]:
    return [
        {
            "resource": attributes(resource.resource.attributes),
            "scope": scope.scope.name,
            "name": span.name,
            "trace_id": span.trace_id.hex(),
            "span_id": span.span_id.hex(),
            "parent_span_id": span.parent_span_id.hex(),
            "trace_state": span.trace_state,
            "flags": span.flags,
            "kind": trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
            "start_ns": span.start_time_unix_nano,
            "end_ns": span.end_time_unix_nano,
            "status": trace_pb2.Status.StatusCode.Name(span.status.code).removeprefix("STATUS_CODE_"),
            "status_message": span.status.message,
            "attributes": attributes(span.attributes),
            "events": [
                {"name": event.name, "time_ns": event.time_unix_nano, "attributes": attributes(event.attributes)}
                for event in span.events
            ],
            "dropped_events": span.dropped_events_count,
            "dropped_attributes": span.dropped_attributes_count,
        }
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def log_records(request: Any) -> list[Record]:
    return [
        {
            "resource": attributes(resource.resource.attributes),
            "scope": scope.scope.name,
            "event_name": record.event_name,
            "severity": record.severity_number,
            "body": value(record.body),
            "trace_id": record.trace_id.hex(),
            "span_id": record.span_id.hex(),
            "time_ns": record.time_unix_nano,
            "attributes": attributes(record.attributes),
        }
        for resource in request.resource_logs
        for scope in resource.scope_logs
        for record in scope.log_records
    ]


def metric_records(request: Any) -> list[Record]:
    """One record for each data point."""
    return [
        {
            "resource": attributes(resource.resource.attributes),
            "scope": scope.scope.name,
            "name": metric.name,
            "unit": metric.unit,
            "kind": metric.WhichOneof("data"),
            "attributes": attributes(point.attributes),
            "start_ns": point.start_time_unix_nano,
            "time_ns": point.time_unix_nano,
            **_point(metric, point),
        }
        for resource in request.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        for point in getattr(metric, metric.WhichOneof("data")).data_points
    ]


def _point(metric: Any, point: Any) -> Record:
    match metric.WhichOneof("data"):
        case "histogram":
            return {
                "count": point.count,
                "sum": point.sum,
                "bounds": list(point.explicit_bounds),
                "exemplars": [
                    {
                        "trace_id": exemplar.trace_id.hex(),
                        "span_id": exemplar.span_id.hex(),
                        "value": exemplar.as_double,
                    }
                    for exemplar in point.exemplars
                ],
            }
        case _:
            return {"value": getattr(point, point.WhichOneof("value"))}


def attributes(pairs: Iterable[Any]) -> Record:
    found: Record = {}
    for pair in pairs:
        assert pair.key not in found, f"the attribute {pair.key} was sent twice"
        found[pair.key] = value(pair.value)
    return found


def value(any_value: Any) -> Any:
    match any_value.WhichOneof("value"):
        case None:
            return None
        case "array_value":
            return [value(item) for item in any_value.array_value.values]
        case "kvlist_value":
            return attributes(any_value.kvlist_value.values)
        case "bytes_value":
            return any_value.bytes_value.hex()
        case kind:
            return getattr(any_value, kind)


def normalised(spans: Iterable[Record], **names: str) -> list[Record]:
    """`spans` in the order they started, with everything that differs from run to run replaced.

    Ids become `trace-1`, `span-1`, ... by first appearance, or what `names` calls them (`request=<id>`); times become
    offsets in order (`t0` < `t1` ...); the values of `VARYING` attributes become their type. The resource is left out.
    """
    ordered = sorted(spans, key=lambda span: (span["start_ns"], -span["end_ns"]))
    known = {identifier: name for name, identifier in names.items()}
    times = sorted({time for span in ordered for time in _times(span)})
    moment = {time: f"t{index}" for index, time in enumerate(times)}

    def named(identifier: str, kind: str) -> str:
        if not identifier:
            return ""
        if identifier not in known:
            known[identifier] = f"{kind}-{1 + sum(name.startswith(kind) for name in known.values())}"
        return known[identifier]

    return [
        {
            **{key: content for key, content in span.items() if key != "resource"},
            "trace_id": named(span["trace_id"], "trace"),
            "parent_span_id": named(span["parent_span_id"], "span"),
            "span_id": named(span["span_id"], "span"),
            "start_ns": moment[span["start_ns"]],
            "end_ns": moment[span["end_ns"]],
            "attributes": _without_values(span["attributes"]),
            "events": [
                {
                    "name": event["name"],
                    "time_ns": moment[event["time_ns"]],
                    "attributes": _without_values(event["attributes"]),
                }
                for event in span["events"]
            ],
        }
        for span in ordered
    ]


def outline(spans: Iterable[Record]) -> list[tuple[str, str, str, list[str]]]:
    """Who got what: trace id, parent's span id, name and event names of each span whose parent is not among them.

    Spans under another one of `spans`, as the compile's own span is, are left out.
    """
    spans = list(spans)
    ours = {span["span_id"] for span in spans}
    return sorted(
        (span["trace_id"], span["parent_span_id"], span["name"], [event["name"] for event in span["events"]])
        for span in spans
        if span["parent_span_id"] not in ours
    )


def traceparent(number: int) -> str:
    """The header of request `number`; `trace_id` and `parent_id` say what must come back."""
    return f"00-{trace_id(number)}-{parent_id(number)}-01"


def trace_id(number: int) -> str:
    return f"{0xA0_0000 + number:032x}"


def parent_id(number: int) -> str:
    return f"{0xB0_0000 + number:016x}"


def _times(span: Record) -> list[int]:
    return [span["start_ns"], span["end_ns"], *(event["time_ns"] for event in span["events"])]


def _without_values(found: Record) -> Record:
    return {
        key: type(content) if key in VARYING or key.startswith(VARYING_PREFIXES) else content
        for key, content in sorted(found.items())
    }
