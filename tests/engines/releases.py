"""Unpacks the Python source of releases, for the contract test: `releases.py FOLDER vllm==0.33.0 ...`.

Wheels are downloaded one at a time and not kept: those of vLLM have 300 MB, of which 30 are Python.
"""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path


def unpack(requirement: str, folder: Path) -> None:
    target = folder / requirement.replace("==", "-")
    if target.exists():
        return
    with tempfile.TemporaryDirectory(dir=folder) as download:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
        subprocess.run([*pip, "--dest", download, requirement], check=True)
        partial = Path(download, "unpacked")
        for wheel in Path(download).glob("*.whl"):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(partial, [name for name in archive.namelist() if name.endswith(".py")])
        partial.rename(target)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for requirement in sys.argv[2:]:
        unpack(requirement, folder)
