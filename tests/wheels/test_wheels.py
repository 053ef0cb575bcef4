"""What is released installs, imports and works, on each Python and on both architectures."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import DIST, ROOT, Python, wheel
from packaging.tags import cpython_tags
from packaging.utils import parse_wheel_filename
from support.records import trace_id, traceparent

HERE = Path(__file__).parent


@pytest.mark.parametrize("architecture", ["x86_64", "aarch64"])
def test_auditwheel_finds_nothing_newer_than_the_platform_in_its_name(auditwheel, architecture):
    told = subprocess.run([auditwheel, "show", str(wheel(architecture))], capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    assert f'"manylinux_2_17_{architecture}"' in " ".join(told.stdout.split()), told.stdout
    assert re.fullmatch(
        rf"jitspan-[^-]+-cp310-abi3-(manylinux2014_{architecture}\.)?manylinux_2_17_{architecture}\.?.*\.whl",
        wheel(architecture).name,
    )


@pytest.mark.parametrize("architecture", ["x86_64", "aarch64"])
def test_the_wheel_carries_its_licence_its_types_and_a_list_of_what_it_is_made_of(architecture):
    with zipfile.ZipFile(wheel(architecture)) as archive:
        names = {re.sub(r"^jitspan-[^/]+\.dist-info/", "", name) for name in archive.namelist()}
        [sbom] = [name for name in archive.namelist() if name.endswith("sboms/jitspan.cyclonedx.json")]
        components = json.loads(archive.read(sbom))["components"]
    tree = ["cargo", "tree", "--locked", "--offline", "--features", "python", "--edges", "normal", "--prefix", "none"]
    tree += ["--format", "{p}", "--target", f"{architecture}-unknown-linux-gnu"]
    linked = {tuple(line.split()[:2]) for line in subprocess.check_output(tree, cwd=ROOT, text=True).splitlines()}
    assert {"licenses/LICENSE", "jitspan/py.typed", "jitspan/__init__.pyi", "entry_points.txt"} <= names
    # maturin lists what only tests have as well, so there are more.
    listed = {(component["name"], f"v{component['version']}") for component in components}
    assert {name for name, _ in linked} > {"hyper", "pyo3", "rustls"}
    assert {crate for crate in linked if crate[0] != "jitspan"} - listed == set()
    assert [component["name"] for component in components if not component.get("licenses")] == []


def test_a_free_threaded_python_takes_no_wheel():
    _, _, _, tags = parse_wheel_filename(wheel("x86_64").name)
    platforms = ["manylinux2014_x86_64"]
    assert tags & set(cpython_tags((3, 14), ["cp314"], platforms))
    assert not tags & set(cpython_tags((3, 14), ["cp314t"], platforms))


def test_it_imports_exports_forks_and_fails_a_request(installed: Python, receiver):
    requests = [traceparent(number) for number in (1, 2, 3)]
    told = installed.json(str(HERE / "everything.py"), *requests, env=receiver.environment())
    assert told == {
        "machine": installed.architecture,
        "module": str(installed.site / "jitspan" / "__init__.py"),
        "child": 0,
        "flushed": True,
        "raised": "RuntimeError",
    }
    spans = {span["trace_id"]: span for span in receiver.spans if span["name"] == "generate"}
    assert set(spans) == {trace_id(1), trace_id(2), trace_id(3)}
    assert [spans[trace_id(number)]["status"] for number in (1, 2, 3)] == ["UNSET", "UNSET", "ERROR"]
    assert all(span["attributes"]["jit.stalled"] for span in spans.values())


def test_its_program_knows_the_commit_that_it_was_built_from(installed: Python):
    version = wheel("x86_64").name.split("-")[1]
    told = installed.run(str(installed.site / "bin" / "jitspan"), "--version").strip()
    assert re.fullmatch(rf"jitspan {re.escape(version)} \([0-9a-f]{{12}}\)", told)


def test_a_kernel_that_triton_really_compiles_is_told(with_triton: Python, receiver, tmp_path):
    environment = receiver.environment() | {"TRITON_CACHE_DIR": str(tmp_path)}
    assert with_triton.json(str(HERE / "real_compile.py"), traceparent(1), env=environment) is True
    [span] = [span for span in receiver.spans if span["name"] == "generate"]
    [event] = span["events"]
    assert event["name"] == "jit.compile"
    assert event["attributes"]["jit.kernel.name"] == "add"
    assert event["attributes"]["jit.cache.result"] == "miss"
    assert event["attributes"]["jit.stage.cubin"] > 0


def test_the_source_distribution_builds_and_the_module_of_it_imports(tmp_path):
    [archive] = DIST.glob("jitspan-*.tar.gz")
    # A debug build, with what is built of others already; the release build of the same source is the wheel.
    environment = os.environ | {
        "MATURIN_PEP517_ARGS": "--profile dev",
        "CARGO_TARGET_DIR": str(ROOT / "target"),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    }
    pip = [sys.executable, "-m", "pip"]
    build = [*pip, "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), str(archive)]
    done = subprocess.run(build, env=environment, capture_output=True, text=True, timeout=880)
    assert done.returncode == 0, done.stderr
    [built] = tmp_path.glob("*.whl")
    subprocess.run(
        [*pip, "install", "--quiet", "--no-deps", "--target", str(tmp_path / "site"), str(built)], check=True
    )
    ask = "import jitspan; print(jitspan.__version__, jitspan.is_active())"
    told = subprocess.run(
        [sys.executable, "-c", ask],
        env=os.environ | {"PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
    )
    assert told.stdout.split() == [archive.name.removeprefix("jitspan-").removesuffix(".tar.gz"), "False"]
