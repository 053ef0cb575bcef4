"""Makes a folder in which a CPython for aarch64 runs on this machine: Debian's packages, unpacked, under qemu.

    python tools/aarch64_python.py build/aarch64
    build/aarch64/python -c 'import platform; print(platform.machine())'

Nothing of the system is changed: apt gets a state of its own. Needs Debian with `qemu-user-static`. Triton is put there
as well, in `site-packages`; what it starts (ptxas) is a program for aarch64 too, so a script stands in front of it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

QEMU = "qemu-aarch64-static"
PACKAGES = ("python3", "libstdc++6", "zlib1g")
# What `make test` compiles with; read from the file that says so.
TRITON = Path(__file__).parents[1] / "requirements" / "triton.txt"
PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux2014_aarch64")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder.absolute()
    if (folder / "python").exists():
        return
    missing = [name for name in (QEMU, "apt-get", "dpkg") if shutil.which(name) is None]
    if missing:
        sys.exit(f"no Python for aarch64: no {', '.join(missing)} here (Debian: apt-get install qemu-user-static)")
    shutil.rmtree(folder, ignore_errors=True)
    root = folder / "root"
    unpack(folder, root)
    python = next(root.glob("usr/bin/python3.[0-9]*"))
    add_triton(folder / "site-packages", python.name.removeprefix("python"), root)
    # Last: it says that all of the above is there.
    write_script(folder / "python", f'exec {QEMU} -L "{root}" "{python}" "$@"')


def unpack(folder: Path, root: Path) -> None:
    """Debian's packages for aarch64 with all that they need."""
    for part in ("state/lists/partial", "cache/archives/partial", "root"):
        (folder / part).mkdir(parents=True)
    (folder / "status").touch()
    configuration = folder / "apt.conf"
    configuration.write_text(
        'APT::Architecture "arm64"; APT::Architectures { "arm64"; }; APT::Install-Recommends "false";\n'
        f'Dir::State "{folder}/state"; Dir::State::status "{folder}/status"; Dir::Cache "{folder}/cache";\n'
    )
    environment = os.environ | {"APT_CONFIG": str(configuration)}
    subprocess.run(["apt-get", "update", "-qq"], env=environment, check=True)
    fetch = ["apt-get", "install", "-y", "-qq", "--download-only", *PACKAGES]
    subprocess.run(fetch, env=environment, check=True, stdout=subprocess.DEVNULL)
    for package in sorted((folder / "cache" / "archives").glob("*.deb")):
        subprocess.run(["dpkg", "-x", str(package), str(root)], check=True)


def add_triton(site: Path, python: str, root: Path) -> None:
    platforms = [argument for platform in PLATFORMS for argument in ("--platform", platform)]
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(site), *platforms]
    command += ["--python-version", python, "--only-binary=:all:", "-r", str(TRITON)]
    subprocess.run(command, check=True)
    for program in (site / "triton" / "backends" / "nvidia" / "bin").iterdir():
        real = program.with_name(program.name + ".aarch64")
        program.rename(real)
        write_script(program, f'exec {QEMU} -L "{root}" "{real}" "$@"')


def write_script(path: Path, command: str) -> None:
    path.write_text(f"#!/bin/sh\n{command}\n")
    path.chmod(0o755)


if __name__ == "__main__":
    main()
