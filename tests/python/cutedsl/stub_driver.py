"""Builds a `libcuda.so.1` that does nothing, for versions that will not compile without a driver (up to 4.4).

Every entry point of the driver API that the runtime library asks for exists and reports success; the ones whose answer
is looked at have a body. A launch runs nothing, so this is of use for compiles only.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

# What the device says of itself, by CU_DEVICE_ATTRIBUTE_*: as an H100 (sm_90a) would.
ATTRIBUTES = {75: 9, 76: 0, 97: 232448, 81: 232448, 10: 32, 16: 132}
OTHER_ATTRIBUTE = 1024

ANSWERS = {
    "cuDeviceGetCount": "(int *count) { *count = 1; return 0; }",
    "cuDriverGetVersion": "(int *version) { *version = 13000; return 0; }",
    "cuDeviceGet": "(int *device, int ordinal) { *device = ordinal; return 0; }",
    "cuDeviceGetAttribute": (
        "(int *value, int attribute, int device) { switch (attribute) { "
        + " ".join(f"case {number}: *value = {answer}; return 0;" for number, answer in ATTRIBUTES.items())
        + f" default: *value = {OTHER_ATTRIBUTE}; return 0; }} }}"
    ),
    "cuDeviceGetName": '(char *name, int size, int device) { snprintf(name, size, "stub"); return 0; }',
    "cuDevicePrimaryCtxRetain": "(void **context, int device) { *context = HANDLE; return 0; }",
    "cuCtxGetCurrent": "(void **context) { *context = HANDLE; return 0; }",
    "cuCtxGetDevice": "(int *device) { *device = 0; return 0; }",
    "cuFuncGetAttribute": (
        "(int *value, int attribute, void *function) { *value = attribute == 0 ? 1024 : 0; return 0; }"
    ),
    "cuModuleLoadData": "(void **module, const void *image) { *module = HANDLE; return 0; }",
    "cuModuleLoadDataEx": "(void **module, const void *image) { *module = HANDLE; return 0; }",
    "cuModuleGetFunction": "(void **function, void *module, const char *name) { *function = HANDLE; return 0; }",
    "cuLibraryLoadData": "(void **library, const void *image) { *library = HANDLE; return 0; }",
    "cuLibraryGetKernel": "(void **kernel, void *library, const char *name) { *kernel = HANDLE; return 0; }",
    "cuKernelGetFunction": "(void **function, void *kernel) { *function = HANDLE; return 0; }",
    "cuStreamCreate": "(void **stream, unsigned flags) { *stream = HANDLE; return 0; }",
    "cuGetErrorName": '(int error, const char **text) { *text = "STUB"; return 0; }',
    "cuGetErrorString": '(int error, const char **text) { *text = "stub driver"; return 0; }',
    "cuGetExportTable": "(const void **table, const void *id) { *table = 0; return 1; }",
    "cuGetProcAddress": (
        "(const char *name, void **function, int version, unsigned long long flags, int *status) "
        "{ void *found = dlsym(driver(), name); *function = found ? found : (void *)succeed; "
        "if (status) *status = 0; return 0; }"
    ),
}
# Also wanted under these names, whose newer ABI the answers above fit.
VERSIONED = ("cuGetProcAddress", "cuDevicePrimaryCtxRelease", "cuCtxPushCurrent", "cuCtxPopCurrent")

PREAMBLE = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#define HANDLE ((void *)1)
static int succeed(void) { return 0; }
static void *driver(void) { return dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD); }
"""


def entry_points(*libraries: Path) -> set[str]:
    """The names of driver functions that occur in these libraries: imported, or looked up by text."""
    pattern = re.compile(rb"(?<![A-Za-z0-9_])cu[A-Z][A-Za-z0-9]{3,60}(?:_v[0-9])?(?![A-Za-z0-9_])")
    return {name.decode() for library in libraries for name in pattern.findall(library.read_bytes())}


def build(folder: Path, *libraries: Path) -> Path:
    """Returns the folder to put into LD_LIBRARY_PATH."""
    names = entry_points(*libraries) | set(ANSWERS) | {f"{name}_v2" for name in VERSIONED}
    lines = [PREAMBLE]
    for name in sorted(names):
        body = ANSWERS.get(name) or ANSWERS.get(re.sub(r"_v[0-9]$", "", name)) or "(void) { return 0; }"
        lines.append(f"int {name}{body}")
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "stub.c"
    source.write_text("\n".join(lines))
    flags = ["-shared", "-fPIC", "-w", "-Wl,-soname,libcuda.so.1"]
    subprocess.run(["cc", *flags, "-o", str(folder / "libcuda.so.1"), str(source), "-ldl"], check=True)
    return folder


if __name__ == "__main__":
    print(build(Path(sys.argv[1]), *map(Path, sys.argv[2:])))
