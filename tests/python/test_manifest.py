"""A manifest that is wrong, hostile, huge, or written by six at once: the server starts, and nothing of it is run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

JITSPAN = Path(sys.executable).with_name("jitspan")

SETUP = """
    import json, os, sys, time
    import jitspan, kernels, triton, fake_gpu

    def launch(length=17, **options):
        return kernels.launch_add(length, **options)

    def compiles():
        stats = jitspan.stats()
        return stats.get("events.compile", 0) + stats.get("events.load", 0)
"""


@pytest.fixture
def manifest(tmp_path) -> Path:
    return tmp_path / "manifest"


@pytest.fixture
def run(scripts, manifest):
    """Runs a script with the manifest; returns what it prints last, and its log."""

    def run(source: str, *, timeout: float = 90, **environment: str):
        settings = {"JITSPAN_MANIFEST": str(manifest), "OTEL_TRACES_EXPORTER": "none", **environment}
        finished = scripts.run(SETUP + source, env=settings, timeout=timeout)
        return finished.json(), finished.stderr

    return run


@pytest.fixture
def recorded(run, manifest) -> dict:
    """One line, as the recorder writes it."""
    run("""
    jitspan.activate()
    launch()
    print(json.dumps(jitspan.stats()))
    """)
    return only(manifest)


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for file in sorted(folder.glob("*.jsonl")) for line in file.read_text().splitlines()]


def only(folder: Path) -> dict:
    [line] = lines(folder)
    return line


def write(folder: Path, *found: dict | bytes) -> None:
    folder.mkdir(exist_ok=True)
    for file in folder.iterdir():
        file.unlink()
    raw = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in found]
    (folder / "made.jsonl").write_bytes(b"".join(line + b"\n" for line in raw))


PRELOAD = """
    counts = jitspan.preload(timeout=20)
    jitspan.activate()
    before = compiles()
    launch()
    counts["came"] = compiles() - before
    print(json.dumps(counts))
"""


def test_a_start_without_a_manifest_starts(run, manifest):
    counts, log = run(PRELOAD)
    assert (counts["total"], counts["came"]) == (0, 1)
    assert "no manifest yet" in counts["problems"][0]
    assert "WARNING" not in log
    # The folder is ours alone.
    assert manifest.stat().st_mode & 0o777 == 0o700
    assert [file.stat().st_mode & 0o777 for file in manifest.iterdir()] == [0o600]


@pytest.mark.usefixtures("recorded")
def test_the_second_start_has_no_stall(run):
    counts, _ = run(PRELOAD)
    assert (counts["total"], counts["warm"], counts["loaded"], counts["came"]) == (1, 1, 1, 0)


RANK = """
    import types
    distributed = types.ModuleType("torch.distributed")
    distributed.is_initialized = lambda: True
    distributed.get_rank, distributed.get_world_size = lambda: int(os.environ["RANK"]), lambda: 2
    sys.modules["torch.distributed"] = distributed
    print(json.dumps(jitspan.preload(timeout=20, threads=1)))
"""


def test_ranks_begin_at_different_places_and_each_has_all_in_the_end(run, tmp_path):
    run("""
    jitspan.activate()
    for block in (64, 128, 256, 512):
        launch(block=block)
    print(json.dumps(jitspan.stats()))
    """)

    def order(rank: int) -> list[str]:
        """The blocks in the order in which they were compiled."""
        cache = tmp_path / f"rank-{rank}"
        counts, _ = run(RANK, RANK=str(rank), TRITON_CACHE_DIR=str(cache))
        assert (counts["total"], counts["warm"], counts["compiled"]) == (4, 4, 4)
        files = sorted(cache.glob("*/add.ttir"), key=lambda file: file.stat().st_mtime_ns)
        return [re.search(r"tensor<(\d+)x", file.read_text())[1] for file in files]

    first, second = order(0), order(1)
    assert second == first[2:] + first[:2]


def test_garbage_is_counted_and_what_is_good_is_replayed(run, manifest, recorded):
    other = {**recorded, "v": 2}
    whole = json.dumps(recorded).encode()
    write(manifest, b"garbage", whole[:-20], b"\xff\x00\xfe", b"[" * 100_000, b"null", b"[]", b"{}", other, recorded)
    counts, log = run(PRELOAD)
    assert (counts["malformed"], counts["warm"], counts["came"]) == (8, 1, 0)
    assert "8 malformed" in log


def test_a_hundred_megabytes_do_not_hold_up_a_start(run, manifest, recorded):
    write(manifest, recorded)
    with (manifest / "big.jsonl").open("wb") as file:
        for _ in range(100):
            file.write(b"x" * (1 << 20))
    with (manifest / "many.jsonl").open("wb") as file:
        for number in range(30_000):
            line = {**recorded, "duration": 0.0, "key": str(number), "options": [["num_warps", number]]}
            file.write(json.dumps(line).encode() + b"\n")
    began = time.monotonic()
    counts, _ = run(PRELOAD.replace("timeout=20", "timeout=10"), timeout=170)
    assert time.monotonic() - began < 120
    # Of too much the costliest is kept, and the time is kept too.
    assert counts["came"] == 0
    assert counts["total"] <= 10_000
    assert counts["seconds"] < 30
    assert counts["late"] + counts["failed"] > 0


@pytest.mark.parametrize(
    "change",
    [
        {"module": "os", "name": "system"},
        {"module": "__import__('os').system('touch touched')", "name": "x"},
        {"module": "never_imported", "name": "kernel"},
        {"module": "kernels", "name": "__builtins__.eval"},
        {"module": "", "name": ""},
        {"module": "kernels", "name": "add.fn.__globals__"},
        {"module": "lazy", "name": "kernel"},
    ],
)
def test_a_name_is_looked_up_and_nothing_is_imported_or_run(run, manifest, recorded, change):
    write(manifest, {**recorded, "kernel": {**recorded["kernel"], **change}})
    lazy = """
    import types
    class Lazy(types.ModuleType):
        def __getattr__(self, name):
            os._exit(9)
    sys.modules["lazy"] = Lazy("lazy")
    open("never_imported.py", "w").write("import os; os._exit(9)")
    sys.path.insert(0, os.getcwd())
    before = set(sys.modules)
    """
    counts, _ = run(
        "    os.chdir(os.environ['TRITON_CACHE_DIR'] + '/..')\n"
        + lazy
        + """
    counts = jitspan.preload(timeout=20)
    counts["touched"] = os.path.exists("touched")
    counts["new"] = sorted(name for name in set(sys.modules) - before if "never" in name or "lazy" in name)
    print(json.dumps(counts))
    """
    )
    assert (counts["gone"], counts["warm"], counts["touched"], counts["new"]) == (1, 0, False, [])


HOSTILE = [
    {"enum": ["os", "environ"], "member": "PATH"},
    {"enum": ["subprocess", "Popen"], "member": "x"},
    {"tuple": ["touch touched"], "class": ["os", "system"]},
    {"tuple": ["touch touched"], "class": ["subprocess", "Popen"]},
    {"tuple": [1, 2], "class": ["collections", "OrderedDict"]},
    {"dataclass": ["subprocess", "Popen"], "fields": {"args": "touch touched"}},
    {"dataclass": ["triton.runtime.jit", "JITFunction"], "fields": {"fn": "x"}},
    {"dtype": "__import__('os').system('touch touched')"},
    {"torch.dtype": "load"},
    {"kernel": ["os", "system", ""]},
    {"int": "9" * 100_000},
    {"float": "__import__('os')"},
    {"eval": "1"},
    {"constexpr": {"constexpr": {"eval": "1"}}},
]


@pytest.mark.parametrize("constant", HOSTILE, ids=lambda constant: json.dumps(constant)[:60])
def test_a_constant_is_made_of_what_is_known_and_of_nothing_else(run, manifest, recorded, constant):
    arguments = [[name, {"constexpr": constant} if name == "BLOCK" else was] for name, was in recorded["arguments"]]
    write(manifest, {**recorded, "arguments": arguments}, recorded)
    counts, _ = run(
        """
    os.chdir(os.environ["TRITON_CACHE_DIR"] + "/..")
    counts = jitspan.preload(timeout=20)
    counts["touched"] = os.path.exists("touched")
    print(json.dumps(counts))
    """
    )
    assert (counts["unsupported"], counts["warm"], counts["touched"]) == (1, 1, False)


@pytest.mark.parametrize(
    "change",
    [
        {"options": [["grid", 1], ["debug", False]]},
        {"options": [["warmup", False]]},
        {"options": [["no_such_option", 1]]},
        {"options": [["num_warps", "4"]]},
        {"options": [["num_warps", 1 << 40]]},
        {"arguments": [["output", {"scalar": "i9999999"}]]},
        {"arguments": []},
    ],
    ids=json.dumps,
)
def test_what_does_not_fit_the_kernel_is_no_launch(run, manifest, recorded, change):
    write(manifest, {**recorded, **change}, recorded)
    counts, _ = run(PRELOAD)
    assert (counts["total"], counts["warm"], counts["came"]) == (2, 1, 0)
    assert counts["gone"] + counts["unsupported"] + counts["failed"] == 1


def test_lines_of_other_versions_and_devices_are_compiled_for_this_one(run, manifest, recorded):
    write(manifest, {**recorded, "runtime_version": "2.1.0", "target": "hip:gfx942:64"})
    counts, _ = run(PRELOAD)
    assert (counts["warm"], counts["came"]) == (1, 0)


def test_a_kernel_that_was_changed_is_compiled_as_it_is_now_and_that_is_said(run, manifest, recorded):
    write(manifest, {**recorded, "kernel": {**recorded["kernel"], "source": "0" * 16, "hash": ""}})
    counts, _ = run(PRELOAD)
    assert (counts["warm"], counts["changed"], counts["came"]) == (1, 1, 0)


TUNED = """
    import types
    jitspan.activate()
    kernels.launch_tuned_copy()
    print(json.dumps([jitspan.stats()["events.autotune"], str(kernels.tuned_copy.best_config)]))
"""


def test_a_tuning_comes_back_only_on_the_same_device_version_and_source(run, manifest):
    (tuned, best), _ = run(TUNED)
    assert tuned == 1
    preloaded = TUNED.replace("jitspan.activate()", "counts = jitspan.preload(timeout=20); jitspan.activate()")
    preloaded = preloaded.replace("json.dumps([", "json.dumps([counts['tunings_warm'], ")
    assert run(preloaded)[0] == [1, 0, best]
    original = lines(manifest)
    [tuning] = [line for line in original if line["kind"] == "tuning"]
    source = {**tuning["kernel"], "source": "0" * 16}
    for change in ({"target": "cuda:80:32"}, {"runtime_version": "3.5.0"}, {"kernel": source}):
        write(manifest, *(line if line["kind"] != "tuning" else {**line, **change} for line in original))
        assert run(preloaded)[0][:2] == [0, 1], change


def test_of_a_tuning_only_the_winner_is_compiled_again(run, manifest):
    run(TUNED)
    assert sum(line.get("tuned", False) for line in lines(manifest)) == 2
    counts, _ = run("    print(json.dumps(jitspan.preload(timeout=20)))")
    assert (counts["total"], counts["warm"]) == (1, 1)


def test_a_loop_that_is_unrolled_for_an_hour_does_not_hold_up_a_start(run, manifest):
    run("""
    jitspan.activate()
    kernels.launch_unrolled(2)
    print(json.dumps(jitspan.stats()))
    """)
    line = only(manifest)
    endless = [[name, {"constexpr": 10_000_000} if name == "TIMES" else was] for name, was in line["arguments"]]
    write(manifest, {**line, "arguments": endless, "duration": 9.0}, line)
    began = time.monotonic()
    found, log = run(
        """
    began = time.monotonic()
    counts = jitspan.preload(timeout=3, threads=2)
    counts["took"] = time.monotonic() - began
    jitspan.activate()
    # The server serves while it goes on.
    kernels.launch_unrolled(2)
    launch()
    counts["came"] = compiles()
    print(json.dumps(counts))
    """
    )
    assert time.monotonic() - began < 60
    assert found["took"] < 10
    assert (found["late"], found["came"]) == (1, 1)
    assert "1 out of time" in log


def test_bad_arguments_are_value_errors_and_nothing_else_raises(run):
    found, _ = run("""
    def tried(**arguments):
        try:
            return jitspan.preload(**arguments)["total"]
        except Exception as error:
            return f"{type(error).__name__}: {error}"
    found = [tried(timeout=-1), tried(timeout=float("nan")), tried(threads=0), tried(path="/nowhere/at/all"),
             tried(path="/dev/null"), tried(path=os.devnull, threads=1), tried(timeout=0)]
    print(json.dumps(found))
    """)
    assert found[:3] == [
        "ValueError: preload timeout: expected seconds, got -1",
        "ValueError: preload timeout: expected seconds, got NaN",
        "ValueError: preload threads: expected a number above 0, got 0",
    ]
    assert found[3:] == [0, 0, 0, 0]


@pytest.mark.parametrize("switch", ["JITSPAN", "OTEL_SDK_DISABLED"])
@pytest.mark.usefixtures("recorded")
def test_switched_off_nothing_is_replayed_and_nothing_written(run, manifest, switch):
    off = {"JITSPAN": "0"} if switch == "JITSPAN" else {"OTEL_SDK_DISABLED": "true"}
    counts, _ = run("    print(json.dumps(jitspan.preload()))", **off)
    assert (counts["total"], counts["problems"]) == (0, ["switched off"])
    run(LAUNCHES.format(between="pass"), **off)
    assert len(lines(manifest)) == 1


ACTIVATE = """
    try:
        jitspan.activate()
        print(json.dumps("activated"))
    except ValueError as error:
        print(json.dumps(str(error)))
"""


@pytest.mark.usefixtures("recorded")
def test_a_folder_that_everybody_may_write_is_refused(run, manifest):
    manifest.chmod(0o777)
    said, _ = run(ACTIVATE)
    assert said.startswith(f'JITSPAN_MANIFEST="{manifest}": expected a folder of our own')
    counts, log = run(f"    print(json.dumps(jitspan.preload({str(manifest)!r})))", JITSPAN_MANIFEST="")
    assert counts["total"] == 0
    assert "everybody may write it" in log


@pytest.mark.usefixtures("recorded")
def test_a_file_that_everybody_may_write_is_refused_and_the_others_are_read(run, manifest):
    (manifest / "other.jsonl").write_text("garbage\n")
    (manifest / "other.jsonl").chmod(0o666)
    counts, _ = run(PRELOAD)
    assert (counts["warm"], counts["malformed"]) == (1, 0)
    assert any("everybody may write it" in problem for problem in counts["problems"])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
@pytest.mark.usefixtures("recorded")
def test_a_folder_of_somebody_else_is_refused(run, manifest):
    os.chown(manifest, 12345, 12345)
    said, _ = run(ACTIVATE)
    assert "it belongs to user 12345" in said


@pytest.mark.parametrize("what", ["file", "below a file"])
def test_what_is_no_folder_is_refused(run, manifest, what):
    manifest.write_text("")
    said, _ = run(ACTIVATE, JITSPAN_MANIFEST=str(manifest / "below" if what == "below a file" else manifest))
    assert said.startswith("JITSPAN_MANIFEST=")


@pytest.mark.usefixtures("recorded")
def test_a_pipe_in_the_folder_is_not_waited_for(run, manifest):
    os.mkfifo(manifest / "pipe.jsonl")
    counts, _ = run(PRELOAD)
    assert counts["warm"] == 1


LAUNCHES = """
    jitspan.activate()
    launch()
    {between}
    launch(1)
    print(json.dumps(jitspan.stats()))
"""


def test_a_folder_that_nobody_may_write_costs_lines_and_no_launch(run):
    # Also root cannot make a file there.
    stats, log = run(LAUNCHES.format(between="pass"), JITSPAN_MANIFEST="/sys/kernel")
    assert (stats["events.compile"], stats["manifest.written"], stats["manifest.failed"]) == (2, 0, 2)
    assert log.count("jitspan fault in manifest") == 1


def test_a_folder_that_is_removed_is_made_again(run, manifest):
    stats, _ = run(LAUNCHES.format(between=f"import shutil; shutil.rmtree({str(manifest)!r})"))
    assert (stats["manifest.written"], stats["manifest.failed"]) == (2, 0)
    assert len(lines(manifest)) == 1


@pytest.mark.usefixtures("recorded")
def test_a_full_disk_tears_a_line_and_the_next_is_whole(run, manifest):
    write(manifest)
    # A file may grow no further: the kernel writes a part of the line, as a full disk does. Compiled before, so that
    # nothing else is written.
    run(LAUNCHES.format(between="pass"))
    size = [len(json.dumps(line)) for line in lines(manifest)]
    write(manifest)
    full = f"""
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, ({size[0] // 2}, resource.RLIM_INFINITY))
    """
    room = "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 30, resource.RLIM_INFINITY))"
    stats, log = run(full + LAUNCHES.format(between=room))
    assert (stats["events.load"], stats["manifest.written"], stats["manifest.failed"]) == (2, 1, 1)
    assert "jitspan fault in manifest" in log
    [torn, whole] = [line for file in manifest.glob("*.jsonl") for line in file.read_text().splitlines() if line]
    with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
        json.loads(torn)
    assert json.loads(whole)["kernel"]["name"] == "add"


def test_six_writers_at_once_write_whole_lines(scripts, manifest):
    source = (
        SETUP
        + """
    jitspan.activate()
    for block in (16, 32, 64, 128, 256):
        for warps in (1, 2):
            launch(17, block=block, num_warps=warps)
    print(json.dumps(jitspan.stats()))
    """
    )
    settings = {"JITSPAN_MANIFEST": str(manifest), "OTEL_TRACES_EXPORTER": "none"}
    started = [scripts.start(source, env=settings) for _ in range(6)]
    ended = [process.communicate(timeout=150) for process in started]
    written = [json.loads(stdout.splitlines()[-1])["manifest.written"] for stdout, _ in ended]
    assert written == [10] * 6
    assert len(list(manifest.glob("*.jsonl"))) == 6
    assert len(lines(manifest)) == 60
    merged = subprocess.run([JITSPAN, "manifest", manifest], capture_output=True, text=True, check=True)
    assert [json.loads(line)["times"] for line in merged.stdout.splitlines()] == [6] * 10


def test_a_child_writes_a_file_of_its_own(run, manifest):
    run("""
    jitspan.activate()
    launch()
    child = os.fork()
    if child == 0:
        launch(1)
        os._exit(0)
    os.waitpid(child, 0)
    print(json.dumps(0))
    """)
    assert [len(file.read_text().splitlines()) for file in manifest.glob("*.jsonl")] == [1, 1]


@pytest.mark.usefixtures("recorded")
def test_a_launch_after_the_first_meets_nothing_of_ours(run):
    found, _ = run("""
    jitspan.preload(timeout=20)
    add = kernels.add
    [kernel] = (add.device_caches[0][0] if hasattr(add, "device_caches") else add.cache[0]).values()
    name = "_run" if "_run" in kernel.__dict__ else "run"
    before = type(kernel.__dict__[name]).__name__
    jitspan.activate()
    launch(); launch()
    after = type(kernel.__dict__[name]).__name__
    print(json.dumps([before, after, jitspan.stats()["preload.used"], len(kernels.GPU.launches)]))
    """)
    assert found == ["FirstLaunch", "function", 1, 2]


@pytest.mark.usefixtures("recorded")
def test_after_arming_a_replay_is_no_stall_and_raises_nothing(run):
    found, _ = run("""
    jitspan.activate(mode="error")
    counts = jitspan.preload(timeout=20)
    launch()
    print(json.dumps([counts["warm"], jitspan.stats()["errors.raised"]]))
    """)
    assert found == [1, 0]


@pytest.mark.usefixtures("recorded")
def test_a_driver_that_fails_fails_no_start(run):
    counts, log = run("""
    def broken():
        raise RuntimeError("no device")
    kernels.GPU.get_current_device = broken
    print(json.dumps(jitspan.preload(timeout=20)))
    """)
    assert (counts["warm"], counts["gone"]) == (0, 1)
    assert "RuntimeError: no device" in log


def test_what_the_warm_up_had_is_told_with_the_first_line_of_a_kernel(run, manifest):
    run("""
    launch(1024)
    launch(2048, block=256)
    jitspan.activate()
    launch(17)
    launch(1)
    print(json.dumps(0))
    """)
    had = [line.get("had") for line in lines(manifest)]
    assert had[0]["length"] == ["i32 multiple of 16"]
    assert had[0]["BLOCK"] == ["128", "256"]
    assert had[1] is None
    report = subprocess.run([JITSPAN, "report", manifest], capture_output=True, text=True, check=True).stdout
    # The costlier one first.
    sentence = r"Launch `add` in the warm-up with length = (17, 1|1, 17) \(or mark `length` `do_not_specialize`\)\."
    assert re.search(sentence, report)


def test_the_specialization_is_left_out_where_it_is_not_wanted_or_does_not_fit(scripts):
    source = SETUP + "    jitspan.activate()\n    launch()\n    jitspan.flush()\n"
    told = []
    for environment in ({}, {"JITSPAN_SPECIALIZATION": "0"}, {"OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "300"}):
        finished = scripts.run(source, env={"OTEL_TRACES_EXPORTER": "console", **environment}).check()
        [span] = [json.loads(line) for line in finished.stdout.splitlines() if line.startswith('{"')]
        told.append("jit.specialization" in span["attributes"])
    assert told == [True, False, False]


SERVED = """
import triton
import triton.language as tl

@triton.jit
def served(x, n, BLOCK: tl.constexpr):
    tl.store(x + tl.arange(0, BLOCK), n)
"""

SERVER = """
import fake_gpu, json, jitspan
fake_gpu.install()
import served_kernels
jitspan.activate()
for n in (1, 17, 32):
    served_kernels.served[(1,)](fake_gpu.FakeTensor(), n, BLOCK=64)
print(json.dumps([jitspan.stats()["events.compile"], jitspan.stats()["events.load"]]))
"""


def test_a_cache_is_filled_without_a_device_while_an_image_is_built(scripts, manifest, tmp_path):
    (tmp_path / "served_kernels.py").write_text(SERVED)
    settings = {"JITSPAN_MANIFEST": str(manifest), "OTEL_TRACES_EXPORTER": "none", "PYTHONPATH": ""}
    settings["PYTHONPATH"] = os.pathsep.join([str(tmp_path), scripts.environment["PYTHONPATH"]])
    assert scripts.run(SERVER, env=settings).json() == [3, 0]
    cache = {"TRITON_CACHE_DIR": str(tmp_path / "image")}

    def warm(*more: str) -> subprocess.CompletedProcess[str]:
        command = [JITSPAN, "warm", manifest, "--import", "served_kernels", *more]
        environment = scripts.environment | settings | cache | {"CUDA_VISIBLE_DEVICES": ""}
        return subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120)

    done = warm("--target", "cuda:90")
    assert done.returncode == 0, done.stderr
    assert "3 of 3 specializations warm (3 compiled, 0 loaded" in done.stderr
    assert scripts.run(SERVER, env=settings | cache).json() == [0, 3]
    assert warm("--target", "cuda").returncode == 2
    # A manifest of another program's kernels has warmed nothing.
    write(manifest, {**lines(manifest)[0], "kernel": {"module": "another", "name": "kernel"}})
    assert warm("--target", "cuda:90").returncode == 1


@pytest.mark.usefixtures("recorded")
def test_a_report_fails_a_job_on_what_is_new(run, manifest, tmp_path):
    def report(*arguments) -> subprocess.CompletedProcess[str]:
        return subprocess.run([JITSPAN, "report", *arguments], capture_output=True, text=True)

    old = tmp_path / "old"
    manifest.rename(old)
    run(LAUNCHES.format(between="pass"))
    assert report(manifest).returncode == 0
    assert report(manifest, "--fail-on", "any").returncode == 1
    assert report(old, "--fail-on", "new", "--baseline", manifest).returncode == 0
    found = report(manifest, "--fail-on", "new", "--baseline", old, "--json")
    assert found.returncode == 1
    # All of them, where error mode stops at the first.
    assert json.loads(found.stdout)["new"] == 1
    annotations = report(manifest, "--baseline", old, "--github").stdout
    assert annotations.startswith("::warning title=add compiled late%2C ")
    assert report(manifest, "--fail-on", "new").returncode == 2
    assert report(tmp_path / "missing").returncode == 1
    assert "<testsuite" in report(manifest, "--junit").stdout
    assert report(manifest, "--markdown").stdout.startswith("### ")
