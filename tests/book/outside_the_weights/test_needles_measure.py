"""A cell of the needle test: what it finds by shortcut is what a reading of the whole prompt
finds."""

from __future__ import annotations

import re
import sys

import pytest
import torch
from torch import Tensor

from memlab import weights
from memlab.book.outside_the_weights.needles import measure
from memlab.book.outside_the_weights.needles.measure import SHORT, Cell, Outcome
from memlab.corpora import needles
from memlab.corpora.needles import Fact, Prompt
from memlab.decoder import (
    MemoryDecoder,
    MemoryDecoderConfig,
    new_decoder,
    reading,
    tiny_text_config,
)

TRIALS, SHORT_LENGTH, LONG_LENGTH = 4, 300, 2000
LATENT, KEY = 48, 16


@pytest.fixture(scope="module")
def model() -> MemoryDecoder:
    """Untrained, so that keys of the haystack are found as often as those of the fact."""
    sizes = {
        "latent_width": LATENT,
        "key_width": KEY,
        "slots": 12,
        "segment_tokens": 72,
        "encoder_layers": 1,
        "encoder_heads": 2,
    }
    return new_decoder(MemoryDecoderConfig(tiny_text_config(2048, 32, 1, 2, 180), **sizes)).eval()


@pytest.fixture(
    scope="module", params=[("passkey", SHORT_LENGTH), ("needle", LONG_LENGTH)], ids=str
)
def cell(request: pytest.FixtureRequest, model: MemoryDecoder) -> Cell:
    kind, length = request.param
    return Cell(model, kind, length, trials=TRIALS)


def whole(model: MemoryDecoder, prompt: Prompt) -> tuple[Tensor, Tensor, Tensor]:
    """Latents and keys of all segments of a prompt in reading order, and the scores of its cue."""
    latents, keys = reading.encode(model, prompt.segments)
    return latents, keys, keys @ reading.query_keys(model, [prompt.cue])[0]


def place(prompt: Prompt, row: int) -> int:
    """Where in the prompt the row of a cell lies, whose memory holds the haystack first and the
    fact behind it."""
    others = [i for i in range(len(prompt.segments)) if i not in prompt.rows]
    return [*others, *prompt.rows][row]


def nearest(cell: Cell) -> list[int]:
    """The first row of every look-up."""
    return [rows[0] for rows in cell.candidates]


# ---- rows ----------------------------------------------------------------------------------------


def test_the_row_found_is_that_of_a_scan_over_the_whole_prompt(cell: Cell) -> None:
    found = []
    for prompt, row in zip(cell.prompts, nearest(cell), strict=True):
        _, _, scores = whole(cell.model, prompt)
        at = place(prompt, row)
        best = int(scores.argmax())
        assert prompt.segments[at] == prompt.segments[best]
        assert float(scores[at]) == pytest.approx(float(scores[best]), abs=1e-5)
        found.append(at in prompt.rows)
    assert [outcome.address for outcome in cell.nearest()] == found
    assert (
        len(cell.read_seconds) == TRIALS and min(cell.read_seconds) > 0 and cell.write_seconds > 0
    )


def test_the_latents_read_are_those_of_the_whole_prompt(cell: Cell) -> None:
    sizes = [len(prompt.segments) for prompt in cell.prompts]
    for rows in (
        [0] * TRIALS,
        [size - 1 for size in sizes],
        [size - len(cell.prompts[0].rows) for size in sizes],
        [size // 2 for size in sizes],
        nearest(cell),
    ):
        for prompt, row, latent in zip(cell.prompts, rows, cell._latents(rows), strict=True):
            assert torch.allclose(
                latent, whole(cell.model, prompt)[0][place(prompt, row)], atol=1e-5
            )


def test_scores_of_the_fact_and_of_its_best_rival(cell: Cell) -> None:
    for prompt, own, rival in zip(cell.prompts, *cell.scores, strict=True):
        scores = whole(cell.model, prompt)[2].tolist()
        assert own == pytest.approx(max(scores[i] for i in prompt.rows), abs=1e-5)
        assert rival == pytest.approx(
            max(one for i, one in enumerate(scores) if i not in prompt.rows), abs=1e-5
        )


def test_a_cue_that_is_the_fact_itself_is_found(
    model: MemoryDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other half of the address: with an untrained key, a stem may be missed, but not the
    sentence itself."""
    monkeypatch.setattr(
        measure.reading,
        "query_keys",
        lambda model, cues: reading.encode(
            model, [tuple(prompt.segments[prompt.rows[0]]) for prompt in made]
        )[1],
    )
    made = [measure.prompt("needle", 400, trial) for trial in range(TRIALS)]
    cell = Cell(model, "needle", 400, trials=TRIALS)
    assert [outcome.address for outcome in cell.nearest()] == [True] * TRIALS


# ---- what is right -------------------------------------------------------------------------------

KEYED = Fact("passkey", ("The pass key is 12345.",), "The pass key is", "?", "12345")
NEEDLE = Fact(
    "needle",
    ("In Rome one does: walk to the old bridge.",),
    "In Rome one does:",
    "?",
    "walk to the old bridge at night",
)
COLD = Fact("needle", ("In Rome: the pool's étage.",), "In Rome:", "?", "the pool's étage")


@pytest.mark.parametrize(
    ("fact", "said", "right"),
    [
        (KEYED, " The pass key is 12345.", True),
        (KEYED, "12345", True),
        (KEYED, "12345 is the pass key. 99999 is not.", True),
        (KEYED, "99999 or 12345", False),
        (KEYED, "123456", False),
        (KEYED, "012345", False),
        (KEYED, "1234", False),
        (KEYED, "12 345", False),
        (KEYED, "12,345", True),
        (KEYED, "12,3456", False),
        (KEYED, "12345,99999", True),
        (KEYED, "99999,12345", False),
        (KEYED, "１２３４５", True),
        (KEYED, "密码是१२३४५。", True),
        (KEYED, "**12345**", True),
        (KEYED, "the pass key is", False),
        (KEYED, "", False),
        (NEEDLE, "walk to the old bridge at night", True),
        (NEEDLE, " In Rome one does: Walk to the old bridge at night.", True),
        (NEEDLE, "At night, an old bridge: walk!", True),
        (NEEDLE, "walk to the old bridge", False),
        (NEEDLE, "walking to the old bridge at night", False),
        (NEEDLE, "walk to the cold bridge at night", False),
        (NEEDLE, "", False),
        (NEEDLE, "**Walk** to the old _bridge_ at night", True),
        (COLD, "The pool’s e\u0301tage", True),
        (COLD, "the pools étage", False),
    ],
)
def test_what_counts_as_right(fact: Fact, said: str, right: bool) -> None:
    assert measure.correct(fact, said) is right


# ---- prompts -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("untouched_global_random_state")
def test_a_prompt_is_a_pure_function_of_its_trial(cell: Cell, model: MemoryDecoder) -> None:
    again = [measure.prompt(cell.kind, cell.length, trial) for trial in range(TRIALS)]
    assert again == cell.prompts
    assert Cell(model, cell.kind, cell.length, trials=2).prompts == again[:2]
    for prompt in again:
        assert (
            cell.length - 60 < prompt.tokens <= cell.length and max(map(len, prompt.segments)) <= 64
        )


def test_other_trials_kinds_lengths_and_seeds_are_other_prompts() -> None:
    first = measure.prompt("needle", 300, 0)
    others = [
        measure.prompt("passkey", 300, 0),
        measure.prompt("needle", 301, 0),
        measure.prompt("needle", 300, 1),
        measure.prompt("needle", 300, 0, seed=1),
        measure.prompt("needle", 300, 0, split="dev"),
    ]
    assert all(other.fact != first.fact for other in others)
    assert first == measure.prompt("needle", 300, 0, seed=0, split="test")
    depths = [measure.prompt("passkey", 128, trial).depth for trial in range(10)]
    assert depths == pytest.approx([0.05, 0.15, 0.25, 0.35, 0.45, 0.55, 0.65, 0.75, 0.85, 0.95])


def test_trials_share_a_haystack_only_above_the_short_ones() -> None:
    def first(length: int, trial: int) -> tuple[int, ...]:
        return measure.haystack(length, trial).segments[0]

    short, beyond = (
        [first(SHORT, trial) for trial in range(4)],
        [first(SHORT + 1, trial) for trial in range(4)],
    )
    assert len(set(short)) == 4 and len(set(beyond)) == 1
    assert first(SHORT + 1, 0) != first(SHORT + 2, 0) and measure.haystack(
        SHORT, 0, seed=1
    ) != measure.haystack(SHORT, 0)


def test_a_shared_haystack_is_encoded_once(
    model: MemoryDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored, real = [], reading.memorise
    monkeypatch.setattr(
        reading,
        "memorise",
        lambda *parts, **more: (stored.append(len(parts[1])), real(*parts, **more))[1],
    )
    shared: dict = {}
    one = Cell(model, "passkey", SHORT + 1, trials=3, shared=shared)
    two = Cell(model, "needle", SHORT + 1, trials=3, shared=shared)
    assert len(stored) == 1 == len(shared)
    assert len({base.keys.data_ptr() for base in (*one.bases, *two.bases)}) == 1
    Cell(model, "needle", 200, trials=3)
    assert len(stored) == 4


# ---- readers -------------------------------------------------------------------------------------


@pytest.fixture
def read(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The latents that were written out; the decoder says the right answer to all."""
    seen: list[Tensor] = []

    def write_out(
        model: MemoryDecoder, latents: Tensor, cues: object, tokenizer: object
    ) -> list[str]:
        seen.append(latents)
        return [" ".join(prompt.fact.sentences) for prompt in cell.prompts][: len(latents)]

    monkeypatch.setattr(measure.reading, "write_out", write_out)
    return seen


def test_every_reader_returns_one_outcome_a_trial(cell: Cell) -> None:
    for outcomes, count, addressed in (
        (cell.memory(), TRIALS, True),
        (cell.oracle(), TRIALS, False),
        (cell.linear(), TRIALS, False),
        (cell.linear(trials=2), 2, False),
        (cell.bm25(), TRIALS, True),
    ):
        assert len(outcomes) == count and all(isinstance(outcome, Outcome) for outcome in outcomes)
        assert all((outcome.address is not None) == addressed for outcome in outcomes)
        assert all(
            outcome.right == measure.correct(prompt.fact, outcome.said)
            for prompt, outcome in zip(cell.prompts, outcomes, strict=False)
        )


def test_the_oracle_reads_the_first_row_of_the_fact(cell: Cell, read: list[Tensor]) -> None:
    outcomes = cell.oracle()
    expected = reading.encode(
        cell.model, [prompt.segments[prompt.rows[0]] for prompt in cell.prompts]
    )[0]
    assert torch.allclose(read[0], expected, atol=1e-5)
    assert [outcome.right for outcome in outcomes] == [True] * TRIALS


def test_the_linear_reader_is_ridge_regression_over_the_whole_prompt(
    cell: Cell, read: list[Tensor]
) -> None:
    cell.linear(ridge=0.01)
    for prompt, latent in zip(cell.prompts, read[0], strict=True):
        values, keys, _ = (part.double() for part in whole(cell.model, prompt))
        query = reading.query_keys(cell.model, [prompt.cue])[0].double()
        # Ridge as plain least squares: one row √ridge · e_i with value 0 for every dimension of the
        # keys.
        more = torch.cat([keys, 0.1 * torch.eye(KEY, dtype=torch.double)])
        wanted = torch.cat([values, torch.zeros(KEY, LATENT, dtype=torch.double)])
        read_out = query @ torch.linalg.lstsq(more, wanted, driver="gelsd").solution
        assert torch.allclose(
            latent.double(), reading.settled(cell.model, read_out[None])[0], atol=2e-3
        )


def test_bm25_finds_the_rare_words_of_the_cue(cell: Cell, read: list[Tensor]) -> None:
    outcomes = cell.bm25()
    assert [outcome.address for outcome in outcomes] == [True] * TRIALS
    for prompt, latent in zip(cell.prompts, read[0], strict=True):
        own = reading.encode(cell.model, [prompt.segments[row] for row in prompt.rows])[0]
        assert float((own - latent).abs().amax(1).min()) < 1e-5


def test_bm25_reads_the_row_with_the_cue_where_it_is(model: MemoryDecoder) -> None:
    """A rival that says the cue's words twice wins: the address is BM25's own, not the truth."""
    cell = Cell(model, "needle", SHORT_LENGTH, trials=1)
    prompt = cell.prompts[0]
    other = next(i for i in range(len(prompt.segments)) if i not in prompt.rows)
    segments = list(prompt.segments)
    segments[other] = (*prompt.cue, *prompt.cue)
    cell.prompts[0] = needles.Prompt(
        tuple(segments), prompt.rows, prompt.cue, prompt.fact, prompt.depth
    )
    assert [outcome.address for outcome in cell.bm25()] == [False]


def test_without_bm25s_it_says_what_to_install(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bm25s", None)
    with pytest.raises(
        ModuleNotFoundError, match=re.escape("the BM25 baseline needs bm25s: pip install bm25s")
    ):
        cell.bm25()


def test_the_tokenizer_of_the_cell_is_the_shipped_one(cell: Cell) -> None:
    prompt = cell.prompts[0]
    own = weights.tokenizer().decode(
        [token for row in prompt.rows for token in prompt.segments[row]]
    )
    assert own == " " + " ".join(prompt.fact.sentences)
