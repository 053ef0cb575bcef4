"""What vLLM's jit_monitor promises, and what jitspan adds to it: activate, chain, deactivate, leave no trace."""

from __future__ import annotations

import pytest
from support.records import outline, parent_id, trace_id, traceparent


def test_importing_changes_nothing(scripts):
    finished = scripts.run(
        """
        import json, logging, os, sys, threading

        def state():
            return {
                "environment": dict(os.environ),
                "handlers": [str(handler) for handler in logging.getLogger().handlers],
                "threads": threading.active_count(),
                "descriptors": sorted(os.listdir("/proc/self/fd")),
                "tasks": len(os.listdir("/proc/self/task")),
                "modules": sorted({"triton", "torch", "opentelemetry"} & set(sys.modules)),
            }

        before = state()
        import jitspan
        assert state() == before, (before, state())
        print(json.dumps(jitspan.is_active()))
        """
    )
    assert finished.json() is False


def test_an_unknown_mode_is_a_value_error_and_activates_nothing(scripts):
    finished = scripts.run(
        """
        import json, jitspan, kernels
        from triton import knobs

        try:
            jitspan.activate(mode="quiet")
        except ValueError as error:
            message = str(error)
        print(json.dumps([message, jitspan.is_active(), knobs.runtime.jit_post_compile_hook]))
        """
    )
    message, active, hook = finished.json()
    assert message.startswith("Unsupported JIT monitor mode: ")
    assert "quiet" in message
    assert (active, hook) == (False, None)


def test_activating_twice_reports_a_compile_once(scripts, receiver):
    scripts.run(
        f"""
        import jitspan, kernels

        jitspan.activate()
        jitspan.activate()
        assert jitspan.is_active()
        with jitspan.request({traceparent(1)!r}):
            kernels.launch_add()
        assert jitspan.flush(timeout=10)
        print("null")
        """,
        env=receiver.environment(),
    ).json()
    assert outline(receiver.spans) == [(trace_id(1), parent_id(1), "inference", ["jit.compile"])]


def test_activating_logs_one_info_line(scripts):
    finished = scripts.run(
        """
        import json, logging, jitspan

        lines = []
        class Keep(logging.Handler):
            def emit(self, record):
                lines.append(record.levelname)
        logging.getLogger("jitspan").addHandler(Keep())
        logging.getLogger("jitspan").setLevel(logging.INFO)
        jitspan.activate()
        print(json.dumps(lines))
        """
    )
    assert finished.json() == ["INFO"]


@pytest.mark.parametrize("slot", ["jit_cache_hook", "jit_post_compile_hook"])
def test_a_hook_that_was_there_gets_exactly_what_triton_gave_and_its_answer_is_returned(scripts, slot):
    scripts.run(
        f"""
        import jitspan
        from triton import knobs

        answer, calls = object(), []
        def previous(*arguments, **keywords):
            calls.append((arguments, keywords))
            return answer

        knobs.runtime.{slot} = previous
        jitspan.activate()
        assert knobs.runtime.{slot} is not previous
        given = {{"key": object(), "repr": object(), "fn": object(), "compile": {{}}, "is_manual_warmup": False,
                 "already_compiled": False, "added_by_a_later_triton": object()}}
        assert knobs.runtime.{slot}(**given) is answer
        [(arguments, keywords)] = calls
        assert arguments == ()
        assert list(keywords) == list(given)
        assert all(keywords[name] is given[name] for name in given)
        print("null")
        """
    ).json()


def test_a_listener_that_was_there_is_called_for_a_real_compile(scripts):
    finished = scripts.run(
        """
        import json, jitspan, kernels
        from triton import knobs

        calls = []
        knobs.compilation.listener = lambda **keywords: calls.append(sorted(keywords))
        jitspan.activate()
        kernels.launch_add()
        print(json.dumps(calls))
        """
    )
    assert finished.json() == [["cache_hit", "metadata", "metadata_group", "src", "times"]]


def test_a_hook_that_drops_launches_still_drops_them(scripts):
    finished = scripts.run(
        """
        import json, jitspan, kernels
        from triton import knobs

        knobs.runtime.jit_cache_hook = lambda **_: True
        jitspan.activate()
        print(json.dumps([kernels.launch_add(), len(kernels.GPU.launches)]))
        """
    )
    assert finished.json() == [None, 0]


def test_an_exception_of_a_hook_that_was_there_reaches_the_caller(scripts):
    finished = scripts.run(
        """
        import json, jitspan, kernels
        from triton import knobs

        def previous(**_):
            raise LookupError("not mine to swallow")

        knobs.runtime.jit_post_compile_hook = previous
        jitspan.activate()
        try:
            kernels.launch_add()
        except LookupError as error:
            print(json.dumps(str(error)))
        """
    )
    assert finished.json() == "not mine to swallow"


def test_deactivating_puts_back_what_was_found(scripts, receiver):
    finished = scripts.run(
        """
        import json, jitspan, kernels
        from triton import knobs

        def mine(**_):
            pass

        def slots():
            return [knobs.runtime.jit_cache_hook, knobs.runtime.jit_post_compile_hook, knobs.compilation.listener,
                    knobs.autotuning.print]

        knobs.runtime.jit_post_compile_hook = mine
        found = slots()
        jitspan.activate()
        assert slots() != found
        jitspan.deactivate()
        assert slots() == found, slots()
        kernels.launch_add()
        kernels.launch_tuned_copy()
        jitspan.deactivate()
        print(json.dumps([jitspan.is_active(), jitspan.flush(timeout=5)]))
        """,
        env=receiver.environment(),
    )
    assert finished.json() == [False, True]
    assert receiver.spans == []


def test_deactivating_under_somebody_who_chained_onto_us_falls_silent_and_breaks_nothing(scripts, receiver):
    finished = scripts.run(
        """
        import json, jitspan, kernels
        from triton import knobs

        jitspan.activate()
        ours, calls = knobs.runtime.jit_post_compile_hook, []
        def theirs(**keywords):
            calls.append(keywords["fn"].name)
            return ours(**keywords)
        knobs.runtime.jit_post_compile_hook = theirs
        jitspan.deactivate()
        assert knobs.runtime.jit_post_compile_hook is theirs
        kernels.launch_add()
        jitspan.flush(timeout=5)
        print(json.dumps(calls))
        """,
        env=receiver.environment(),
    )
    assert finished.json() == ["add"]
    assert receiver.spans == []


def test_activating_again_after_deactivating_reports_again(scripts, receiver):
    scripts.run(
        f"""
        import jitspan, kernels

        jitspan.activate()
        jitspan.deactivate()
        kernels.launch_add(block=128)
        jitspan.activate()
        with jitspan.request({traceparent(2)!r}):
            kernels.launch_add(block=256)
        assert jitspan.flush(timeout=10)
        print("null")
        """,
        env=receiver.environment(),
    ).json()
    assert outline(receiver.spans) == [(trace_id(2), parent_id(2), "inference", ["jit.compile"])]


def test_a_missing_runtime_is_skipped_with_a_debug_line(scripts):
    finished = scripts.run(
        """
        import json, logging, sys
        sys.modules["triton"] = None  # an import of it now raises ModuleNotFoundError
        import jitspan

        lines = []
        class Keep(logging.Handler):
            def emit(self, record):
                lines.append((record.levelname, record.getMessage()))
        logging.getLogger("jitspan").addHandler(Keep())
        logging.getLogger("jitspan").setLevel(logging.DEBUG)
        jitspan.activate()
        mentioned = sorted({level for level, message in lines if "triton" in message.lower() and level != "INFO"})
        print(json.dumps([jitspan.is_active(), mentioned]))
        """
    )
    assert finished.json() == [True, ["DEBUG"]]


@pytest.mark.parametrize(("variable", "printing"), [({}, True), ({"TRITON_PRINT_AUTOTUNING": "0"}, False)])
def test_triton_prints_autotuning_unless_the_environment_forbids_it(scripts, variable, printing):
    finished = scripts.run(
        """
        import json, jitspan, kernels
        from triton import knobs

        jitspan.activate()
        print(json.dumps(bool(knobs.autotuning.print)))
        """,
        env=variable,
    )
    assert finished.json() is printing


@pytest.mark.parametrize(("verbose", "warnings"), [(False, 1), (True, 2)])
def test_a_repeated_compile_is_warned_of_once_and_every_time_when_verbose(scripts, receiver, verbose, warnings):
    finished = scripts.run(
        f"""
        import json, logging, os, shutil, jitspan, kernels

        lines = []
        class Keep(logging.Handler):
            def emit(self, record):
                if record.levelno >= logging.WARNING:
                    lines.append(record.getMessage())
        logging.getLogger("jitspan").addHandler(Keep())
        jitspan.activate(verbose={verbose})
        for number in (1, 2):
            with jitspan.request(f"00-{{number:032x}}-{{number:016x}}-01"):
                kernels.launch_add()
            kernels.forget(kernels.add)
            shutil.rmtree(os.environ["TRITON_CACHE_DIR"])
        assert jitspan.flush(timeout=10)
        print(json.dumps(["add" in line for line in lines]))
        """,
        env=receiver.environment(),
    )
    assert finished.json() == [True] * warnings
    # The log is quiet the second time; the request that waited is told all the same.
    assert outline(receiver.spans) == [
        (f"{number:032x}", f"{number:016x}", "inference", ["jit.compile"]) for number in (1, 2)
    ]


@pytest.mark.parametrize(
    ("variable", "value"),
    [("JITSPAN_FLUSH_TIMEOUT", "soon"), ("JITSPAN_EVENTS", "morse"), ("OTEL_EXPORTER_OTLP_ENDPOINT", "carrier:pigeon")],
)
def test_bad_configuration_stops_activate_naming_variable_and_value(scripts, variable, value):
    finished = scripts.run(
        """
        import json, jitspan

        try:
            jitspan.activate()
        except ValueError as error:
            print(json.dumps([str(error), jitspan.is_active()]))
        """,
        env={variable: value},
    )
    message, active = finished.json()
    assert variable in message
    assert value in message
    assert active is False


def test_verbose_names_constexprs_signature_options_and_key(scripts, receiver):
    finished = scripts.run(
        """
        import jitspan, kernels

        jitspan.activate(verbose=True)
        kernels.launch_add(block=256)
        """,
        env=receiver.environment(),
    )
    [line] = [line for line in finished.stderr.splitlines() if "JIT compilation" in line]
    for part in ("constexprs=BLOCK=256", "signature=output=*fp32", "options=num_warps=4", "key=["):
        assert part in line
