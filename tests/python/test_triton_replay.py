"""What compiled late once is compiled before the next start takes a request, in every form of a call."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

SCRIPT = "import sys, replay_forms; replay_forms.main({task!r})"


@pytest.fixture(scope="module")
def starts(tmp_path_factory):
    """Three starts of one server: the first records, the second replays, each with an empty cache of its own."""
    from conftest import Scripts

    folder = tmp_path_factory.mktemp("replay")
    manifest = folder / "manifest"

    def start(task: str, number: int, **environment: str):
        own = folder / f"start_{number}"
        own.mkdir()
        environment = {
            "JITSPAN_MANIFEST": str(manifest),
            "OTEL_TRACES_EXPORTER": "console",
            "TRITON_PRINT_AUTOTUNING": "0",
            # Source stands in a file, and its place is a part of Triton's key.
            "REPLAY_FOLDER": str(folder),
            # A constant's hash must not matter.
            "PYTHONHASHSEED": str(number),
            **environment,
        }
        finished = Scripts(own).run(SCRIPT.format(task=task), env=environment, timeout=300)
        assert "jitspan fault" not in finished.stderr
        lines = finished.check().stdout.splitlines()
        spans = [json.loads(line) for line in lines[:-1] if line.startswith('{"')]
        return json.loads(lines[-1]), spans, finished.stderr

    first = start("record", 1)
    recorded = read(manifest)
    second = start("replay", 2)
    return {"first": first, "recorded": recorded, "second": second, "after": read(manifest)}


def read(folder: Path) -> list[dict]:
    return [json.loads(line) for file in sorted(folder.glob("*.jsonl")) for line in file.read_text().splitlines()]


def test_the_forms_are_many_and_each_compiles_at_the_first_start(starts):
    forms = starts["first"][0]["forms"]
    points = [launch for form in forms.values() for launch in form["hashes"]]
    assert len(forms) >= 40
    assert len(points) >= 75
    assert {name: form["failures"] for name, form in forms.items() if form["failures"]} == {}
    assert [name for name, form in forms.items() if form["events"] < len(form["hashes"])] == []


def test_after_a_replay_no_form_compiles_loads_or_tunes(starts):
    counts, forms = starts["second"][0]["preload"], starts["second"][0]["forms"]
    assert {name: form for name, form in forms.items() if form["events"] or form["failures"]} == {}
    assert counts["problems"] == []
    assert counts["warm"] == counts["total"] == counts["compiled"] + counts["loaded"]
    assert counts["tunings_warm"] == counts["tunings"] > 0
    assert [counts[name] for name in ("gone", "changed", "failed", "unsupported", "malformed", "late")] == [0] * 6
    # The same kernels, to the last byte of what Triton hashes.
    before = {name: form["hashes"] for name, form in starts["first"][0]["forms"].items()}
    assert {name: form["hashes"] for name, form in forms.items()} == before
    # A second start without a stall leaves no line.
    assert starts["after"] == starts["recorded"]


def test_a_hook_of_the_servers_own_is_not_run_with_arguments_that_are_none(starts):
    assert starts["first"][0]["hooked"] == starts["second"][0]["hooked"] == 1


def test_a_line_says_what_it_takes_and_what_it_cost(starts):
    lines = starts["recorded"]
    [line] = [
        line
        for line in lines
        if line["kernel"]["name"] == "plain" and dict(map(tuple_of, line["arguments"]))["n"] == {"one": ""}
    ] or [line for line in lines if line["kernel"]["name"] == "plain" and ["n", {"one": "i32"}] in line["arguments"]]
    assert (line["v"], line["kind"], line["runtime"], line["target"]) == (1, "specialization", "triton", "cuda:90:32")
    assert line["kernel"]["module"] == "replay_forms"
    assert len(line["kernel"]["source"]) == len(line["key"]) == 16
    assert dict(map(tuple_of, line["arguments"]))["x"] == {"pointer": "fp32", "aligned": True}
    assert dict(map(tuple_of, line["arguments"]))["BLOCK"] == {"constexpr": 64}
    assert (line["cause"], line["cache"], line["requests"]) == ("new_specialization", "miss", 1)
    assert line["duration"] > 0
    [tuning] = [line for line in lines if line["kernel"]["name"] == "tuned_with_a_hook" and line["kind"] == "tuning"]
    assert tuning["tuning"]["best"]["pre_hook"] is True
    assert tuning["tuning"]["key"][0] == 32


def tuple_of(pair):
    return pair[0], pair[1]


def test_no_value_of_a_number_is_written(starts):
    text = json.dumps([line["arguments"] for line in starts["recorded"] if line["kernel"]["name"] == "plain"])
    assert str(1 << 40) not in text
    assert "17" not in text


def test_a_span_event_carries_the_same(starts):
    events = [event for span in starts["first"][1] for event in span["events"]]
    carried = {event["attributes"].get("jit.specialization") for event in events}
    assert None not in carried
    recipes = [json.loads(text) for text in carried]
    identity = {json.dumps([recipe["kernel"], recipe.get("arguments"), recipe.get("tuning")]) for recipe in recipes}
    written = {json.dumps([line["kernel"], line.get("arguments"), line.get("tuning")]) for line in starts["recorded"]}
    assert identity == written


def test_the_receipt_is_logged_counted_shown_and_sent_as_one_span(starts):
    result, spans, _ = starts["second"]
    counts = result["preload"]
    [span] = [span for span in spans if span["name"] == "jit.preload"]
    assert span["attributes"]["jit.preload.warm"] == counts["warm"]
    assert span["attributes"]["jit.preload.tunings_warm"] == counts["tunings_warm"]
    assert (span["ended"] - span["started"]) / 1e9 == pytest.approx(counts["seconds"], rel=0.2)
    assert result["stats"]["preload.warm"] == counts["warm"]
    # Two points of the corpus may be one kernel, and of a tuning's winners only those that are launched are used.
    used = result["stats"]["preload.used"]
    assert counts["warm"] * 0.8 < used <= counts["warm"]
    assert f"{counts['warm']} of {counts['total']} specializations warm" in result["status"]
    assert f"since then {used} of {counts['warm']} used, 0 compiles came all the same" in result["status"]
