"""Why a kernel was compiled, by what its argument was before and is now, whether or not the parameter has a type."""

from __future__ import annotations

import itertools
import json

import pytest

# What Triton tells apart: 1, multiples of 16, and any other; below 2**31, or not.
CLASSES = {"1": [1, 1], "any": [2, 17], "divisible by 16": [16, 32]}
WIDE = {"any": [(1 << 40) + 1], "divisible by 16": [1 << 40]}

ANNOTATIONS = ["tl.int32", "tl.int64", "tl.uint32", "'i32'", "int"]

SCRIPT = """
    import json
    import fake_gpu, triton, triton.language as tl
    fake_gpu.install()
    import jitspan

    X, UNALIGNED = fake_gpu.FakeTensor("float32"), fake_gpu.FakeTensor("float32", offset=4)

    def kernel(annotation):
        def store(x, n, BLOCK: tl.constexpr, KIND: tl.constexpr = "it's [1, (2"):
            tl.store(x + tl.arange(0, BLOCK), n)
        if annotation is not None:
            store.__annotations__["n"] = annotation
        return triton.jit(store)

    jitspan.activate()
    for number, (annotation, before, now) in enumerate(CASES):
        annotation = eval(annotation)
        launched = kernel(annotation)
        launched[(1,)](X, before, BLOCK=16)
        with jitspan.request(name=f"case {number}"):
            launched[(1,)](X, now, BLOCK=16)
    jitspan.flush()
"""


@pytest.fixture
def changes(scripts):
    """What was said of each case, in order; None where nothing compiled."""

    def changes(cases: list[tuple[str, object, object]]) -> list[str | None]:
        source = "\n    CASES = " + repr(cases) + SCRIPT
        finished = scripts.run(source, env={"OTEL_TRACES_EXPORTER": "console"}, timeout=170).check()
        assert "jitspan fault" not in finished.stderr
        said: dict[str, str | None] = {}
        for span in map(json.loads, finished.stdout.splitlines()):
            if span["name"].startswith("case"):
                (event,) = span["events"]
                assert event["attributes"]["jit.cause"] == "new_specialization"
                said[span["name"]] = event["attributes"].get("jit.changes", "")
        return [said.get(f"case {number}") for number in range(len(cases))]

    return changes


def phrase(before: str, now: str) -> str | None:
    match before, now:
        case _ if before == now:
            return None
        case "any", "divisible by 16":
            return "n: not divisible by 16 -> divisible"
        case "divisible by 16", "any":
            return "n: divisible by 16 -> not"
        case _:
            return f"n: {before} -> {now}"


def check(changes, annotation: str, classes: dict[str, list[int]], say=phrase) -> None:
    pairs = list(itertools.product(classes, repeat=2))
    cases = [(annotation, classes[before][0], classes[now][-1]) for before, now in pairs]
    found = dict(zip([f"{before} -> {now}" for before, now in pairs], changes(cases), strict=True))
    assert found == {f"{before} -> {now}": say(before, now) for before, now in pairs}


@pytest.mark.parametrize("annotation", ["None", *ANNOTATIONS])
def test_the_class_of_a_whole_number_that_changed_is_named(changes, annotation):
    check(changes, annotation, CLASSES)


@pytest.mark.parametrize("annotation", ["None", "tl.int64"])
def test_and_of_a_large_one(changes, annotation):
    check(changes, annotation, WIDE)


def test_a_parameter_of_64_bits_does_not_change_its_type(changes):
    cases = [("tl.int64", 2, (1 << 40) + 1), ("tl.int64", 1, 1 << 40), ("tl.int64", 1 << 40, 1)]
    assert changes(cases) == [None, "n: 1 -> divisible by 16", "n: divisible by 16 -> 1"]


def test_a_number_without_a_type_that_grows_does(changes):
    cases = [("None", 2, (1 << 40) + 1), ("None", 1, 1 << 40), ("None", 2, 1.5), ("None", 1, 1.5), ("None", 16, True)]
    # A truth value is called `u1` from 3.4 on.
    assert [said and said.replace("u1", "i1") for said in changes(cases)] == [
        "dtype of n: i32 -> i64",
        "n: 1 -> divisible by 16",
        "dtype of n: i32 -> fp32",
        "n: 1 -> any",
        "dtype of n: i32 -> i1; n: divisible by 16 -> not",
    ]


@pytest.mark.parametrize(("annotation", "values"), [("tl.float32", [1.0, 2.5, 16.0]), ("None", [1.0, 2.5, 16.0])])
def test_a_number_with_a_fraction_is_never_specialized(changes, annotation, values):
    assert set(changes([(annotation, *pair) for pair in itertools.product(values, repeat=2)])) == {None}


def test_a_generated_kernel_has_the_name_that_it_was_given(scripts):
    source = """
    import json
    import fake_gpu, triton, triton.language as tl
    fake_gpu.install()
    import jitspan

    def define():
        def template(x):
            tl.store(x + tl.arange(0, 16), 1)
        template.__name__ = "made_for_fp8"
        return triton.jit(template)

    jitspan.activate()
    define()[(1,)](fake_gpu.FakeTensor("float32"))
    jitspan.flush()
    """
    finished = scripts.run(source, env={"OTEL_TRACES_EXPORTER": "console"}).check()
    [span] = map(json.loads, finished.stdout.splitlines())
    assert span["attributes"]["jit.kernel.name"] == "made_for_fp8"
