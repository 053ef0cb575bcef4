"""When the net is there and when not, who else tells of a compiler, and what the host's program sees of it."""

from __future__ import annotations

import shutil
import sys

import pytest

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux") or not shutil.which("gcc"), reason="needs gcc")

PRELUDE = """
import json, logging, os, pathlib, signal, subprocess, sys, threading, time
import jitspan

folder = pathlib.Path(os.environ["FOLDER"])
(folder / "slow.c").write_text("\\n".join(f"int f{at}(int n) {{ return n * {at}; }}" for at in range(1500)))

def gcc():
    target = f"{os.getpid()}-{threading.get_ident()}.o"
    return subprocess.run(["gcc", "-c", "slow.c", "-o", target], cwd=folder).returncode

def compiles():
    return jitspan.stats()["events.compile"]

def threads():
    names = [path.read_text().strip() for path in pathlib.Path("/proc/self/task").glob("*/comm")]
    return sum(name == "jitspan-process" for name in names)
"""


def run(scripts, body: str, **env: str):
    return scripts.run(PRELUDE + body, env={"FOLDER": str(scripts.folder), "OTEL_TRACES_EXPORTER": "none"} | env).json()


def test_before_arming_and_after_deactivate_nothing_is_watched_and_all_is_as_it_was(scripts) -> None:
    found = run(
        scripts,
        """
names = [(subprocess.Popen, name) for name in ("__init__", "wait", "poll")]
names += [(os, name) for name in ("system", "posix_spawn", "posix_spawnp")]
before = [owner.__dict__[name] for owner, name in names]
gcc()
jitspan.activate()
wrapped = [owner.__dict__[name] is not was for (owner, name), was in zip(names, before, strict=True)]
process = subprocess.Popen(["sleep", "0.3"])
jitspan.deactivate()
after = [owner.__dict__[name] is was for (owner, name), was in zip(names, before, strict=True)]
gcc(), os.system("cd $FOLDER && gcc -c slow.c"), process.wait()
time.sleep(0.2)
print(json.dumps([all(wrapped), all(after), compiles(), threads()]))
""",
    )
    assert found == [True, True, 0, 0]


def test_a_class_and_functions_look_like_themselves(scripts) -> None:
    body = """
import inspect, pickle
{}
said = [str(inspect.signature(subprocess.Popen)), inspect.signature(subprocess.Popen.wait).__str__(),
        subprocess.Popen.__init__.__qualname__, subprocess.Popen.wait.__doc__, os.system.__doc__, os.system.__name__,
        pickle.loads(pickle.dumps(subprocess.Popen)) is subprocess.Popen, inspect.isfunction(subprocess.Popen.wait)]
class Own(subprocess.Popen):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.own = True
    def wait(self, timeout=None):
        return super().wait(timeout=timeout) + 100
said.append([Own(["true"]).own, Own(["true"]).wait(), subprocess.Popen(args=["false"]).wait(timeout=5)])
print(json.dumps(said))
"""
    assert run(scripts, body.format("jitspan.activate()")) == run(scripts, body.format(""))


def test_a_compile_that_triton_tells_of_is_not_told_a_second_time(scripts) -> None:
    pytest.importorskip("triton")
    found = run(
        scripts,
        """
import kernels
jitspan.activate()
kernels.launch_add(), kernels.launch_softmax()
try:
    kernels.broken[(1,)](kernels.OUTPUT, BLOCK=64)
except Exception:
    pass
import triton
from triton.compiler import ASTSource
from triton.backends.compiler import GPUTarget
source = ASTSource(kernels.unrolled, {"output": "*fp32", "source": "*fp32", "TIMES": "constexpr"}, {(2,): 50})
triton.compile(source, target=GPUTarget("cuda", 90, 32))
rows = {row.runtime: row.events for row in jitspan.status()}
print(json.dumps([rows["triton"], rows["process"]]))
""",
    )
    assert found == [4, 0]


def test_a_signal_goes_on_to_the_host_and_the_compile_is_told(scripts) -> None:
    found = run(
        scripts,
        """
class Stop(BaseException):
    pass

def stop(*_):
    raise Stop

signal.signal(signal.SIGALRM, stop)
jitspan.activate()
process = subprocess.Popen(["gcc", "-c", "slow.c"], cwd=folder)
signal.setitimer(signal.ITIMER_REAL, 0.05)
said = []
with jitspan.request(None):
    try:
        process.wait()
    except Stop:
        said.append("stopped")
    said.append([process.returncode, compiles()])
    said.append(process.wait())
    said.append(compiles())
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        gcc()
    except Stop:
        said.append("stopped")
print(json.dumps(said + [{name for name in jitspan.stats() if name.startswith("faults.")} == set()]))
""",
    )
    assert found == ["stopped", [None, 0], 0, 1, "stopped", True]


def test_a_forked_child_watches_its_own_processes_and_not_its_parents(scripts) -> None:
    found = run(
        scripts,
        """
jitspan.activate()
ours = subprocess.Popen("sleep 0.3; gcc -c slow.c; true", shell=True, cwd=folder)
read, write = os.pipe()
child = os.fork()
if child == 0:
    with jitspan.request(None):
        said = [ours.poll(), gcc(), ours.wait(), compiles(), jitspan.stats()["requests.stalled"]]
    os.write(write, json.dumps(said).encode())
    os._exit(0)
with jitspan.request(None):
    code = ours.wait()
os.waitpid(child, 0)
print(json.dumps([json.loads(os.read(read, 4096)), code, compiles()]))
""",
    )
    # What a child asks of its parent's child Python answers with 0.
    assert found == [[0, 0, 0, 1, 1], 0, 1] or found == [[None, 0, 0, 1, 1], 0, 1]


def test_many_at_once_are_all_told_and_no_thread_is_left(scripts) -> None:
    found = run(
        scripts,
        """
(folder / "slow.c").write_text("\\n".join(f"int f{at}(int n) {{ return n * {at}; }}" for at in range(200)))
jitspan.activate()
def serve():
    with jitspan.request(None):
        for _ in range(3):
            gcc()
            subprocess.run("gcc -c slow.c -o $$.o; true", shell=True, cwd=folder)
workers = [threading.Thread(target=serve) for _ in range(12)]
[worker.start() for worker in workers], [worker.join() for worker in workers]
processes = [subprocess.Popen(["sleep", "1"]) for _ in range(80)]
most = threads()
[process.kill() for process in processes], [process.wait() for process in processes]
time.sleep(0.3)
stats = jitspan.stats()
faults = [name for name in stats if name.startswith("faults.")]
print(json.dumps([stats["events.compile"], stats["requests.stalled"], most <= 32, threads(), faults]))
""",
    )
    assert found == [72, 12, True, 0, []]
