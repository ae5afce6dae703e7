"""Chapter 12's tools: the clock, the roofline, laws and crossings; and its measurements, at sizes
that show nothing."""

from __future__ import annotations

import itertools
import math
import random
import subprocess
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from memlab import retrieval
from memlab.book.outside_the_weights.what_it_costs import clock_and_laws, measure, whole_runs
from memlab.decoder import (
    MemoryDecoder,
    pretrained,
)
from memlab.memories import KeyValue
from memlab.models import causal_baseline

SIZES = [1e3, 2e3, 4e3, 1.6e4, 6.4e4]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that stands still until a task moves it."""
    now = [0.0]
    monkeypatch.setattr(clock_and_laws.time, "process_time", lambda: now[0])
    return now


def test_seconds_are_the_least_of_some_rounds(clock: list[float]) -> None:
    takes = iter([9.0, 3.0, 2.0, 4.0])

    def task() -> None:
        clock[0] += next(takes)

    assert clock_and_laws.seconds(task, rounds=3) == pytest.approx(2.0), (
        "the first call goes ahead and does not count"
    )


def test_what_is_short_is_repeated_and_what_is_long_is_done_once(clock: list[float]) -> None:
    calls = []

    def short() -> None:
        calls.append(0)
        clock[0] += 0.001

    assert clock_and_laws.seconds(short, rounds=2) == pytest.approx(0.001) and len(calls) == 41
    calls.clear()

    def long() -> None:
        calls.append(0)
        clock[0] += 5

    assert clock_and_laws.seconds(long, rounds=1) == pytest.approx(5) and len(calls) == 1


@given(st.floats(0, 1e-1), st.floats(1e-7, 1e-3), st.floats(1e-12, 1e-8))
def test_a_law_gives_back_its_coefficients(a: float, b: float, c: float) -> None:
    found = clock_and_laws.law(SIZES, [a + b * n + c * n * n for n in SIZES], terms=(0, 1, 2))
    for n in (*SIZES, 1e6):
        assert found(n) == pytest.approx(a + b * n + c * n * n, rel=1e-5)
    assert found.longest == SIZES[-1] and min(found.a, found.b, found.c) >= 0


def test_a_law_has_no_negative_cost_and_says_what_it_needs() -> None:
    falling = clock_and_laws.law([1, 2, 4], [4.0, 3.0, 2.5])
    assert falling.b == 0 and falling.a > 0
    through = clock_and_laws.law([10, 20], [1.0, 2.0], terms=(1,))
    assert (through.a, through.b, through.c) == (0.0, pytest.approx(0.1), 0.0)
    for sizes, spent in (([1], [1.0]), ([1, 2], [1.0]), ([1, 2], [1.0, 0.0])):
        with pytest.raises(ValueError, match="expected at least 2 sizes with a cost above 0"):
            clock_and_laws.law(sizes, spent)


def squares(found: clock_and_laws.Law, sizes: list[float], costs: list[float]) -> float:
    """The sum of squared relative errors of a law."""
    return sum((found(n) / spent - 1) ** 2 for n, spent in zip(sizes, costs, strict=True))


def best_of_all_subsets(sizes: list[float], costs: list[float]) -> float:
    """The least squares of a law with coefficients that are not negative: the terms that are not
    0 at the optimum are one of the subsets, fitted without a condition."""
    spent = torch.tensor(costs, dtype=torch.float64)
    unit = torch.tensor(sizes, dtype=torch.float64) / max(sizes)
    best = math.inf
    for count in (1, 2, 3):
        for powers in itertools.combinations((0, 1, 2), count):
            design = torch.stack([unit**power / spent for power in powers], 1)
            solved = torch.linalg.lstsq(design, torch.ones(len(sizes), 1, dtype=torch.float64))
            if solved.solution.min() >= 0:
                best = min(best, float((design @ solved.solution - 1).square().sum()))
    return best


def test_no_subset_of_terms_fits_better_than_a_law() -> None:
    rng = random.Random(12)
    for _ in range(300):
        sizes = [float(n) for n in rng.sample(range(1, 10_000), rng.randint(3, 8))]
        costs = [rng.uniform(0.1, 10.0) for _ in sizes]
        found = clock_and_laws.law(sizes, costs, terms=(0, 1, 2))
        assert min(found.a, found.b, found.c) >= 0
        assert squares(found, sizes, costs) <= best_of_all_subsets(sizes, costs) + 1e-12


@given(st.floats(0.1, 10), st.floats(1e-3, 1), st.floats(1e-6, 1e-2))
def test_a_crossing_is_the_root(fixed: float, each: float, pair: float) -> None:
    root = (each + math.sqrt(each * each + 4 * pair * fixed)) / (2 * pair)
    ours, other = clock_and_laws.Law(fixed, each, 0.0, 1), clock_and_laws.Law(0.0, 0.0, pair, 1)
    assert clock_and_laws.crossing(ours, other) == pytest.approx(root, rel=1e-6)
    assert clock_and_laws.crossing(lambda n: ours(n) / 1e9, lambda n: other(n) + ours(n)) == 1
    assert clock_and_laws.crossing(lambda n: n + 1, lambda n: n) == math.inf


def test_roofline_and_counted_operations() -> None:
    machine = clock_and_laws.Limits(10e9, 50e9)
    assert (
        machine.seconds(50e9, 1) == 1
        and machine.seconds(1, 10e9) == 1
        and machine.seconds(50e9, 40e9) == 4
    )
    left, right = torch.ones(3, 5), torch.ones(5, 7)
    assert clock_and_laws.flops(lambda: left @ right) == 2 * 3 * 5 * 7
    found = clock_and_laws.limits(megabytes=1, side=64, rounds=1)
    assert found.bytes_per_second > 1e7 and found.flops_per_second > 1e6
    assert clock_and_laws.exponent([1, 2, 4], [3.0, 12.0, 48.0]) == pytest.approx(2)


@pytest.fixture
def model(decoder: MemoryDecoder) -> MemoryDecoder:
    return decoder


def test_every_system_reads_the_same_text(model: MemoryDecoder) -> None:
    segments = measure.text(model, 600)
    found = dict(measure.costs_of_reading(model, segments))
    assert set(found) == {"model", "float32", "int8", "files", "linear"}
    assert all(value >= 0 for one in found.values() for value in one.values())
    rows, tokens = found["model"]["rows"], found["model"]["length"]
    assert (rows, tokens) == (len(segments), sum(map(len, segments))) and 600 <= tokens < 700
    assert found["float32"]["bytes"] == rows * KeyValue.bytes_per_row(8, 96)
    small = rows * KeyValue.bytes_per_row(8, 96, torch.int8, torch.int8)
    assert found["int8"]["bytes"] == found["files"]["bytes"] == small
    words = measure.words(measure.texts_of(segments))
    assert words["bytes"] > sum(map(len, measure.texts_of(segments)))
    drawn = dict(measure.drawn(model, 2 * 600))
    assert 1.5 < drawn["int8"]["bytes"] / small < 2.5


def test_bytes_of_an_index_are_those_of_its_parts() -> None:
    index = retrieval.BM25(["one two three", "two three four"])
    entries = (
        6  # a word in a sentence each: a score and a row number; one pointer a word and the end
    )
    assert index.nbytes >= entries * 8 + 5 * 4 and index.nbytes < 400


def test_attention_keeps_keys_and_values_of_every_layer() -> None:
    model = causal_baseline.causal_model(
        config=causal_baseline.causal_config(width=32, layers=2, heads=4, feed=32)
    )
    ids = torch.randint(5, 2000, (1, 40), generator=torch.Generator().manual_seed(0))
    found = measure.attending(model.eval(), ids)
    assert found["bytes"] == 2 * 2 * 32 * 4 * 40, "the question that was asked is not kept"
    assert found["build"] > 0 and found["answer"] > 0


def test_files_can_be_forgotten_by_the_system(tmp_path: Path) -> None:
    file = tmp_path / "rows"
    file.write_bytes(bytes(10_000))
    measure.forget(tmp_path)
    assert file.read_bytes() == bytes(10_000)


def test_the_historic_iteration_loses_at_full_load() -> None:
    found = dict(measure.historic(16, 16, 24))
    assert found["exact"]["error"] < 1e-4 < found["steps"]["error"]


def test_a_streamed_text_holds_its_facts(
    model: MemoryDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whole_runs, "BLOCK", 500)
    blocks = list(whole_runs.streamed(model, 1200))
    assert [[fact.kind for fact in facts] for _, facts in blocks] == [["needle"], [], ["passkey"]]
    for segments, facts in blocks:
        text = "".join(measure.texts_of(segments))
        assert all(sentence in text for fact in facts for sentence in fact.sentences)
    assert 1200 <= sum(len(segment) for segments, _ in blocks for segment in segments) < 1500
    (one,) = whole_runs.streamed(model, 400)
    assert [fact.kind for fact in one[1]] == ["needle", "passkey"]


def test_a_whole_run_finds_what_was_hidden() -> None:
    found = whole_runs.whole(500, "int8")
    config = pretrained.shipped().config
    assert found["bytes"] == found["rows"] * KeyValue.bytes_per_row(
        config.key_width, config.latent_width, torch.int8, torch.int8
    )
    assert found["right"] == found["asked"] == 2 and 500 <= found["length"] < 700
    parts = [found[name] for name in ("text", "encode", "write", "read", "answer")]
    assert found["cpu"] == pytest.approx(sum(parts)) and found["peak"] >= found["before"] > 1e8


def test_what_a_child_says_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    done = subprocess.CompletedProcess([], 0, 'noise\n{"cpu": 1.5}\n', "")
    monkeypatch.setattr(whole_runs.subprocess, "run", lambda *_, **__: done)
    assert whole_runs.in_a_child(400, "int8") == {"cpu": 1.5}
    done.returncode, done.stderr = 1, "Traceback\nKeyError: 'int7'\n"
    with pytest.raises(
        ValueError, match="expected a whole run over 400 tokens, got: KeyError: 'int7'"
    ):
        whole_runs.in_a_child(400, "int7")
