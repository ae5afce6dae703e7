"""A cell of the harder needles: rows are where they should be, readers read what they say they
read."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from memlab import retrieval, weights
from memlab.book.outside_the_weights.needles.measure_harder import Cell
from memlab.corpora import ruler, tokenization
from memlab.corpora.ruler import Task
from memlab.decoder import (
    MemoryDecoder,
    MemoryDecoderConfig,
    new_decoder,
    reading,
    tiny_text_config,
)

TRIALS, LENGTH = 3, 1500
TASKS = [
    Task("single"),
    Task("multi-key"),
    Task("multi-value"),
    Task("multi-query"),
    Task("chain"),
    Task("tracking"),
    Task("mismatch"),
    Task("single", present=False),
]


@pytest.fixture(scope="module")
def model() -> MemoryDecoder:
    """Untrained, so that what is found is found by the algebra alone."""
    sizes = {
        "latent_width": 64,
        "key_width": 16,
        "slots": 64,
        "segment_tokens": 64,
        "encoder_layers": 1,
        "encoder_heads": 2,
    }
    return new_decoder(MemoryDecoderConfig(tiny_text_config(2048, 32, 1, 2, 264), **sizes)).eval()


@pytest.fixture(scope="module")
def shared() -> dict:
    return {}


@pytest.fixture(params=TASKS, ids=lambda task: f"{task.kind} {task.present}")
def cell(request: pytest.FixtureRequest, model: MemoryDecoder, shared: dict) -> Cell:
    return Cell(model, request.param, LENGTH, trials=TRIALS, shared=shared)


def texts(cell: Cell, trial: int, rows: Sequence[int]) -> list[str]:
    """The text of rows of a cell, whose memory holds the haystack first and the facts behind it."""
    made = cell.trials[trial]
    own = set(cell.own[trial])
    order = [i for i in range(len(made.segments)) if i not in own] + cell.own[trial]
    return [weights.tokenizer().decode(list(made.segments[order[row]])).strip() for row in rows]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, model: MemoryDecoder) -> None:
    """A decoder that writes out the segment of the latent it reads, whatever it may have
    learned."""
    known: dict[bytes, str] = {}
    encode = reading.encode

    def spying(
        model: MemoryDecoder, segments: Sequence[Sequence[int]], **more: int
    ) -> tuple[Tensor, Tensor]:
        latents, keys = encode(model, segments, **more)
        known.update(
            (latent.numpy().tobytes(), weights.tokenizer().decode(list(segment)))
            for latent, segment in zip(latents, segments, strict=True)
        )
        return latents, keys

    monkeypatch.setattr(reading, "encode", spying)
    monkeypatch.setattr(
        reading,
        "write_out",
        lambda model, latents, cues, tokenizer: [
            known[latent.numpy().tobytes()] for latent in latents
        ],
    )


def test_needed_rows_hold_the_facts_that_answer(cell: Cell) -> None:
    for trial, made in enumerate(cell.trials):
        puzzle = made.puzzle
        lines = [line for chain in puzzle.chains[: puzzle.needed] for line in chain]
        assert texts(cell, trial, cell.needed(trial)) == lines
        everything = texts(cell, trial, range(len(made.segments)))
        assert (
            len(everything)
            == len(cell.bases[trial]) + len(cell.facts[trial][0])
            == len(made.segments)
        )


def test_latents_by_row_are_those_of_their_segments(cell: Cell) -> None:
    made, own = cell.trials[0], cell.own[0]
    order = [i for i in range(len(made.segments)) if i not in set(own)] + own
    rows = [0, len(cell.bases[0]) - 1, *range(len(cell.bases[0]), len(order))]
    wanted = reading.encode(cell.model, [made.segments[order[row]] for row in rows])[0]
    assert torch.allclose(cell.take(0, rows), wanted, atol=1e-5)


@pytest.mark.usefixtures("told")
def test_the_oracle_is_right_where_there_is_an_answer(model: MemoryDecoder) -> None:
    for task in TASKS[:-1]:
        for one in Cell(model, task, LENGTH, trials=2).oracle():
            assert (one.recall, one.address, one.fit) == (1.0, 1.0, None), task
    assert [one.said for one in Cell(model, TASKS[-1], LENGTH, trials=2).oracle()] == ["", ""]


@pytest.mark.usefixtures("told")
def test_nearest_is_a_scan_of_all_rows(model: MemoryDecoder) -> None:
    cell = Cell(model, Task("multi-value"), LENGTH, trials=TRIALS)
    for trial, one in enumerate(cell.nearest()):
        made = cell.trials[trial]
        scores = reading.encode(model, made.segments)[1] @ reading.query_keys(model, made.cues)[0]
        best = {
            weights.tokenizer().decode(list(made.segments[int(i)])) for i in scores.topk(4).indices
        }
        assert all(line.strip() in one.said for line in best)


@pytest.mark.usefixtures("told")
def test_memory_keeps_the_rows_that_are_recognised(
    model: MemoryDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = Cell(model, Task("multi-query", count=2), LENGTH, trials=2)
    monkeypatch.setattr(
        reading,
        "recognise",
        lambda model, latents, cues: latents.new_tensor(
            [[float(-place) for place in range(latents.shape[1] - 1)] + [5.0]] * len(cues)
        ),
    )
    for trial, one in enumerate(cell.memory()):
        found = cell._look_up(trial, cell.trials[trial].cues, reading.CANDIDATES)
        assert (
            one.said == " ".join(texts(cell, trial, [rows[-1] for rows in found]))
            and one.fit == 5.0
        )


@pytest.mark.usefixtures("told")
def test_hops_follow_the_variables_to_the_value(
    model: MemoryDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = Cell(model, Task("chain"), LENGTH, trials=3)

    def look_up(trial: int, cues: Sequence[Sequence[int]]) -> tuple[list[int], float]:
        (stem,) = (weights.tokenizer().decode(list(cue)).strip() for cue in cues)
        (row,) = (
            row for row in cell.needed(trial) if texts(cell, trial, [row])[0].startswith(stem + " ")
        )
        return [row], 0.0

    monkeypatch.setattr(cell, "_recognise", look_up)
    for one in cell.hops():
        assert (one.recall, one.address) == (1.0, 1.0)


@pytest.mark.usefixtures("told")
def test_an_index_gets_every_row_and_the_question_in_words(model: MemoryDecoder) -> None:
    cell = Cell(model, Task("multi-key"), LENGTH, trials=2)
    asked: list[str] = []

    class Last:
        def __init__(self, lines: list[str]) -> None:
            self.count = len(lines)

        def search(self, questions: Sequence[str], k: int = 1) -> retrieval.Found:
            asked.extend(questions)
            return retrieval.Found(torch.ones(1, k), torch.full((1, k), self.count - 1))

    found = cell.found_by(Last, 1)
    assert asked == [cell.trials[0].puzzle.question] and len(found) == 1 and found[0].address == 0.0
    assert found[0].said == cell.trials[0].puzzle.chains[-1][0]


def test_without_a_stem_nothing_is_recognised(model: MemoryDecoder) -> None:
    with pytest.raises(
        ValueError, match="expected a task with stems, one of single, .*, got 'tracking'"
    ):
        Cell(model, Task("tracking"), LENGTH, trials=1).memory()


def test_haystacks_are_encoded_once_and_shared_where_they_are_the_same(
    model: MemoryDecoder,
) -> None:
    known: dict = {}
    for task, source in (
        (Task("single"), "documentation"),
        (Task("chain"), "documentation"),
        (Task("single"), "needles"),
        (Task("single", "word"), "needles"),
    ):
        Cell(model, task, LENGTH, trials=1, source=source, shared=known)
    assert len(known) == 3


def test_trials_are_pure_functions_of_their_number(model: MemoryDecoder, shared: dict) -> None:
    few, many = (
        Cell(model, Task("single"), LENGTH, trials=count, shared=shared).trials for count in (2, 3)
    )
    assert many[:2] == few
    encode = tokenization.encoder(weights.tokenizer())
    assert [made.depth for made in many] == list(ruler.DEPTHS[:3]) and encode(
        [few[0].puzzle.question]
    )
