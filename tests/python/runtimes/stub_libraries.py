"""Builds stand-ins for the NVIDIA libraries that torch's wheel is linked to, so that it imports without them.

    python stub_libraries.py FOLDER LIBRARY...

torch from the package index is built with CUDA and is linked to 3 GB of libraries, none of which a program that
computes on the CPU calls. Each of ours defines the names that torch asks of it, and does nothing.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def wanted(libraries: list[Path]) -> dict[str, dict[str, set[str]]]:
    """By file name of a missing library and version: the names that are asked of it."""
    names: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    here = {library.name for library in libraries}
    defined, loose = set(), set()
    for library in libraries:
        text = str(library)
        for needed in re.findall(r"NEEDED.*\[(.+?)\]", run("readelf", "-d", "-W", text)):
            if needed not in here and re.match(r"lib(cu|nv|nccl)", needed):
                names[needed]
        files = dict[str, str]()
        file = ""
        for line in run("readelf", "-V", "-W", text).splitlines():
            if found := re.search(r"Version: 1\s+File: (\S+)", line):
                file = found[1]
            elif found := re.search(r"Name: (\S+)\s+Flags", line):
                files[found[1]] = file
        for line in run("readelf", "--dyn-syms", "-W", text).splitlines():
            cells = line.split()
            if len(cells) < 8 or cells[0] == "Num:":
                continue
            name, _, version = cells[7].partition("@")
            if cells[6] != "UND":
                defined.add(name)
            elif version and files.get(version) in names:
                names[files[version]][version].add(name)
            elif not version and re.match(r"(cu|nv|nccl)[A-Za-z]", name):
                loose.add(name)
    if missing := loose - defined:
        # Without versions: which library has them does not matter to the loader.
        names[sorted(names)[0]][""] |= missing
    return names


def build(folder: Path, libraries: list[Path]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for library, versions in wanted(libraries).items():
        source, script = folder / "stub.c", folder / "stub.map"
        all_names = sorted({name for names in versions.values() for name in names})
        # Not 0, which is success: whoever calls one all the same is told that there is no GPU.
        source.write_text("\n".join(f"int {name}(void) {{ return 100; }}" for name in all_names))
        nodes = [
            (f"{version} " if version else "") + "{ global: " + " ".join(f"{name};" for name in sorted(names)) + " };"
            for version, names in sorted(versions.items(), reverse=True)
            if names
        ]
        # A library may not have names with a version and names without.
        versioned = [node for node in nodes if not node.startswith("{")] or nodes
        flags = []
        if versioned:
            script.write_text("\n".join(versioned))
            flags = [f"-Wl,--version-script={script}"]
        target = folder / library
        run("cc", "-shared", "-fPIC", "-w", f"-Wl,-soname,{library}", *flags, "-o", str(target), str(source))


if __name__ == "__main__":
    build(Path(sys.argv[1]), [Path(path) for path in sys.argv[2:]])
