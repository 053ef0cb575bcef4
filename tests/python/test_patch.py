"""What wraps a foreign callable looks, binds and behaves like it, and leaves nothing behind.

The foreign callable is `Compiler.compile` of a made-up CuTeDSL, written in every way a method can be written.
"""

from __future__ import annotations

import pytest
from conftest import Scripts
from support import fake_cutlass

HEAD = """
import copy, functools, gc, inspect, json, pickle, sys, types, weakref
sys.path.insert(0, FAKE)
import jitspan
from cutlass.base_dsl.compiler import Compiler
original = Compiler.__dict__.get("compile")

def events():
    return next(row.events for row in jitspan.status() if row.runtime == "cutedsl")

def missing():
    return next(row.missing for row in jitspan.status() if row.runtime == "cutedsl")

def said(call):
    try:
        return repr(call())
    except Exception as error:
        # A built-in method names another class in its message when it was bound first.
        return f"{type(error).__name__}: {error}" if isinstance(original, types.FunctionType) else type(error).__name__
"""

KINDS = {
    "function": fake_cutlass.COMPILE,
    "staticmethod": """
    @staticmethod
    def compile(*args, **kwargs):
        return args, kwargs
""",
    "classmethod": """
    @classmethod
    def compile(cls, *args, **kwargs):
        return cls.__name__, args, kwargs
""",
    "builtin": """
    compile = len
""",
    "method descriptor": """
    items = ()
    compile = object.__dict__["__reduce_ex__"]
""",
    "callable object": """
    class _Callable:
        def __call__(self, *args, **kwargs):
            return args, kwargs
    compile = _Callable()
""",
    "partial": """
    compile = functools.partial(lambda *args, **kwargs: (args, kwargs), "first")
""",
    "inherited staticmethod": """
    pass

class _Base:
    @staticmethod
    def compile(*args, **kwargs):
        return args, kwargs

class Compiler(_Base):
    pass
""",
    "inherited classmethod": """
    pass

class _Base:
    @classmethod
    def compile(cls, *args, **kwargs):
        return cls.__name__, args, kwargs

class Compiler(_Base):
    pass
""",
    "binds in its own way": """
    class _Wrapper:
        "Tells its callee the instance, which it knows from __get__ only, as wrapt does."
        def __init__(self, instance=None):
            self.instance = instance
        def __get__(self, instance, owner):
            return type(self)(instance)
        def __call__(self, *args, **kwargs):
            return self.instance is not None, args, kwargs
    compile = _Wrapper()
""",
}

# Not callables but descriptors that make one at each access: nothing can be wrapped, so nothing is done.
COMPUTED = {
    "property": """
    @property
    def compile(self):
        return lambda *args: args
""",
    "cached_property": """
    @functools.cached_property
    def compile(self):
        return lambda *args: args
""",
    "partialmethod": """
    def _compile(self, *args):
        return args
    compile = functools.partialmethod(_compile, "first")
""",
    "class": """
    class compile:
        def __init__(self, *args):
            self.args = args
        def __repr__(self):
            return repr(self.args)
""",
}


def run(scripts: Scripts, source: str, compile: str = fake_cutlass.COMPILE, **env: str) -> object:
    fake = fake_cutlass.write(scripts.folder / "fake", compile)
    head = HEAD.replace("FAKE", repr(str(fake)))
    return scripts.run(head + source, env={"OTEL_TRACES_EXPORTER": "none", **env}).json()


CALLS = """
calls = [
    lambda: Compiler().compile("m", "p"),
    lambda: Compiler().compile(2),
    lambda: Compiler.compile("m", "p"),
    lambda: Compiler.compile([1, 2]),
    lambda: Compiler().compile(),
    lambda: Compiler().compile("m", "p", arch="sm_100a"),
    lambda: type("Sub", (Compiler,), {}).compile("m", "p"),
    lambda: type("Sub", (Compiler,), {})().compile("m", "p"),
]
def clean(text):
    import re
    return re.sub(r"0x[0-9a-f]+", "0x", text)
before = [clean(said(call)) for call in calls]
jitspan.activate()
during = [clean(said(call)) for call in calls]
seen = events()
jitspan.deactivate()
after = [clean(said(call)) for call in calls]
same = Compiler.__dict__.get("compile") is original
"""


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_callable_answers_as_before(scripts: Scripts, kind: str) -> None:
    source = CALLS + "print(json.dumps([before == during == after, same, seen, before, during]))"
    equal, same, seen, before, during = run(scripts, source, KINDS[kind])
    assert before == during
    assert equal
    assert same
    assert seen == len(before)


@pytest.mark.parametrize("kind", COMPUTED)
def test_what_is_computed_at_each_access_is_left_alone(scripts: Scripts, kind: str) -> None:
    source = CALLS + "jitspan.activate()\nprint(json.dumps([before == during == after, same, seen, missing()]))"
    assert run(scripts, source, COMPUTED[kind]) == [True, True, 0, ["cutedsl.Compiler.compile"]]


def test_it_looks_like_what_it_wraps(scripts: Scripts) -> None:
    source = """
def facts():
    compile = Compiler.compile
    bound = Compiler().compile
    return [
        compile.__name__, compile.__qualname__, compile.__doc__, compile.__module__,
        repr(compile.__defaults__), repr(compile.__kwdefaults__), repr(compile.__annotations__),
        str(inspect.signature(compile)), str(inspect.signature(bound)), repr(inspect.getfullargspec(compile)),
        inspect.getsource(compile), inspect.getsourcelines(compile)[1], inspect.getdoc(compile),
        isinstance(compile, types.FunctionType), isinstance(bound, types.MethodType),
        inspect.isfunction(compile), inspect.ismethod(bound), inspect.isroutine(compile), callable(compile),
        inspect.iscoroutinefunction(compile), inspect.unwrap(compile) is original,
        compile.__code__ is original.__code__, bound.__func__ is compile, bound.__name__,
        pickle.loads(pickle.dumps(compile)) is compile,
        copy.copy(compile) is compile, copy.deepcopy(compile) is compile,
        pickle.loads(pickle.dumps(Compiler().compile)).__name__,
        [name for name, _ in inspect.getmembers(Compiler, inspect.isfunction)],
        sorted(vars(compile)),
    ]
without = facts()
jitspan.activate()
with_us = facts()
Compiler.compile.mark = 1
print(json.dumps([[list(pair) for pair in zip(without, with_us) if pair[0] != pair[1]], original.mark, len(without)]))
"""
    assert run(scripts, source) == [[], 1, 30]


def test_a_coroutine_function_stays_one(scripts: Scripts) -> None:
    source = """
import asyncio
jitspan.activate()
print(json.dumps([inspect.iscoroutinefunction(Compiler.compile), asyncio.run(Compiler().compile("m", "p"))]))
"""
    compile = "    async def compile(self, module, pipeline):\n        return module\n"
    assert run(scripts, source, compile) == [True, "m"]


def test_exceptions_are_the_callees_and_their_tracebacks_have_one_frame_of_ours(scripts: Scripts) -> None:
    source = """
import traceback
jitspan.activate()
try:
    Compiler().compile("m", "p")
except ValueError as error:
    caught = error
frames = [(frame.name, frame.filename == "<jitspan>") for frame in traceback.extract_tb(caught.__traceback__)]
print(json.dumps([str(caught), repr(caught.__cause__), repr(caught.__context__), frames]))
"""
    compile = "    def compile(self, module, pipeline):\n        raise ValueError('no') from KeyError('why')\n"
    assert run(scripts, source, compile) == [
        "no",
        "KeyError('why')",
        "None",
        [["<module>", False], ["__call__", True], ["compile", False]],
    ]


def test_somebody_who_wraps_us_stays_and_we_fall_silent(scripts: Scripts) -> None:
    source = """
jitspan.activate()
ours = Compiler.compile
calls = []
@functools.wraps(ours)
def theirs(self, *args, **kwargs):
    calls.append(args)
    return ours(self, *args, **kwargs)
Compiler.compile = theirs
Compiler().compile("m", "p")
counts = [events()]
jitspan.deactivate()
result = Compiler().compile("m", "p")
counts.append(events())
jitspan.activate()
Compiler().compile("m", "p")
counts.append(events())
jitspan.deactivate()
print(json.dumps([counts, result, len(calls), Compiler.compile is theirs]))
"""
    # The counters go on over activations.
    assert run(scripts, source) == [[1, 1, 2], "m", 3, True]


def test_patching_again_and_again_does_not_pile_up(scripts: Scripts) -> None:
    source = """
for _ in range(50):
    jitspan.activate()
    jitspan.deactivate()
jitspan.activate()
first = Compiler.compile.__wrapped__ is original
jitspan.deactivate()
print(json.dumps([first, Compiler.__dict__["compile"] is original]))
"""
    assert run(scripts, source) == [True, True]


def test_classes_that_are_gone_are_collected(scripts: Scripts) -> None:
    source = """
import importlib
jitspan.activate()
gone = weakref.ref(Compiler)
del Compiler, original
for name in ("compiler", "dsl"):
    importlib.reload(sys.modules[f"cutlass.base_dsl.{name}"])
importlib.reload(sys.modules["cutlass.cutlass_dsl.cutlass"])
import cutlass.cutlass_dsl
gc.collect()
print(json.dumps([gone() is None, events()]))
"""
    assert run(scripts, source) == [True, 0]


def test_recursion_ends_in_the_error_that_it_ends_in_without_us(scripts: Scripts) -> None:
    source = """
jitspan.activate()
def outcome():
    try:
        return Compiler().compile("m", "p")
    except RecursionError:
        return "RecursionError"
print(json.dumps([outcome(), outcome()]))
"""
    compile = "    def compile(self, module, pipeline):\n        return self.compile(module, pipeline)\n"
    assert run(scripts, source, compile) == ["RecursionError", "RecursionError"]


def test_threads_each_get_their_own_answer(scripts: Scripts) -> None:
    source = """
from concurrent.futures import ThreadPoolExecutor
jitspan.activate()
with ThreadPoolExecutor(8) as pool:
    answers = list(pool.map(lambda n: Compiler().compile(n, "p"), range(400)))
print(json.dumps([answers == list(range(400)), events()]))
"""
    assert run(scripts, source) == [True, 400]
