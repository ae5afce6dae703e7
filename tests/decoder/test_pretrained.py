"""Trained models in the cache: learned once, found again bit for bit, never half-written, never
read when damaged."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from memlab import runtime, training, weights
from memlab.corpora import memory_episodes, text
from memlab.decoder import (
    MemoryDecoder,
    MemoryDecoderConfig,
    new_decoder,
    pretrained,
    tiny_text_config,
)

SIZES = {
    "latent_width": 48,
    "key_width": 8,
    "slots": 12,
    "segment_tokens": 48,
    "encoder_layers": 1,
    "encoder_heads": 2,
}


def tiny(seed: int = 0) -> MemoryDecoder:
    return new_decoder(
        MemoryDecoderConfig(tiny_text_config(2048, 32, 1, 2, 160), **SIZES), seed
    ).eval()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MEMLAB_CACHE", str(tmp_path))
    return tmp_path / "memory-decoder"


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """What was trained, instead of training it."""
    asked: list[tuple[str, int]] = []

    def train(profile: str, seed: int = 0, **_: object) -> tuple[MemoryDecoder, training.Log]:
        asked.append((profile, seed))
        return tiny(seed), training.Log()

    monkeypatch.setattr(pretrained, "train", train)
    return asked


def same(one: MemoryDecoder, two: MemoryDecoder) -> bool:
    a, b = one.state_dict(), two.state_dict()
    return list(a) == list(b) and all(torch.equal(a[name], b[name]) for name in a)


# ---- trained -------------------------------------------------------------------------------------


def test_what_was_trained_is_loaded_the_next_time(trainings: list[tuple[str, int]]) -> None:
    first, second = pretrained.trained("quick", 3), pretrained.trained("quick", 3)
    assert trainings == [("quick", 3)]
    assert same(first, second) and same(second, tiny(3)) and not second.training
    ids = torch.tensor([[5, 6, 7, 8]])
    for one, two in zip(first.encode(ids), second.encode(ids), strict=True):
        assert torch.equal(one, two)


def test_every_profile_and_seed_has_a_place_of_its_own(
    trainings: list[tuple[str, int]], cache: Path
) -> None:
    asked = [("quick", 0), ("quick", 1), ("full", 0), ("gpu", 0)]
    for profile, seed in asked:
        assert same(pretrained.trained(profile, seed), tiny(seed))
    assert trainings == asked and len(list(cache.iterdir())) == 4
    assert same(pretrained.trained("quick", 1), tiny(1)) and len(trainings) == 4


def test_a_recipe_of_another_length_is_another_model(
    trainings: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    pretrained.trained("quick")
    monkeypatch.setitem(pretrained.RECIPES, "quick", training.Recipe(steps=7))
    pretrained.trained("quick")
    assert len(trainings) == 2


def test_an_unknown_profile(trainings: list[tuple[str, int]]) -> None:
    with pytest.raises(
        ValueError, match="unknown profile 'huge': expected one of quick, full, gpu"
    ):
        pretrained.trained("huge")
    assert trainings == [] and set(pretrained.RECIPES) == set(runtime.PROFILES)


def test_a_cache_that_takes_nothing_is_named_before_the_training(
    trainings: list[tuple[str, int]], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretrained.remember(tiny(3), "quick", 3)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(
        ValueError,
        match=f"^expected in MEMLAB_CACHE a folder that can be written to, got {cache}$",
    ):
        pretrained.trained("quick", 4)
    assert trainings == []
    assert same(pretrained.trained("quick", 3), tiny(3)), "what is there can be read"


# ---- remember ------------------------------------------------------------------------------------


def cut_short(monkeypatch: pytest.MonkeyPatch, interrupt: type[BaseException]) -> None:
    def save_pretrained(self: MemoryDecoder, folder: Path, **_: object) -> None:
        (Path(folder) / "config.json").write_text("{")
        raise interrupt

    monkeypatch.setattr(MemoryDecoder, "save_pretrained", save_pretrained)


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, OSError])
def test_an_interrupted_call_leaves_nothing_behind(
    cache: Path, monkeypatch: pytest.MonkeyPatch, interrupt: type[BaseException]
) -> None:
    with monkeypatch.context() as patch:
        cut_short(patch, interrupt)
        with pytest.raises(interrupt):
            pretrained.remember(tiny(), "quick")
        assert list(cache.iterdir()) == []
    pretrained.remember(tiny(1), "quick")
    with monkeypatch.context() as patch:
        cut_short(patch, interrupt)
        with pytest.raises(interrupt):
            pretrained.remember(tiny(2), "quick")
    assert len(list(cache.iterdir())) == 1
    assert same(pretrained.trained("quick"), tiny(1)), "the model from before is still whole"


def test_remembering_again_replaces(cache: Path) -> None:
    for seed in (1, 2):
        place = pretrained.remember(tiny(seed), "quick")
    assert list(cache.iterdir()) == [place] and same(pretrained.trained("quick"), tiny(2))


# ---- damage --------------------------------------------------------------------------------------


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[9] ^= 1
    path.write_bytes(raw)


def rename(path: Path) -> None:
    """One bit of a tensor's name: the file is whole, but not of this model."""
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b"encoder.to_key.bias", b"encoder.to_key.bia\x72", 1))


def drop(path: Path) -> None:
    tensors = load_file(path)
    del tensors["to_prefix.weight"]
    save_file(tensors, path, metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (Path.unlink, "expected a safetensors file at .*, found nothing"),
        (lambda path: path.write_bytes(b""), "damaged or cut off.*got 0 bytes"),
        (cut, "damaged or cut off"),
        (flip, "damaged or cut off"),
        (lambda path: save_file({}, path), "holds no tensors"),
        (
            rename,
            (
                r"is damaged: expected all weights of a memory decoder, 1 are missing"
                r" \(encoder\.to_key\.bias\)"
            ),
        ),
        (drop, r"is damaged: .* 1 are missing \(to_prefix\.weight\)"),
    ],
)
def test_a_damaged_cache_is_named_in_one_sentence(
    trainings: list[tuple[str, int]], damage: Callable[[Path], object], message: str
) -> None:
    path = pretrained.remember(tiny(), "quick") / "model.safetensors"
    damage(path)
    with pytest.raises(ValueError, match=message) as problem:
        pretrained.trained("quick")
    assert str(path.parent) in str(problem.value) and "\n" not in str(problem.value)
    assert trainings == [], "nothing is thrown away and trained anew without a word"


def test_a_model_in_several_files_is_read_as_one(tmp_path: Path) -> None:
    place = tmp_path / "shards"
    tiny(3).save_pretrained(place, max_shard_size="40KB")
    files = sorted(place.glob("*.safetensors"))
    assert len(files) > 2 and not (place / "model.safetensors").exists()
    assert same(pretrained.load(place), tiny(3))
    cut(files[1])
    with pytest.raises(ValueError, match="damaged or cut off"):
        pretrained.load(place)
    files[1].unlink()
    with pytest.raises(ValueError, match="found nothing") as problem:
        pretrained.load(place)
    assert files[1].name in str(problem.value)
    for damage in ("{", "[]", "{}", '{"weight_map": 3}'):
        (place / "model.safetensors.index.json").write_text(damage)
        with pytest.raises(ValueError, match="expected JSON with a weight_map") as problem:
            pretrained.load(place)
        assert "\n" not in str(problem.value)


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    model = tiny()
    with torch.no_grad():
        model.rank[0, 0] = torch.nan
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="memory decoder as finite numbers, got others in rank"):
        pretrained.load(tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"text_config": {"n_layer": 1}}, "no others, got 11 more .decoder.transformer.h.1.attn"),
        ({"encoder_layers": 1}, r"a memory decoder and no others, got \d+ more .encoder.blocks.1."),
    ],
)
def test_a_shipped_decoder_is_not_read_with_a_layer_less(
    tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    shipped = weights.folder("memory-decoder")
    (tmp_path / "model.safetensors").symlink_to(shipped / "model.safetensors")
    said = json.loads((shipped / "config.json").read_text("utf-8"))
    for name, setting in settings.items():
        said[name] = said[name] | setting if isinstance(setting, dict) else setting
    (tmp_path / "config.json").write_text(json.dumps(said), "utf-8")
    with pytest.raises(ValueError, match=message) as problem:
        pretrained.load(tmp_path)
    assert "\n" not in str(problem.value)


# ---- train ---------------------------------------------------------------------------------------


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real training, of a tiny model on a small pool."""
    real = memory_episodes.pool
    monkeypatch.setattr(text, "documentation", lambda split: ())
    monkeypatch.setattr(pretrained, "new_decoder", lambda config, seed: tiny(seed))
    monkeypatch.setattr(
        memory_episodes,
        "pool",
        lambda encode, size, seed: real(encode, size, generic=200, seed=seed),
    )
    monkeypatch.setattr(
        memory_episodes,
        "batches",
        lambda pool, latent_width, alone, seed: (
            lambda step: memory_episodes.batch(pool, step, contexts=1, latent_width=48, seed=seed)
        ),
    )


@pytest.mark.usefixtures("small", "untouched_global_random_state")
def test_training_depends_on_the_seed_and_reports() -> None:
    reports: list[int] = []
    one, log = pretrained.train("quick", 0, steps=2, report=lambda step, row: reports.append(step))
    two, other = pretrained.train("quick", 0, steps=2)[0], pretrained.train("quick", 1, steps=2)[0]
    assert same(one, two) and not same(one, other) and not same(one, tiny(0))
    assert reports == [2] and [row["step"] for row in log.rows] == [2] and log.seconds > 0
    assert not one.training and one.dtype == torch.float32


@pytest.mark.usefixtures("small")
def test_a_training_says_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    short = replace(pretrained.RECIPES["quick"], steps=2)
    monkeypatch.setitem(pretrained.RECIPES, "quick", short)
    pretrained.trained("quick")
    out, err = capsys.readouterr()
    assert out == "" and [line.split(",")[0] for line in err.splitlines()] == [
        f"memory-decoder: {done} of 2 steps" for done in range(3)
    ]
    assert "left, loss " in err.splitlines()[-1]
    pretrained.trained("quick")
    assert capsys.readouterr().err == "", "what is found is not trained"


def test_a_gpu_gets_a_model_of_its_own_size() -> None:
    def count(profile: str) -> int:
        with torch.device("meta"):
            return sum(p.numel() for p in MemoryDecoder(pretrained.sizes(profile)).parameters())

    assert count("gpu") >= 30e6 and count("quick") == count("full") < 2e6
    small = pretrained.shipped().config
    assert pretrained.sizes("full").latent_width == small.latent_width
    assert pretrained.sizes("gpu").segment_tokens == small.segment_tokens, "the same episodes"


@pytest.mark.usefixtures("small")
def test_the_recipe_says_how_long(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[training.Recipe] = []

    def fit(
        model: MemoryDecoder, batches: object, recipe: training.Recipe, **_: object
    ) -> training.Log:
        seen.append(recipe)
        return training.Log()

    monkeypatch.setattr(training, "fit", fit)
    for profile in runtime.PROFILES:
        pretrained.train(profile)
    assert [one.steps for one in seen] == [
        pretrained.RECIPES[profile].steps for profile in runtime.PROFILES
    ]
    assert seen[0].steps < seen[1].steps < seen[2].steps
    assert {one.bfloat16 for one in seen} == {runtime.fast_bfloat16()}


# ---- saving weights to ship ----------------------------------------------------------------------


@pytest.mark.usefixtures("untouched_global_random_state")
def test_weights_are_shipped_at_half_the_size(tmp_path: Path) -> None:
    model = tiny(4)
    before = json.dumps(model.config.to_dict(), default=str)
    pretrained.save(model, tmp_path / "small")
    assert model.dtype == torch.float32 and same(model, tiny(4))
    assert json.dumps(model.config.to_dict(), default=str) == before
    model.save_pretrained(tmp_path / "whole")
    size = {
        name: (tmp_path / name / "model.safetensors").stat().st_size for name in ("small", "whole")
    }
    assert size["small"] < 0.55 * size["whole"]
    again = pretrained.load(tmp_path / "small")
    assert again.dtype == torch.float32
    state: dict[str, Any] = again.state_dict()
    assert all(
        torch.equal(tensor.half().float(), state[name])
        for name, tensor in model.state_dict().items()
    )


def test_making_weights_trains_and_saves(
    trainings: list[tuple[str, int]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = pretrained.make("full", 5, tmp_path / "made")
    assert (
        trainings == [("full", 5)]
        and isinstance(log, training.Log)
        and capsys.readouterr().out == ""
    )
    weights.check(tmp_path / "made" / "model.safetensors")
    assert same(pretrained.load(tmp_path / "made"), pretrained.load(tmp_path / "made"))


def test_shipped_names_what_is_there_when_it_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "causal").mkdir()
    monkeypatch.setattr(weights, "HERE", tmp_path)
    with pytest.raises(
        FileNotFoundError,
        match="no shipped weights called 'memory-decoder': expected one of causal",
    ):
        pretrained.shipped()


@pytest.mark.parametrize("bad", [1e5, torch.nan])
def test_what_float16_cannot_hold_is_not_shipped(tmp_path: Path, bad: float) -> None:
    model = tiny()
    with torch.no_grad():
        model.rank[0, 0] = bad
    with pytest.raises(ValueError, match="float16 can hold, up to 65504, got others in rank"):
        pretrained.save(model, tmp_path / "small")
    assert not (tmp_path / "small").exists()
