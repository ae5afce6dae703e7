"""The cost of a pretrained model that reads a text whole, on a tiny one that the test makes: what
is measured, and tables that follow the data. No test asserts a time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from memlab import results, weights
from memlab.book import experiments
from memlab.book.outside_the_weights.what_it_costs import experiment_pretrained as experiment
from memlab.book.outside_the_weights.what_it_costs import measure, pretrained
from memlab.decoder import (
    MemoryDecoder,
)
from memlab.models import stock

NAME = "what-it-costs-pretrained"
PLACES = 512


def one_second(task: Callable[[], object], *_: Any, **__: Any) -> float:
    task()
    return 1.0


@pytest.fixture
def llm(llm: Any, monkeypatch: pytest.MonkeyPatch, decoder: MemoryDecoder) -> Any:
    """The tiny model, a tiny decoder of the book's, and a clock by which everything takes a
    second."""
    monkeypatch.setattr(pretrained.pretrained, "shipped", lambda: decoder)
    monkeypatch.setattr(measure, "seconds", one_second)
    monkeypatch.setitem(
        experiments.TABLE, NAME, "outside_the_weights.what_it_costs.experiment_pretrained"
    )
    return llm


# ---- what is measured ----------------------------------------------------------------------------


def test_a_passage_is_one_text_in_the_tokens_of_two_tokenizers(decoder: MemoryDecoder) -> None:
    other = pretrained.tokenization.train_tokenizer(["aa bb"], 260)  # bytes, all but one by one
    encode = pretrained.tokenization.encoder(other)
    segments, ids = pretrained.passage(decoder, other, 300)
    assert ids.shape == (1, 300)
    texts = measure.texts_of(segments)
    spelt = [token for some in encode(texts) for token in some]
    assert ids[0].tolist() == spelt[:300]
    assert sum(map(len, encode(texts[:-1]))) < 300 <= len(spelt), "no segment more than needed"
    assert pretrained.passage(decoder, other, 300, seed=1)[0] != segments
    with pytest.raises(ValueError, match="expected at least 8 tokens, got 7"):
        pretrained.passage(decoder, other, 7)


def test_a_text_that_has_too_few_tokens_is_made_longer(
    decoder: MemoryDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tokenizer that makes fewer tokens of a text than the book's."""
    asked = []
    text = measure.text

    def short(model: MemoryDecoder, length: int, seed: int) -> Any:
        asked.append(length)
        return text(model, max(1, length // 4), seed)

    monkeypatch.setattr(measure, "text", short)
    _, ids = pretrained.passage(decoder, weights.tokenizer(), 200)
    assert ids.shape == (1, 200) and asked == sorted(set(asked)) and len(asked) > 1


def test_a_cache_has_the_bytes_that_the_config_says(llm: Any) -> None:
    assert pretrained.kept_a_token(llm.config) == 2 * 2 * 1 * 24 * 4
    found = dict(pretrained.costs(llm, weights.tokenizer(), 96))
    assert set(found) == {"llm", "model", "float32", "int8", "files", "linear", "bm25"}
    own = found["llm"]
    assert own["bytes"] == own["formula"] == 96 * 384
    assert own["build"] == own["answer"] == 1.0
    segments, _ = pretrained.passage(pretrained.pretrained.shipped(), weights.tokenizer(), 96)
    assert own["text"] == sum(len(one.encode()) for one in measure.texts_of(segments))
    assert found["model"]["rows"] == len(segments)


@pytest.mark.parametrize(("family", "keys"), [("gpt2", None), ("qwen2", 2)])
def test_a_config_of_another_family_is_read_too(family: str, keys: int | None) -> None:
    shared = {"num_key_value_heads": keys} if keys else {}
    model = stock.build(family, 300, 40, dim=32, layers=3, heads=4, **shared)
    ids = torch.arange(1, 13)[None]
    assert measure.attending(model, ids)["bytes"] == 12 * pretrained.kept_a_token(model.config)
    assert pretrained.kept_a_token(model.config) == 2 * 3 * (keys or 4) * 8 * 4


def test_shared_weights_are_counted_once(llm: Any, decoder: MemoryDecoder) -> None:
    found = pretrained.weight_bytes(llm)
    each = {id(one): one.nbytes for one in llm.parameters()}
    assert llm.lm_head.weight is llm.get_input_embeddings().weight
    assert found["llm"] == sum(each.values())
    assert found["decoder"] == sum(one.nbytes for one in decoder.parameters())


def test_a_length_for_which_the_model_has_no_places_is_left_out(llm: Any, capsys) -> None:
    assert list(pretrained.at_length(PLACES, 0)) == []
    said = f"what-it-costs: {PLACES} tokens left out: the model has {PLACES} places, expected"
    assert capsys.readouterr().err == f"{said} {PLACES + 24}\n"
    assert list(pretrained.at_length(PLACES - 24, 0))


def test_a_record_says_which_model_it_was_and_makes_its_tables(llm: Any, tmp_path: Path) -> None:
    file = tmp_path / f"{NAME}.jsonl"
    data = experiments.measure(NAME, "quick", 0, out=file)
    (session,) = results.provenances(file)
    assert session["llm_checkpoint"] == "tiny-0"
    assert list(experiment.table(data).tokens) == [32, 64, 128]
    assert len(experiment.kept(data)) == 6 and len(experiment.turns(data)) == 2
    assert experiment.verdicts(data) == []


@pytest.mark.parametrize("profile", ["quick", "full", "gpu"])
def test_units_are_told_apart(profile: str) -> None:
    names = [unit.name for unit in experiment.units(profile, 0)]
    assert len(set(names)) == len(names) == 1 + len(experiment.LENGTHS[profile])


# ---- tables --------------------------------------------------------------------------------------


def made_up(*lengths: int, pair: float = 1e-6) -> pd.DataFrame:
    """Costs that follow laws: a cache of 1,000 bytes a token, rows of 200, weights of 8,000 and
    400,000 bytes."""
    records = []
    for n in lengths:
        found = {
            "llm": {
                "build": 2e-3 * n + pair * n * n,
                "answer": 1.6,
                "bytes": 1e3 * n,
                "formula": 1e3 * n,
                "text": 4.0 * n,
            },
            "model": {"build": 1e-5 * n, "ask": 0.01, "check": 0.02, "answer": 0.04},
            "float32": {"write": 2e-5 * n, "read": 1e-5 * n, "bytes": 200.0 * n},
            "int8": {"bytes": 50.0 * n},
            "bm25": {"build": 1e-6 * n, "bytes": 10.0 * n},
        }
        for system, some in found.items():
            records += pretrained._note("length", system, some, 0, tokens=n)
    for system, size in (("llm", 400_000), ("decoder", 8_000)):
        records += pretrained._note("weights", system, {"bytes": size}, 0)
    return results.frame(records)


def test_the_table_divides_by_the_model_s_own_tokens() -> None:
    table = experiment.table(made_up(1000, 2000)).set_index("tokens")
    assert list(table["read s"]) == [3.0, 8.0] and list(table["µs/token"]) == [3000, 4000]
    assert list(table["question ms"]) == [1600, 1600]
    assert list(table["memory reads s"]) == [0.03, 0.06]
    assert list(table["its question ms"]) == [80, 90]
    assert list(table["BM25 reads s"]) == [0.001, 0.002]


def test_bytes_are_set_beside_those_of_the_text() -> None:
    kept = experiment.kept(made_up(1000, 2000)).set_index("what is kept")
    assert list(kept["bytes/token"]) == ["1,000", "1,000", "200", "50.0", "10.0", "4.0"]
    assert list(kept["times the text"]) == ["250", "250", "50.0", "12.5", "2.5", "1.0"]


def test_lengths_from_which_on_a_cost_is_the_larger() -> None:
    turns = experiment.turns(made_up(100, 200, 450)).set_index("what")
    assert list(turns.tokens) == ["400", "2,000"]
    assert list(turns.extrapolated) == [False, True]
    two = experiment.turns(made_up(100, 200))
    assert list(two.tokens) == ["400"], "a line and a square want three lengths"
    line = experiment.turns(made_up(100, 200, 450, pair=0.0))
    last = line.tokens.iloc[-1]
    assert last == "inf" or len(last) > 9
