# What natives have left to be done once they have returned, so that the host's code runs above no Rust frame of ours.
# Compiled by `boundary.rs`, which gives `take`, `fault` and `line`.


def perform():
    """Does what the natives that this thread has called have left."""
    left = take()
    while left is not None:
        _run(left)
        left = take()


def _run(left):
    interrupt = None
    for function, arguments in left:
        try:
            function(*arguments)
        except Exception as error:
            fault("left", f"{type(error).__name__}: {error}")
        except BaseException as error:
            # Ctrl-C while a handler writes: the rest is done first, and then it goes on to the host.
            interrupt = error
    if interrupt is not None:
        try:
            raise interrupt
        finally:
            del interrupt


def write(level, message):
    """Writes a line. A handler that raises is swallowed, as `logging` itself would."""
    import logging

    writing = line()
    try:
        logger = logging.getLogger("jitspan")
        number = getattr(logging, level.upper())
        # Not `logger.warning`: that would name a line of whoever called us.
        if logger.isEnabledFor(number):
            logger.handle(logger.makeRecord("jitspan", number, "jitspan", 0, "%s", (message,), None))
    except Exception:
        pass
    finally:
        del writing


def flush(function, arguments, done):
    """Calls somebody else's flush, which may hang, in a thread of its own. `done` is called when it has returned."""
    from threading import Thread

    def body():
        try:
            function(*arguments)
        except Exception as error:
            fault("provider_flush", f"{type(error).__name__}: {error}")
        finally:
            done()
            perform()

    try:
        # Python's own thread, not one of ours: a daemon thread may hang while the interpreter ends.
        Thread(target=body, name="jitspan-flush", daemon=True).start()
    except BaseException:
        done()
        raise


def performs(native):
    """A function that calls `native` and does what it has left. It looks like it."""

    def function(*args, **kwargs):
        try:
            return native(*args, **kwargs)
        finally:
            perform()

    function.__name__ = native.__name__
    function.__qualname__ = native.__qualname__
    function.__doc__ = native.__doc__
    function.__wrapped__ = native
    return function


def start_timer(seconds, function):
    """Calls `function` after so many seconds."""
    from threading import Timer

    timer = Timer(seconds, performs(function))
    timer.daemon = True
    timer.start()
