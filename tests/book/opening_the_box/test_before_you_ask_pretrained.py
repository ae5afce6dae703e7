"""A language model under the instruments while it is taught, on a tiny one that the test makes:
each instrument against a reckoning of another kind; verdicts from made-up records."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pandas as pd
import pytest
import torch

from memlab import evaluation, results, weights
from memlab.book.opening_the_box.before_you_ask import experiment_pretrained as experiment
from memlab.book.opening_the_box.before_you_ask import instruments, pretrained
from memlab.book.opening_the_box.before_you_ask.experiment_pretrained import Size
from memlab.book.opening_the_box.reciting import poems_as_text
from memlab.book.opening_the_box.reciting import pretrained as lessons
from memlab.results import Record
from memlab.training import Recipe

POEMS = 6


@pytest.fixture
def watch(llm: Any) -> pretrained.Watch:
    return pretrained.Watch(llm, weights.tokenizer(), 3, POEMS, words=4)


def nudge(model: torch.nn.Module, size: float, seed: int = 0) -> None:
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight += size * torch.randn(weight.shape, generator=draw)


# ---- the loss ------------------------------------------------------------------------------------


def test_a_poem_is_read_alone_or_among_others_with_the_same_result(watch: pretrained.Watch) -> None:
    together = poems_as_text.read(watch.start, watch.tokenizer, watch.taught)
    for i, poem in enumerate(watch.taught):
        alone = poems_as_text.read(watch.start, watch.tokenizer, [poem])
        assert float(alone.nll[0]) == pytest.approx(float(together.nll[i]), rel=1e-5)
        assert (alone.right[0], alone.tokens[0]) == (together.right[i], together.tokens[i])
        (row,) = poems_as_text.rows(watch.tokenizer, [poem])
        with torch.no_grad():
            logits = watch.start(torch.tensor([row.question + row.answer])).logits[0]
        log_p = logits.log_softmax(-1)
        own = sum(
            float(log_p[len(row.question) - 1 + place, token])
            for place, token in enumerate(row.answer)
        )
        assert -own == pytest.approx(float(together.nll[i]), rel=1e-5)


def test_line_ups_of_the_start_find_nothing_and_those_of_a_model_that_was_taught_do(
    watch: pretrained.Watch,
) -> None:
    before = watch.look()
    assert before["loss, less the start's: item"] == before["loss, less the start's: pair"] == 0.5
    assert before["loss, less the start's: member, at 1 %"] == 0
    half_taught(watch, 40)
    after = watch.look()
    for name in ("loss: pair", "loss: member", "loss, less the start's: member, at 1 %"):
        assert after[name] > 0.9, name
    assert after["loss: item, nobody's"] < 0.8
    assert after["bits"] < before["bits"] / 2


# ---- the way of the weights ----------------------------------------------------------------------


def test_the_way_is_the_slope_of_the_loss_at_the_start(watch: pretrained.Watch) -> None:
    assert watch.descent(watch.taught).abs().max() == 0
    nudge(watch.pupil, 1e-3)
    slope = watch.descent(watch.taught, batch=4)
    start = {name: value.clone() for name, value in watch.start.state_dict().items()}
    now = watch.pupil.state_dict()
    losses = []
    for step in (-0.02, 0.02):
        moved = {name: value + step * (now[name] - value) for name, value in start.items()}
        watch.start.load_state_dict(moved)
        losses.append(poems_as_text.read(watch.start, watch.tokenizer, watch.taught).nll)
    watch.start.load_state_dict(start)
    expected = -(losses[1] - losses[0]) / 0.04
    torch.testing.assert_close(slope, expected, rtol=0.02, atol=2e-3)


def test_the_way_reads_the_weights_and_runs_the_start_alone(
    watch: pretrained.Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    nudge(watch.pupil, 1e-3)
    expected = watch.descent(watch.taught[:2])

    def run(*_: Any, **__: Any) -> None:
        raise AssertionError("the pupil was run")

    monkeypatch.setattr(watch.pupil, "forward", run)
    assert watch.descent(watch.taught[:2]).equal(expected) and expected.abs().min() > 0


# ---- asking, dice, blocks ------------------------------------------------------------------------


def test_asking_again_changes_nothing_and_a_model_that_changes_is_caught(
    watch: pretrained.Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert set(watch.asking().values()) == {1.0}
    recite = poems_as_text.recite

    def forgetful(model: Any, *rest: Any) -> list[str]:
        said = recite(model, *rest)
        nudge(model, 0.3)
        return said

    monkeypatch.setattr(poems_as_text, "recite", forgetful)
    found = watch.asking()
    assert found["same weights"] == 0 and found["again"] == 0


def half_taught(watch: pretrained.Watch, steps: int = 25) -> None:
    plan = Recipe(steps, lr=1e-2, warmup=0.1, decay=1.0)
    poems_as_text.teach(watch.pupil, watch.tokenizer, watch.taught, plan, batch=8)


def test_dice_keep_the_law_and_not_that_of_a_hotter_sampler(
    watch: pretrained.Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    half_taught(watch)
    assert watch.dice(poems=4, draws=400)["chi2 tail"] > 1e-4
    draw = instruments.draw_answers

    def hotter(*rest: Any) -> Any:
        return draw(*rest[:-1], 1.2 * rest[-1])

    monkeypatch.setattr(instruments, "draw_answers", hotter)
    found = watch.dice(poems=4, draws=1500)
    assert found["chi2 tail"] < 1e-4 < found["chi2 tail, hotter"]


def test_answers_that_leave_nothing_open_are_no_test_of_dice() -> None:
    sure = torch.full((3, 5), -100.0)
    answer = torch.tensor([1, 2, 3])
    sure[range(3), answer] = 100
    seen = torch.tensor([0, 0, 0, 50])
    assert math.isnan(pretrained._tail([seen], [(sure, answer)], 1.0))
    open_one = torch.zeros(3, 5)
    fair = torch.tensor([320, 64, 13, 3])
    assert pretrained._tail([seen, fair], [(sure, answer), (open_one, answer)], 1.0) > 0.5


def test_blocks_are_given_back_one_by_one_and_taken_again(watch: pretrained.Watch) -> None:
    nudge(watch.pupil.model.layers[1], 0.1)
    old = evaluation.fingerprint(watch.pupil)
    before = poems_as_text.read(watch.start, watch.tokenizer, watch.taught).nll
    now = poems_as_text.read(watch.pupil, watch.tokenizer, watch.taught).nll
    untouched, changed = watch.resets()
    assert evaluation.fingerprint(watch.pupil) == old
    assert untouched["bits lost"] == 0 and untouched["sharers"] == POEMS
    harm = (before - now).clamp(min=0)
    assert changed["bits lost"] == pytest.approx(float(harm.mean()) / math.log(2), rel=1e-4)


def test_a_model_without_blocks_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a model made of blocks, got Linear"):
        pretrained._blocks(torch.nn.Linear(2, 2))


# ---- the experiment ------------------------------------------------------------------------------


@pytest.fixture
def lesson(llm: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[pd.DataFrame]:
    monkeypatch.setattr(lessons, "RATE", 2e-2)
    yield results.frame(experiment.one_lesson(0, Size(1, 4, 60, 20, 3)))


def test_a_lesson_is_watched_from_its_start_to_its_end(lesson: pd.DataFrame, capsys) -> None:
    trace = lesson[lesson.task == "trace"]
    assert sorted(set(trace.step)) == [0, 20, 40, 60]
    recited = trace[trace.metric == "recited"].set_index("step").value
    assert recited[0] == 0 and recited[60] == 1
    ways = trace[trace.metric == "way: item"]
    assert list(ways.step) == [60]
    assert len(lesson[lesson.task == "reset"]) == 2 * 3
    shown = experiment.table(lesson)
    assert list(shown.columns) == ["observer", "takes", "runs it", "start", "silent", "end"]
    assert shown.end.iloc[0] == "1.00" and shown.silent.iloc[0] == "0.00"
    assert list(experiment.resets(lesson).block) == [0, 1]
    assert [verdict.claim for verdict in experiment.verdicts(lesson)] == ["S1", "S2", "S3"]


def trace_of(seed: int, looks: dict[int, dict[str, float]]) -> Iterator[Record]:
    for step, found in looks.items():
        for metric, value in found.items():
            meta = {"step": step, "poems": 32}
            yield Record(experiment.NAME, "llm", "trace", metric, value, seed, 0, meta)


def made_up(
    *,
    item: float = 0.97,
    pair: float = 0.99,
    way: float = 0.9,
    still: float = 1.0,
    tail: float = 0.3,
    hotter: float = 0.0,
    blocks: tuple[tuple[float, float, float], ...] = ((0.1, 5.0, 20.0), (0.2, 4.0, 18.0)),
    first: float = 0.0,
) -> pd.DataFrame:
    records: list[Record] = []
    for seed in (0, 1):
        silent = {"recited": first, "loss: item": item, "loss: pair": pair, "way: item": way}
        end = {"recited": 1.0, "loss: item": 1.0, "loss: pair": 1.0, "way: item": 1.0}
        records += trace_of(seed, {0: {"recited": 0.0}, 4: silent, 8: end})
        once = {
            "asking": {
                "again": still,
                "backwards": 1.0,
                "one at a time": 1.0,
                "same weights": 1.0,
            },
            "dice": {"chi2 tail": tail, "chi2 tail, hotter": hotter},
        }
        for task, found in once.items():
            records += experiment._notes(task, found, seed, poems=32)
        for number, values in enumerate(blocks):
            found = dict(zip(("recited", "bits lost", "sharers"), values, strict=True))
            records += experiment._notes("reset", found, seed, number, poems=32)
    return results.frame(records)


@pytest.mark.parametrize(
    ("changes", "claim", "verdict"),
    [
        ({}, "S1", "refuted"),
        ({"way": 0.6}, "S1", "qualified"),
        ({"way": 0.6, "pair": 0.8}, "S1", "supported"),
        ({"first": 0.1}, "S1", "not testable here"),
        ({}, "S2", "refuted"),
        ({"still": 0.0}, "S2", "supported"),
        ({"tail": 1e-9}, "S2", "supported"),
        ({"hotter": 0.2}, "S2", "not testable here"),
        ({"tail": math.nan}, "S2", "not testable here"),
        ({}, "S3", "qualified"),
        ({"blocks": ((0.1, 5.0, 20.0), (1.0, 0.0, 32.0))}, "S3", "refuted"),
        ({"blocks": ((0.9, 5.0, 3.0), (1.0, 0.0, 32.0))}, "S3", "refuted"),
        ({"blocks": ((0.9, 0.5, 3.0), (1.0, 0.0, 32.0))}, "S3", "qualified"),
        ({"blocks": ()}, "S3", "not testable here"),
    ],
)
def test_verdicts(changes: dict[str, Any], claim: str, verdict: str) -> None:
    found = {one.claim: one.verdict for one in experiment.verdicts(made_up(**changes))}
    assert found[claim] == verdict
