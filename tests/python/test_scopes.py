"""Whose a compile is when scopes end out of turn, elsewhere, or not at all."""

from __future__ import annotations

import pytest
from support.pythons import finish
from support.records import outline

pytestmark = pytest.mark.hostile

HEAD = """
import asyncio, contextvars, gc, threading

def traceparent(number):
    return f"00-{number:032x}-{number:016x}-01"

def parent(number):
    return {"traceparent": traceparent(number)}

def apart(function):
    # In a context of its own, as each task has one.
    contextvars.Context().run(function)

jitspan.activate()
"""


def traces(python, receiver, source: str) -> list[str]:
    """The traces in which kernels compiled."""
    tail = "\nassert jitspan.flush(10)\nprint(json.dumps(None))\n"
    code, _, stderr = finish(python(HEAD + source + tail))
    assert code == 0, stderr
    return sorted(trace for trace, *_ in outline(receiver.spans))


def hexadecimal(number: int) -> str:
    return f"{number:032x}"


def test_generators_that_take_turns_leave_nobody_in_a_scope_that_has_ended(python, receiver):
    source = """
def turns():
    def generator(number):
        with jitspan.request(parent(number)):
            yield
            yield
    one, other = generator(1), generator(2)
    next(one); next(other)
    one.close()
    kernel.launch("in the other")
    other.close()
    kernel.launch("in nobody's")
apart(turns)
"""
    found = traces(python, receiver, source)
    assert len(found) == 2
    assert hexadecimal(2) in found
    assert hexadecimal(1) not in found


def test_a_scope_that_another_thread_has_ended_is_nobodys(python, receiver):
    source = """
def elsewhere():
    scope = jitspan.request(parent(1))
    scope.__enter__()
    thread = threading.Thread(target=scope.__exit__, args=(None, None, None))
    thread.start(); thread.join()
    kernel.launch("after it")
    with jitspan.request(parent(2)):
        kernel.launch("in another")
apart(elsewhere)
"""
    found = traces(python, receiver, source)
    assert len(found) == 2
    assert hexadecimal(2) in found
    assert hexadecimal(1) not in found


def test_the_scope_around_one_that_has_ended_elsewhere_is_current_again(python, receiver):
    source = """
def around():
    with jitspan.request(parent(1)):
        inner = jitspan.request(parent(2))
        inner.__enter__()
        thread = threading.Thread(target=inner.__exit__, args=(None, None, None))
        thread.start(); thread.join()
        kernel.launch("in the outer")
apart(around)
"""
    assert traces(python, receiver, source) == [hexadecimal(1)]


def test_a_task_that_outlives_its_request_is_not_in_it(python, receiver):
    source = """
async def main():
    async def later():
        await ended.wait()
        kernel.launch("later")
    ended = asyncio.Event()
    with jitspan.request(parent(1)):
        task = asyncio.create_task(later())
    ended.set()
    await task
asyncio.run(main())
"""
    found = traces(python, receiver, source)
    assert len(found) == 1
    assert found != [hexadecimal(1)]


def test_a_coroutine_that_is_dropped_sends_its_spans_at_once(python, receiver):
    source = """
async def app(scope, receive, send):
    kernel.launch("in it")
    await asyncio.Event().wait()
def drop():
    headers = list(parent(1).items())
    coroutine = jitspan.Middleware(app)({"type": "http", "headers": headers}, None, None)
    coroutine.send(None)
async def main():
    drop()
    gc.collect()
asyncio.run(main())
assert jitspan.flush(10)
assert jitspan.stats()["spans.exported"] == 2, jitspan.stats()
"""
    assert traces(python, receiver, source) == [hexadecimal(1)]


def test_a_scope_that_is_never_left_is_collected_and_its_spans_sent(python, receiver):
    source = """
import weakref
class Carrier(dict):
    pass
def enter(number):
    carrier = Carrier(parent(number))
    jitspan.request(carrier).__enter__()
    kernel.launch(str(number))
    return weakref.ref(carrier)
left = [contextvars.Context().run(enter, number) for number in (1, 2, 3)]
gc.collect()
assert [carrier() for carrier in left] == [None] * 3
assert jitspan.flush(10)
assert jitspan.stats()["spans.exported"] == 6, jitspan.stats()
"""
    assert traces(python, receiver, source) == [hexadecimal(number) for number in (1, 2, 3)]
