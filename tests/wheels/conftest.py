"""The wheels of `make dist`, unpacked as pip unpacks them, and each Python that this machine has for one of them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
DIST = ROOT / "dist"
AARCH64 = ROOT / "build" / "aarch64"
PYENV = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
X86_64_PYTHONS = ("3.10", "3.11", "3.12", "3.13")
# The old name, which pip of every age knows; the wheel carries both.
PLATFORM = "manylinux2014"

sys.path[:0] = [str(ROOT / "tests" / "python"), str(ROOT / "examples")]

from support.receiver import Receiver  # noqa: E402


def wheel(architecture: str) -> Path:
    found = sorted(DIST.glob(f"jitspan-*_{architecture}.whl"))
    if len(found) != 1:
        pytest.fail(f"dist/ should have one wheel for {architecture}, and has {[path.name for path in found]}")
    return found[0]


@dataclass(frozen=True)
class Python:
    """An interpreter with the wheel of its architecture."""

    architecture: str
    command: str
    site: Path
    more: tuple[Path, ...]

    def run(self, *arguments: str, env: dict[str, str] | None = None, timeout: float = 300) -> str:
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "JITSPAN_", "TRITON_"))
        }
        path = [self.site, ROOT / "tests" / "python", ROOT / "examples", *self.more]
        done = subprocess.run(
            [self.command, *arguments],
            env=inherited | {"PYTHONPATH": os.pathsep.join(map(str, path))} | (env or {}),
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def json(self, *arguments: str, env: dict[str, str] | None = None) -> Any:
        return json.loads(self.run(*arguments, env=env).splitlines()[-1])


def python(name: str, folder: Path) -> Python:
    architecture, _, version = name.partition("-")
    if architecture == "aarch64":
        command = AARCH64 / "python"
        if not command.exists():
            pytest.skip("no Python for aarch64: tools/aarch64_python.py makes one where qemu-user-static is installed")
        version, more = subprocess.check_output([command, "-V"], text=True).split()[1], (AARCH64 / "site-packages",)
    else:
        here = sorted(PYENV.glob(f"versions/{version}.*/bin/python"))
        more = ()
        if f"{sys.version_info.major}.{sys.version_info.minor}" == version:
            command = Path(sys.executable)  # which has Triton
        elif here:
            command = here[-1]
        else:
            pytest.skip(f"no CPython {version} in {PYENV}")
    site = folder / "site"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site)]
    install += ["--python-version", ".".join(version.split(".")[:2]), "--only-binary=:all:"]
    install += ["--platform", f"{PLATFORM}_{architecture}", str(wheel(architecture))]
    subprocess.run(install, check=True)
    return Python(architecture, str(command), site, more)


@pytest.fixture(scope="module", params=[*(f"x86_64-{version}" for version in X86_64_PYTHONS), "aarch64"])
def installed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Python:
    return python(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module", params=["x86_64", "aarch64"])
def with_triton(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Python:
    here = f"-{sys.version_info.major}.{sys.version_info.minor}" if request.param == "x86_64" else ""
    return python(request.param + here, tmp_path_factory.mktemp("triton"))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


@pytest.fixture(scope="session")
def auditwheel() -> str:
    program = Path(sys.executable).with_name("auditwheel")
    return str(program) if program.exists() else shutil.which("auditwheel") or pytest.fail("no auditwheel")
