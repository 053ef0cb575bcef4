"""A kernel is launched, fails, and is compiled with jitspan as it is without, whatever it is called with."""

from __future__ import annotations

import json

import pytest

# Imported: where a kernel's source stands is a part of what is compared.
SCRIPT = "import json, triton_forms; print(json.dumps(triton_forms.run_all()))"


@pytest.fixture(scope="module")
def forms(tmp_path_factory):
    """What came of each form, and what was reported, by who watches: nobody, jitspan, a hook of the program's, both."""
    from conftest import Scripts

    def run(**environment: str):
        scripts = Scripts(tmp_path_factory.mktemp("forms"))
        finished = scripts.run(SCRIPT, env={"TRITON_PRINT_AUTOTUNING": "0", **environment}, timeout=300)
        lines = finished.check().stdout.splitlines()
        spans = [json.loads(line) for line in lines[:-1] if line.startswith('{"')]
        return json.loads(lines[-1]), spans, finished.stderr

    watched = {"FORMS_WATCHED": "1", "OTEL_TRACES_EXPORTER": "console"}
    return {
        "nobody": run(),
        "jitspan": run(**watched),
        "hook": run(FORMS_HOOKED="1"),
        "both": run(FORMS_HOOKED="1", **watched),
    }


@pytest.mark.parametrize(("without", "watched"), [("nobody", "jitspan"), ("hook", "both")])
def test_no_call_of_a_kernel_ends_otherwise(forms, without, watched):
    expected, found = forms[without][0], forms[watched][0]
    assert len(expected) > 200
    assert {name: found.get(name) for name in expected if found.get(name) != expected[name]} == {}


def test_the_forms_are_of_all_kinds(forms):
    results = [json.dumps(form["result"]) for form in forms["nobody"][0].values()]
    assert sum('"ptx"' in result for result in results) > 100
    assert sum('"raised"' in result for result in results) > 40


def test_a_hook_alone_breaks_some_which_is_what_they_are_for(forms):
    raised = {
        who: {name for name, form in forms[who][0].items() if "raised" in json.dumps(form["result"])} for who in forms
    }
    broken = sorted(raised["hook"] - raised["nobody"])
    print(len(broken), "forms fail with a hook:", broken)
    assert "constant: enum" in broken


def test_what_no_hook_could_be_told_of_is_reported_as_everything_else(forms):
    results, spans, log = forms["jitspan"]
    events = {span["name"]: len(span["events"]) for span in spans}
    assert events["constant: enum"] == events["constant: int enum"] == events["constant: 1"] == 1
    silent = [name for name in results if '"ptx"' in json.dumps(results[name]["result"]) and not events.get(name)]
    # These set a hook in the place of ours.
    assert [name for name in silent if not name.startswith("preload")] == []
    assert "jitspan fault" not in log


GUARDED_BY_VLLM = """
    import functools, json
    import jitspan, triton, triton.runtime.jit as jit
    import triton_forms as forms

    def guard_as_vllm_does():
        original = jit.serialize_specialization_data
        if getattr(original, "guarded_by_vllm", False):
            return

        @functools.wraps(original)
        def guarded(*arguments, **keywords):
            try:
                return original(*arguments, **keywords)
            except (TypeError, ValueError):
                return None

        guarded.guarded_by_vllm = True
        jit.serialize_specialization_data = guarded

    heard = []

    def hook_as_vllm_does():
        owner, name = forms.slot(forms.VERSION >= (3, 2))
        existing = getattr(owner, name)

        def hear(**keywords):
            heard.append(keywords["compile"]["specialization_data"])
            return existing(**keywords) if existing is not None else None

        setattr(owner, name, hear)
        return lambda: setattr(owner, name, existing)

    def launch(value):
        kernel = forms.jit(forms.take)
        return forms.tried(lambda: forms.launch(kernel, forms.X, 4, value)), forms.size(kernel)

    def all_of_them():
        return [launch(value) for value in (3, forms.Color.RED)]

    def vllm():
        guard_as_vllm_does()
        return hook_as_vllm_does()

    original = jit.serialize_specialization_data
"""


@pytest.mark.parametrize(
    "order",
    [
        "unhook = vllm(); jitspan.activate(); use(); jitspan.deactivate(); use()",
        "jitspan.activate(); unhook = vllm(); use(); jitspan.deactivate(); use()",
        "jitspan.activate(); unhook = vllm(); jitspan.deactivate(); jitspan.activate(); use()",
        "jitspan.activate(); jitspan.deactivate(); unhook = vllm(); use()",
    ],
)
def test_vllms_own_guard_works_beside_ours_in_any_order(scripts, order):
    expected, expected_heard = scripts.run(
        GUARDED_BY_VLLM + "\n    vllm(); results = all_of_them(); print(json.dumps([results, heard]))"
    ).json()
    found = scripts.run(
        GUARDED_BY_VLLM
        + f"""
    found = []
    use = lambda: found.append((all_of_them(), list(heard), heard.clear())[:2])
    {order}
    print(json.dumps(found))
    """,
        env={"OTEL_TRACES_EXPORTER": "none"},
    ).json()
    assert None in expected_heard
    assert found == [[expected, expected_heard]] * len(found)


def test_the_guard_goes_with_us_and_the_next_program_gets_tritons_own_error(scripts):
    restored, alone, after = scripts.run(
        GUARDED_BY_VLLM
        + """
    jitspan.activate()
    alone = launch(forms.Color.RED)
    jitspan.deactivate()
    restored = jit.serialize_specialization_data is original
    jitspan.activate()
    vllms = vllm()
    jit.serialize_specialization_data = jit.serialize_specialization_data.__wrapped__
    kept = jit.serialize_specialization_data
    jitspan.deactivate()
    # Somebody has kept ours: it is silent.
    jit.serialize_specialization_data = kept
    print(json.dumps([restored, alone, launch(forms.Color.RED)]))
    """,
        env={"OTEL_TRACES_EXPORTER": "none"},
    ).json()
    assert restored
    assert "ptx" in alone[0]
    assert "not JSON serializable" in json.dumps(after)
