"""Carriers, attributes and batches that do not end, do not stop nesting, or raise: the process goes on, soon, and the
requests of others lose nothing.
"""

from __future__ import annotations

import pytest
from support.records import outline, parent_id, trace_id, traceparent

PRELUDE = """
import itertools, json, time
from support import fake_triton

fake_triton.install()
import jitspan

jitspan.activate()
kernel = fake_triton.JITFunction("softmax")
numbers = itertools.count()

def compile():
    kernel.launch(str(next(numbers)))

class Raising:
    def __iter__(self):
        return self
    def __next__(self):
        raise ValueError("there is nothing here")

class Endless:
    def __init__(self, item):
        self.item = item
    def __iter__(self):
        return itertools.repeat(self.item)

class Items:
    def __init__(self, items):
        self.own = items
    def items(self):
        return self.own

class Growing(dict):
    def items(self):
        for number in itertools.count():
            yield f"key{number}", number

def nested(depth):
    value = 1
    for _ in range(depth):
        value = [value]
    return value

def itself():
    value = []
    value.append(value)
    return value

def wide(depth):
    value = "x" * 100
    for _ in range(depth):
        value = [value] * 128
    return value
"""

NEIGHBOUR = f"""
with jitspan.request({traceparent(2)!r}, name="neighbour"):
    compile()
"""


def served(scripts, receiver, request: str, *, limit: float = 5.0, **environment: str) -> list[dict]:
    """The spans after one compile inside `request`, which must not take long, and one in a neighbour's."""
    source = f"""
began = time.monotonic()
with {request}:
    compile()
print(json.dumps(time.monotonic() - began))
"""
    ends = "\nassert jitspan.flush(timeout=10)\n"
    finished = scripts.run(PRELUDE + NEIGHBOUR + source + ends, env=receiver.environment() | environment, timeout=30)
    assert finished.json() < limit
    assert (trace_id(2), parent_id(2), "neighbour", ["jit.compile"]) in outline(receiver.spans)
    return [span for span in receiver.spans if span["name"] == "inference"]


@pytest.mark.parametrize(
    "value", ["itself()", "nested(20_000)", "nested(60)", "nested(49)", "nested(9)", "{'in': itself()}", "wide(6)"]
)
def test_a_value_that_nests_too_deep_says_so_and_the_neighbours_span_arrives(scripts, receiver, value):
    (span,) = served(scripts, receiver, f"jitspan.request(attributes={{'deep': {value}, 'after': 1}})")
    assert span["attributes"]["after"] == 1
    assert "deep" in span["attributes"]
    if "nested" in value or "wide" in value:
        assert "<nested deeper than 8>" in str(span["attributes"]["deep"]) or "more>" in str(span["attributes"]["deep"])
    assert len(str(span["attributes"]["deep"])) < 100_000


def test_what_is_within_the_bounds_arrives_whole(scripts, receiver):
    (span,) = served(scripts, receiver, "jitspan.request(attributes={'deep': nested(8), 'list': list(range(128))})")
    assert str(span["attributes"]["deep"]) == "[" * 8 + "1" + "]" * 8
    assert span["attributes"]["list"] == list(range(128))


def test_a_list_that_is_cut_says_by_how_much(scripts, receiver):
    (span,) = served(scripts, receiver, "jitspan.request(attributes={'list': list(range(1000))})")
    assert span["attributes"]["list"] == [*range(128), "<872 more>"]


def test_values_that_are_large_together_are_counted_as_dropped(scripts, receiver):
    texts = "{f'key{number}': ['x' * 8_000] * 8 for number in range(100)}"
    (span,) = served(scripts, receiver, f"jitspan.request(attributes={texts})")
    own = [name for name in span["attributes"] if name.startswith("key")]
    assert 2 <= len(own) <= 6
    assert len(own) + span["dropped_attributes"] == 100


@pytest.mark.parametrize("count", [129, 40_000])
def test_of_many_attributes_only_those_that_fit_are_read(scripts, receiver, count):
    many = f"{{f'key{{number}}': number for number in range({count})}}"
    (span,) = served(scripts, receiver, f"jitspan.request(attributes={many})", limit=2.0)
    assert len(span["attributes"]) == 128
    own = [name for name in span["attributes"] if name.startswith("key")]
    assert own == [f"key{number}" for number in range(len(own))]
    # What we add of our own does not fit either.
    assert span["dropped_attributes"] >= count - len(own)


@pytest.mark.parametrize("mapping", ["Growing()", "Growing(a=1)"])
def test_a_mapping_that_never_ends_is_read_as_far_as_it_fits(scripts, receiver, mapping):
    (span,) = served(scripts, receiver, f"jitspan.request(attributes={mapping})")
    assert len(span["attributes"]) == 128


ENDLESS_HEADERS = f"Items(itertools.repeat(('x', {traceparent(1)!r})))"


@pytest.mark.parametrize("carrier", [ENDLESS_HEADERS, "Items(Raising())", "Raising()", "Endless(('a', 'b'))"])
def test_a_carrier_that_does_not_end_makes_a_root_span(scripts, receiver, carrier):
    (span,) = served(scripts, receiver, f"jitspan.request({carrier})")
    assert span["parent_span_id"] == ""


def test_a_carrier_of_many_headers_is_still_found(scripts, receiver):
    headers = f"{{**{{f'x-{{number}}': 'y' for number in range(900)}}, 'traceparent': {traceparent(1)!r}}}"
    (span,) = served(scripts, receiver, f"jitspan.request({headers})")
    assert span["trace_id"] == trace_id(1)


@pytest.mark.parametrize(
    ("carriers", "spans", "size", "omitted"),
    [
        ("[None] * 300", 128, 300, 172),
        ("(None for _ in range(300))", 128, 300, 172),
        ("Endless(None)", 128, 10_128, 10_000),
        ("itertools.chain([None] * 3, Raising())", 3, 3, None),
    ],
)
def test_a_batch_is_read_up_to_its_bound_and_the_rest_is_counted(scripts, receiver, carriers, spans, size, omitted):
    found = served(scripts, receiver, f"jitspan.batch({carriers})")
    assert len(found) == spans
    assert {span["attributes"].get("jit.batch.size") for span in found} == {size}
    assert {span["attributes"].get("jit.batch.omitted") for span in found} == {omitted}


def test_of_a_batch_that_says_its_length_no_more_is_read_than_is_shown(scripts):
    source = """
class Counting(list):
    read = 0
    def __iter__(self):
        for item in super().__iter__():
            Counting.read += 1
            yield item

with jitspan.batch(Counting([None] * 100_000)):
    compile()
print(Counting.read)
"""
    assert scripts.run(PRELUDE + source, env={"OTEL_TRACES_EXPORTER": "none"}).json() == 128


@pytest.mark.parametrize("attributes", ["Raising()", "Endless({'a': 1})", "None", "7", "[{'a': 1}]"])
def test_attributes_of_single_requests_that_do_not_end(scripts, receiver, attributes):
    found = served(scripts, receiver, f"jitspan.batch([None, None], request_attributes={attributes})")
    assert len(found) == 2


@pytest.mark.parametrize("carriers", ["[]", "()", "iter([])", "Raising()", "None", "7"])
def test_a_compile_in_a_batch_of_nobody_has_a_root_span_of_its_own(scripts, receiver, carriers):
    assert served(scripts, receiver, f"jitspan.batch({carriers})") == []
    spans = [span for span in receiver.spans if span["name"] == "jit.compile" and span["parent_span_id"] == ""]
    assert [span["attributes"]["jit.kernel.name"] for span in spans] == ["softmax"]
