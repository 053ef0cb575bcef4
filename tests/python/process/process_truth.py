"""Processes that a server starts: compilers by every way that Python has, and what is none."""

from __future__ import annotations

import asyncio
import ctypes.util
import os
import shutil
import subprocess
import sys
import sysconfig
import threading
import time
from pathlib import Path
from typing import Any

from steps import event, main, request, step, watch

FOLDER = Path.cwd()
NINJA = shutil.which("ninja")
PTXAS = Path(sysconfig.get_path("purelib")) / "triton" / "backends" / "nvidia" / "bin" / "ptxas"

# Takes the C compiler a while, so that whoever looks now and then sees it.
SLOW = "\n".join(f"int f{at}(int n) {{ return n * {at} + {at}; }}" for at in range(1500))
(FOLDER / "slow.c").write_text(SLOW)
(FOLDER / "wrong.c").write_text("this is no C\n")
(FOLDER / "late.c").write_text(SLOW + "\nthis is no C\n")
(FOLDER / "build.ninja").write_text("rule cc\n command = gcc -c $in -o $out\nbuild ninja.o: cc slow.c\n")
(FOLDER / "Makefile").write_text("made.o: slow.c\n\tgcc -c slow.c -o made.o\n")
(FOLDER / "script").write_text("#!/bin/sh\nexec gcc -c slow.c -o script.o\n")
(FOLDER / "script").chmod(0o755)
PTX = """.version 7.8\n.target sm_80\n.address_size 64\n.visible .entry k() {\n ret;\n}\n"""
(FOLDER / "kernel.ptx").write_text(PTX)

watch()


def compiled(kernel: str = "gcc", **more: Any) -> dict[str, str]:
    return event("compile", kernel, "unknown", runtime="process", **more)


def gcc(*arguments: str, **options: Any) -> int:
    return subprocess.run(["gcc", *arguments], stderr=subprocess.DEVNULL, **options).returncode


@step(compiled())
def a_compiler():
    return gcc("-c", "slow.c", "-o", "slow.o")


@step(compiled())
def one_whose_output_is_read():
    return subprocess.check_output(["gcc", "-v", "-c", "slow.c", "-o", "slow.o"], stderr=subprocess.STDOUT)[:5]


@step(compiled(error="exit status 1"))
def one_that_fails():
    return gcc("-c", "wrong.c")


@step(compiled(error="exit status 1"))
def one_that_fails_and_raises():
    return gcc("-c", "wrong.c", check=True)


@step(compiled(error="signal 9"))
def one_that_is_killed():
    with subprocess.Popen(["gcc", "-x", "c", "-c", "-", "-o", "k.o"], stdin=subprocess.PIPE) as process:
        process.kill()
        return process.wait()


@step()
def questions():
    said = [gcc("--version", stdout=subprocess.DEVNULL), gcc("-dumpmachine", stdout=subprocess.DEVNULL), gcc()]
    return said, ctypes.util.find_library("c"), ctypes.util.find_library("no_such_library")


@step()
def other_programs():
    return [subprocess.run([program, *more]).returncode for program, *more in (["true"], ["false"], ["sleep", "0.05"])]


@step()
def a_program_that_is_not_there():
    return subprocess.run(["/no/such/gcc", "-c", "slow.c"])


@step(compiled())
def below_a_shell():
    return subprocess.run("gcc -c slow.c -o slow.o", shell=True).returncode


@step(compiled(), compiled("g++"))
def two_below_a_shell():
    return subprocess.run("gcc -c slow.c -o slow.o; g++ -x c++ -c slow.c -o slow.o; true", shell=True).returncode


@step(compiled(error="exit status 1"))
def one_below_a_shell_that_fails():
    return subprocess.run("gcc -c late.c; exit $?", shell=True, stderr=subprocess.DEVNULL).returncode


@step(compiled())
def a_child_of_a_child_of_a_child():
    code = "import subprocess; subprocess.run(['sh', '-c', './script; true'], check=True)"
    return subprocess.run([sys.executable, "-c", code]).returncode


@step(compiled())
def a_script_that_becomes_one():
    return subprocess.run(["./script"]).returncode


@step(compiled("ninja"), when=NINJA is not None)
def a_ninja_run():
    return subprocess.run(["ninja"], stdout=subprocess.DEVNULL).returncode


@step(when=NINJA is not None)
def a_ninja_run_with_nothing_to_do():
    return subprocess.run(["ninja"], stdout=subprocess.DEVNULL).returncode


@step(compiled(), when=shutil.which("make") is not None)
def below_make():
    return subprocess.run(["make", "-s"]).returncode


@step(compiled())
def by_system():
    return os.system("gcc -c slow.c -o slow.o")


@step(compiled(error="exit status 1"))
def by_system_and_failing():
    return os.system("gcc -c late.c 2>/dev/null; exit $?")


@step()
def nothing_by_system():
    return os.system("true"), os.system("exit 3")


@step(compiled())
def by_popen_of_os():
    with os.popen("gcc -c slow.c -o slow.o && echo done") as output:
        return output.read()


@step(compiled())
def asked_for_again_and_again():
    process = subprocess.Popen(["gcc", "-c", "slow.c", "-o", "slow.o"])
    while process.poll() is None:
        time.sleep(0.002)
    return process.returncode


@step(compiled("ptxas"), when=PTXAS.exists())
def a_real_ptxas():
    return subprocess.run([PTXAS, "--gpu-name", "sm_80", Path("kernel.ptx"), "-o", "kernel.cubin"]).returncode


@step(
    compiled(request="in_a_thread_of_first"),
    compiled(request="in_a_thread_of_second"),
)
def in_two_threads():
    def serve(name: str) -> None:
        with request(f"in_a_thread_of_{name}"):
            gcc("-c", "slow.c", "-o", f"{name}.o")

    threads = [threading.Thread(target=serve, args=(name,)) for name in ("first", "second")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


BACKGROUND = "jit.compile"


def is_told(pid: int | None = None) -> None:
    """Until a process has ended, of which nobody learns, and for as long as somebody might still ask for it."""
    if pid is not None:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    time.sleep(2)


@step(compiled(request=BACKGROUND))
def in_a_thread_that_serves_nobody():
    thread = threading.Thread(target=gcc, args=("-c", "slow.c", "-o", "thread.o"))
    thread.start()
    thread.join()


@step(compiled(request=BACKGROUND))
def that_nobody_waits_for():
    # Not dropped: that would be a question for its end.
    kept.append(subprocess.Popen(["gcc", "-c", "slow.c", "-o", "nobody.o"]))
    is_told(kept[-1].pid)


@step(compiled(request=BACKGROUND))
def that_is_over_before_anybody_waits():
    process = subprocess.Popen(["gcc", "-c", "slow.c", "-o", "late.o"])
    is_told(process.pid)
    return process.wait()


@step(compiled(request=BACKGROUND))
def awaited_by_a_task():
    async def run() -> int:
        process = await asyncio.create_subprocess_exec("gcc", "-c", "slow.c", "-o", "task.o")
        code = await process.wait()
        await asyncio.sleep(2)
        return code

    return asyncio.run(run())


@step(compiled(request=BACKGROUND))
def by_posix_spawn():
    pid = os.posix_spawn(shutil.which("gcc"), ["gcc", "-c", "slow.c", "-o", "spawned.o"], os.environ)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    is_told()
    return code


@step(compiled(request="who_waits_for_it"))
def started_for_one_and_awaited_by_another():
    process = subprocess.Popen("sleep 0.2; gcc -c slow.c -o other.o; true", shell=True)
    time.sleep(0.1)
    with request("who_waits_for_it"):
        return process.wait()


@step(compiled())
def a_time_out_first():
    process = subprocess.Popen("sleep 0.2; gcc -c slow.c -o slow.o; true", shell=True)
    try:
        process.wait(0.05)
    except subprocess.TimeoutExpired:
        return process.wait()


kept: list[subprocess.Popen[bytes]] = []

if __name__ == "__main__":
    main()
