"""Importing us and `activate()`, in a process that has `logging`: time, memory, and the modules that this brings."""

from __future__ import annotations

import json
import subprocess
import sys

from support import QUICK, figure, has, median, skip

CHILD = """
import json, logging, sys, time

def memory():
    lines = open("/proc/self/smaps_rollup").read().splitlines()
    found = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines[1:]}
    return found["Rss"], found["Anonymous"]

before, modules, began = memory(), set(sys.modules), time.perf_counter()
import jitspan
imported = time.perf_counter()
jitspan.activate()
done = time.perf_counter()
after = memory()
print(json.dumps([1e3 * (imported - began), 1e3 * (done - imported), after[0] - before[0], after[1] - before[1],
                  sorted(set(sys.modules) - modules)]))
"""


def main() -> None:
    if not has("jitspan"):
        skip("jitspan is not installed here")
    rounds = []
    for _ in range(2 if QUICK else 30):
        done = subprocess.run([sys.executable, "-c", CHILD], check=True, capture_output=True, text=True)
        rounds.append(json.loads(done.stdout))
    median("import", [found[0] for found in rounds], "ms")
    median("activate()", [found[1] for found in rounds], "ms")
    median("both", [found[0] + found[1] for found in rounds], "ms")
    median("memory, pages of the library that others share included", [found[2] for found in rounds], "MB")
    median("memory of its own", [found[3] for found in rounds], "MB")
    foreign = [name for name in rounds[0][4] if not name.startswith("jitspan")]
    print("NOTE\tmodules imported: " + (", ".join(foreign) or "none"))
    figure("modules imported", len(foreign), "")


main()
