"""A runtime that is imported after activate() is hooked then, and the import is what it would be without us."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from conftest import Scripts
from support import fake_cutlass

MODULE = "cutlass.cutlass_dsl.cutlass"

# What every script begins with; FAKE is where the made-up package lies.
HEAD = """
import importlib, importlib.machinery, importlib.util, json, sys, threading
sys.path.insert(0, FAKE)
import jitspan

def state(runtime="cutedsl"):
    return next(row.state for row in jitspan.status() if row.runtime == runtime)

def hooked():
    from cutlass.base_dsl.dsl import BaseDSL
    return type(BaseDSL.__dict__["generate_mlir"]).__name__ == "Wrapper"

def finders():
    return [type(finder).__name__ for finder in sys.meta_path].count("ImportWatch")
"""


class Late:
    def __init__(self, scripts: Scripts) -> None:
        self.scripts = scripts
        self.fake = fake_cutlass.write(scripts.folder / "fake")

    def run(self, source: str, path: Path | None = None) -> object:
        head = HEAD.replace("FAKE", repr(str(path or self.fake)))
        return self.scripts.run(head + source, env={"OTEL_TRACES_EXPORTER": "none"}).json()


@pytest.fixture
def late(scripts: Scripts) -> Late:
    return Late(scripts)


def test_a_runtime_is_hooked_at_the_end_of_its_import(late: Late) -> None:
    source = """
before = set(sys.modules)
jitspan.activate()
imported = {name.split(".")[0] for name in set(sys.modules) - before}
states = [state()]
import cutlass
states.append(state())
print(json.dumps([states, hooked(), sorted(imported & {"cutlass", "triton", "torch"})]))
"""
    # It is not installed as a distribution: only the import tells that it is there.
    assert late.run(source) == [["absent", "hooked"], True, []]


def test_the_module_has_the_loader_that_it_would_have(late: Late) -> None:
    source = """
if ACTIVE:
    jitspan.activate()
import cutlass
module = sys.modules["cutlass.cutlass_dsl.cutlass"]
loader = module.__loader__
same = loader is module.__spec__.loader
attributes = vars(loader)
print(json.dumps([type(loader).__name__, same, attributes, module.__spec__.origin, module.__file__]))
"""
    with_us, without = (late.run(source.replace("ACTIVE", active)) for active in ("True", "False"))
    assert with_us == without


def test_an_import_that_fails_is_hooked_when_it_succeeds(late: Late) -> None:
    module = late.fake / (MODULE.replace(".", "/") + ".py")
    source = f"""
from pathlib import Path
path = Path({str(module)!r})
good = path.read_text()
path.write_text("import nothing_of_this_name")
jitspan.activate()
try:
    import cutlass
except ModuleNotFoundError as error:
    failed = error.name
path.write_text(good)
importlib.invalidate_caches()
import cutlass
print(json.dumps([failed, state(), hooked()]))
"""
    assert late.run("sys.dont_write_bytecode = True\n" + source) == ["nothing_of_this_name", "hooked", True]


def test_a_reload_is_hooked_again(late: Late) -> None:
    source = """
jitspan.activate()
import cutlass
first = sys.modules["cutlass.base_dsl.dsl"].BaseDSL
importlib.reload(sys.modules["cutlass.base_dsl.compiler"])
importlib.reload(sys.modules["cutlass.base_dsl.dsl"])
importlib.reload(sys.modules["cutlass.cutlass_dsl.cutlass"])
second = sys.modules["cutlass.base_dsl.dsl"].BaseDSL
names = [type(one.__dict__["generate_mlir"]).__name__ for one in (first, second)]
print(json.dumps([names, first is second]))
"""
    assert late.run(source) == [["function", "Wrapper"], False]


def test_threads_that_import_at_once_hook_once(late: Late) -> None:
    source = """
jitspan.activate()
def work():
    import cutlass
threads = [threading.Thread(target=work) for _ in range(16)]
for thread in threads: thread.start()
for thread in threads: thread.join()
from cutlass.base_dsl.dsl import BaseDSL
inner = BaseDSL.__dict__["generate_mlir"].__wrapped__
print(json.dumps([state(), type(inner).__name__]))
"""
    assert late.run(source) == ["hooked", "function"]


def test_an_archive_is_hooked_and_its_loader_left_as_it_was(late: Late) -> None:
    archive = late.scripts.folder / "fake.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in late.fake.rglob("*.py"):
            file.write(path, path.relative_to(late.fake))
    source = """
jitspan.activate()
import cutlass
loader = sys.modules["cutlass.cutlass_dsl.cutlass"].__loader__
print(json.dumps([state(), type(loader).__name__, "exec_module" in vars(loader)]))
"""
    assert late.run(source, archive) == ["hooked", "zipimporter", False]


def test_an_import_that_is_under_way_is_hooked_after_its_end(late: Late) -> None:
    module = late.fake / (MODULE.replace(".", "/") + ".py")
    module.write_text(f"import jitspan\njitspan.activate()\n{module.read_text()}")
    source = """
import cutlass
before = hooked()
import colorsys  # any other import
print(json.dumps([before, hooked(), state()]))
"""
    assert late.run(source) == [False, True, "hooked"]


def test_a_module_loaded_lazily_is_hooked_when_it_is_used(late: Late) -> None:
    source = """
class Lazy:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name != "cutlass.cutlass_dsl.cutlass":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        spec.loader = importlib.util.LazyLoader(spec.loader)
        return spec
sys.meta_path.insert(0, Lazy)
jitspan.activate()
import cutlass
before = "cutlass.base_dsl.dsl" in sys.modules
cutlass.dsl.CuTeDSL
print(json.dumps([before, hooked()]))
"""
    assert late.run(source) == [False, True]


def test_a_finder_that_asks_the_whole_path_again_is_no_endless_loop(late: Late) -> None:
    source = """
class Nosy:
    asking = False
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if cls.asking or not name.startswith("cutlass"):
            return None
        cls.asking = True
        try:
            return importlib.util.find_spec(name)
        finally:
            cls.asking = False
jitspan.activate()
sys.meta_path.insert(0, Nosy)
import cutlass
print(json.dumps([state(), hooked()]))
"""
    assert late.run(source) == ["hooked", True]


def test_a_forked_child_hooks_what_it_imports(late: Late) -> None:
    source = """
import os
jitspan.activate()
read, write = os.pipe()
if os.fork() == 0:
    import cutlass
    os.write(write, json.dumps([state(), hooked()]).encode())
    os._exit(0)
os.wait()
print(json.dumps([json.loads(os.read(read, 100)), "cutlass" in sys.modules]))
"""
    assert late.run(source) == [["hooked", True], False]


def test_deactivate_takes_the_finder_out(late: Late) -> None:
    source = """
counts = [finders()]
for _ in range(3):
    jitspan.activate(); jitspan.activate()
    counts.append(finders())
    jitspan.deactivate()
    counts.append(finders())
import cutlass
print(json.dumps([counts, hooked(), state()]))
"""
    assert late.run(source) == [[0, 1, 0, 1, 0, 1, 0], False, "not active"]


def test_looking_for_a_spec_changes_nothing(late: Late) -> None:
    source = """
import gc, weakref
jitspan.activate()
spec = importlib.util.find_spec("cutlass.cutlass_dsl")  # imports the parent, as ever
loader = weakref.ref(importlib.util.find_spec("triton").loader) if importlib.util.find_spec("triton") else lambda: None
gc.collect()
print(json.dumps([loader() is None, "triton" in sys.modules]))
"""
    assert late.run(source) == [True, False]


def test_other_imports_pay_nothing_that_can_be_measured(late: Late) -> None:
    source = """
import timeit
jitspan.activate()
finder = sys.meta_path[0]
assert type(finder).__name__ == "ImportWatch"
each = min(timeit.repeat(lambda: finder.find_spec("another.module", None), number=10_000, repeat=5)) / 10_000
print(json.dumps(each))
"""
    # Seconds. Finding and running the smallest module from a file takes more than 100 µs.
    assert late.run(source) < 10e-6


def test_triton_is_hooked_when_it_is_imported(scripts: Scripts) -> None:
    source = """
    import json
    import jitspan
    jitspan.activate()
    def state():
        return next(
            (row.state, "triton.jit_cache_hook" in row.standing) for row in jitspan.status() if row.runtime == "triton"
        )
    states = [state()]
    import fake_gpu, kernels
    states.append(state())
    print(json.dumps([states, [row.events for row in jitspan.status()]]))
    """
    states, events = scripts.run(source, env={"OTEL_TRACES_EXPORTER": "none"}).json()
    assert states == [["not yet imported", False], ["hooked", True]]
    assert events == [0, 0]
