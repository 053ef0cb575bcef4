# Compiles what a manifest names, by Triton's own launch path. Compiled by `mod.rs`, which gives `begin`, `used` and
# `perform`.
# Triton's code runs here and never above a Rust frame: a compile takes seconds, and a thread that is still in one when
# the interpreter ends is ended where it stands.
import atexit
import contextlib
import logging
import threading
import time

# Seconds between two looks at the clock, and between two lines in the log.
_LOOK, _LINE = 0.1, 10.0

# Seconds that the end of the process waits for a compile that was stopped.
_PATIENCE = 2.0


def preload(path=None, *, timeout=None, threads=None):
    try:
        return replay(begin(path, timeout, threads, True))
    finally:
        perform()


def replay(plan):
    """Replays a plan. Whatever happens in here, the server starts."""
    log = logging.getLogger("jitspan")
    try:
        if plan.is_needed():
            _compile(plan, log)
    except Exception as error:
        plan.give_up(error)
    finally:
        plan.stop()
    level, text, counts = plan.finish()
    log.log(level, "%s", text)
    return counts


def warm(begin, modules, target):
    """Compiles for a device that is not there: into the cache on disk, with nothing loaded."""
    import importlib
    import os
    import sys

    from triton.backends.compiler import GPUTarget
    from triton.runtime import driver

    backend, arch, lanes = target
    device = NoDevice(GPUTarget(backend, int(arch) if arch.isdigit() else arch, lanes))
    (driver if hasattr(driver, "set_active") else driver.driver).set_active(device)
    # As `python -m` has it.
    sys.path.insert(0, os.getcwd())
    logging.basicConfig(level=logging.INFO, format="jitspan warm: %(message)s")
    for module in modules:
        importlib.import_module(module)
    return replay(begin())


class NoDevice:
    """As much of a driver as a compile asks for."""

    def __init__(self, target):
        self._target = target

    def get_current_target(self):
        return self._target

    def get_current_device(self):
        return 0

    def set_current_device(self, device):
        pass

    def get_current_stream(self, device=None):
        return device or 0


def _compile(plan, log):
    driver = _driver()
    device = driver.get_current_device()
    for function in plan.candidates():
        # Known before threads ask for it at the same time: older versions have no lock around it.
        with contextlib.suppress(Exception):
            getattr(function, "cache_key", None)
    plan.prepare()
    workers = []
    for number in range(plan.threads()):
        worker = threading.Thread(
            target=_work, args=(plan, driver, device), name=f"jitspan-preload-{number}", daemon=True
        )
        try:
            worker.start()
        except RuntimeError:
            # No room for a thread: with fewer it takes longer.
            break
        workers.append(worker)
    # A compile that has begun cannot be stopped, so it has a thread of its own, and we do not wait for it for ever.
    said = time.monotonic()
    try:
        _wait(plan, log, workers, said)
    finally:
        plan.stop()
        _interrupt([worker for worker in workers if worker.is_alive()])


def _wait(plan, log, workers, said):
    for worker in workers:
        while worker.is_alive() and plan.remaining() > 0:
            worker.join(min(_LOOK, plan.remaining()))
            text = plan.progress()
            if text and time.monotonic() - said >= _LINE:
                said = time.monotonic()
                log.info("%s", text)


class Stop(SystemExit):
    """Ends a compile that has taken too long. `threading` says nothing of it."""


def _interrupt(workers):
    """Stops what is still compiling, at its next step in Python; a stage that is in C++ is waited for at exit, briefly.

    Up to CPython 3.13 a daemon thread that comes back to a finalizing interpreter is ended by `pthread_exit`, which
    cannot pass the compiler's own frames: the process would abort.
    """
    if not workers:
        return
    try:
        from ctypes import c_ulong, py_object, pythonapi
    except ImportError:
        return
    for worker in workers:
        pythonapi.PyThreadState_SetAsyncExc(c_ulong(worker.ident), py_object(Stop))
    atexit.register(_join, workers)


def _join(workers):
    end = time.monotonic() + _PATIENCE
    for worker in workers:
        worker.join(max(0.0, end - time.monotonic()))


def _driver():
    from triton.runtime import driver

    # Up to 3.1 the name is the module, since then the object inside it.
    return driver.active if hasattr(type(driver), "active") or "active" in vars(driver) else _inner(driver)


def _inner(driver):
    return driver.driver.active if hasattr(driver, "driver") else driver.active


def _work(plan, driver, device):
    plan.enter()
    try:
        with contextlib.suppress(Exception):
            # The current device is the thread's.
            driver.set_current_device(device)
        while True:
            job = plan.take()
            if job is None:
                return
            number, function, arguments, keywords = job
            try:
                kernel = _launch(function, arguments, keywords)
                if kernel is not None and plan.loads():
                    # Else the first launch loads it, which waits for what the device is doing then.
                    kernel._init_handles()
                    _watch(kernel)
            except BaseException as error:
                plan.failed(number, error)
            else:
                plan.succeeded(number, kernel)
    finally:
        plan.leave()
        perform()


# A function's pre-run hooks are the server's, and made for real arguments.
_HOOKS = threading.Lock()


def _launch(function, arguments, keywords):
    if not getattr(function, "pre_run_hooks", None):
        return _run(function, arguments, keywords)
    with _HOOKS:
        hooks, function.pre_run_hooks = function.pre_run_hooks, []
        try:
            return _run(function, arguments, keywords)
        finally:
            function.pre_run_hooks = hooks


def _run(function, arguments, keywords):
    kernel = function.run(*arguments, grid=(1, 1, 1), warmup=True, **keywords)
    return kernel.result() if hasattr(kernel, "result") else kernel


def _watch(kernel):
    own = kernel.__dict__
    name = "_run" if "_run" in own else "run"
    launcher = own.get(name)
    if callable(launcher) and type(launcher) is not FirstLaunch:
        own[name] = FirstLaunch(own, name, launcher)


class FirstLaunch:
    """Stands before the launcher of a kernel that was compiled ahead, until it is launched: once."""

    __slots__ = ("_launcher", "_name", "_own")

    def __init__(self, own, name, launcher):
        self._own, self._name, self._launcher = own, name, launcher

    def __call__(self, *arguments, **keywords):
        launcher = self._launcher
        if self._own.get(self._name) is self:
            self._own[self._name] = launcher
            used()
        return launcher(*arguments, **keywords)

    def __getattr__(self, name):
        return getattr(self._launcher, name)
