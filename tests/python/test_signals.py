"""Ctrl-C, and what a signal's handler raises, reach the program wherever they find us."""

from __future__ import annotations

import pytest
from support.pythons import finish

pytestmark = pytest.mark.hostile

SOURCE = """
import logging
place, kind = sys.argv[1:]
number = signal.SIGTERM if kind == "SIGTERM" else signal.SIGINT
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
signal.signal(signal.SIGINT, signal.default_int_handler)
armed = []

def hit(where):
    if armed and where == place:
        armed.clear()
        signal.raise_signal(number)

class Handler(logging.Handler):
    def emit(self, record):
        hit("a log handler")

logging.getLogger("jitspan").addHandler(Handler())
logging.getLogger("jitspan").setLevel(logging.DEBUG)

class Headers:
    def items(self):
        hit("a carrier")
        return [("traceparent", "00-" + "1" * 32 + "-" + "2" * 16 + "-01")]

class Attributes(dict):
    def __getitem__(self, key):
        hit("an attribute")
        raise KeyError(key)

class constexpr:
    __module__ = "triton.language.core"
    @property
    def value(self):
        hit("a constant")
        return 64

class Kernel(fake_triton.JITFunction):
    compiled = 0
    constants = {"BLOCK": constexpr()}
    def __getattr__(self, name):
        hit("an attribute")
        raise AttributeError(name)
    def _compile(self, *args, **kwargs):
        Kernel.compiled += 1
        return super()._compile(*args, **kwargs)

jitspan.activate(verbose=True)
armed.append(True)
raised = None
try:
    with jitspan.request(Headers()):
        Kernel("kernel").launch("1")
except BaseException as error:
    raised = type(error).__name__
compiled = Kernel.compiled
with jitspan.request():
    Kernel("kernel").launch("2")
print(json.dumps([raised, not armed, compiled <= 1, Kernel.compiled - compiled]))
"""


@pytest.mark.parametrize("kind", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("place", ["a log handler", "a carrier", "an attribute", "a constant"])
def test_what_a_signals_handler_raises_reaches_the_program(silent_python, place, kind):
    code, stdout, stderr = finish(silent_python(SOURCE, place, kind))
    assert code == 0, stderr
    raised = "SystemExit" if kind == "SIGTERM" else "KeyboardInterrupt"
    # Raised once, out of the launch; the kernel compiled once at most; and the next launch is as any other.
    assert stdout == f'["{raised}", true, true, 1]\n'


def test_a_storm_of_signals_loses_none(silent_python):
    source = """
    import itertools
    signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    jitspan.activate()
    sent = heard = 0
    names = itertools.count()
    # In a function: CPython 3.13 has a gap in the table of exceptions where a loop in a `try` jumps back.
    def serve():
        end = time.monotonic() + 5
        while time.monotonic() < end:
            with jitspan.request({"traceparent": "x"}):
                kernel.launch(str(next(names)))

    while sent < 300:
        signal.setitimer(signal.ITIMER_REAL, 0.0002 + 0.00001 * (sent % 100))
        sent += 1
        try:
            serve()
        except KeyboardInterrupt:
            heard += 1
    # And nothing is left half done: a scope, a stall, a count.
    compile_one("last")
    print(json.dumps([sent, heard, jitspan.stats().get("faults.triton.jit_cache_hook", 0)]))
    """
    code, stdout, stderr = finish(silent_python(source), timeout=120)
    assert code == 0, stderr
    assert stdout == "[300, 300, 0]\n"
