"""The fixed-size memory: keys, whitening, the matrix and its reads against explicit algebra;
training that repeats."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import AutoModel

from memlab import weights
from memlab.book.outside_the_weights.one_matrix import measure, training
from memlab.book.outside_the_weights.one_matrix.model import (
    FixedMemory,
    FixedMemoryConfig,
    ridge_read,
)
from memlab.decoder import (
    MemoryDecoder,
    MemoryDecoderConfig,
    new_decoder,
    pretrained,
    tiny_text_config,
    unit_slots,
)

SIZES = {
    "latent_width": 48,
    "slots": 12,
    "segment_tokens": 12,
    "encoder_layers": 1,
    "encoder_heads": 2,
}
ROWS = 16
PLAN = training.Plan(2, 2, 2)


def base() -> MemoryDecoder:
    return new_decoder(MemoryDecoderConfig(tiny_text_config(2048, 32, 1, 2, 52), **SIZES)).eval()


def model(address: str = "keys") -> FixedMemory:
    return training.untrained(base(), key_width=ROWS, address=address)


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def segments(count: int = 40, seed: int = 1) -> training.Segments:
    draw = torch.Generator().manual_seed(seed)
    sizes = torch.randint(8, 13, (count,), generator=draw).tolist()
    return tuple(tuple(torch.randint(4, 2048, (size,), generator=draw).tolist()) for size in sizes)


def ids(some: training.Segments) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence([torch.tensor(s) for s in some], batch_first=True)


# ---- keys and whitening --------------------------------------------------------------------------


def test_keys_have_length_one_and_do_not_see_the_padding() -> None:
    memory, one = model(), torch.tensor([[5, 6, 7, 8]])
    keys = memory.encode_keys(torch.cat([one, torch.zeros(1, 5, dtype=torch.long)], 1))
    assert keys.shape == (1, ROWS) and torch.allclose(keys.norm(dim=1), torch.ones(1), atol=1e-5)
    assert torch.allclose(keys, memory.encode_keys(one), atol=1e-5)


def test_the_folded_whitening_is_head_then_whitening() -> None:
    memory, sample, new = model(), ids(segments(64)), ids(segments(8, seed=2))
    raw = memory.sample(sample)[1]
    memory.encoder.wide.whiten(raw, floor=0.02)
    x = raw.double().numpy()
    centred = x - x.mean(0)
    strength, directions = np.linalg.eigh(centred.T @ centred / len(x))
    floor = 0.02 * math.sqrt(strength.sum())
    zca = directions @ np.diag(1 / (np.sqrt(strength.clip(0)) + floor)) @ directions.T
    expected = (memory.sample(new)[1].double().numpy() - x.mean(0)) @ zca
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert np.abs(memory.encode_keys(new).detach().numpy() - expected).max() < 1e-4


def test_whitened_directions_are_all_alike() -> None:
    memory = model()
    raw = torch.nn.functional.normalize(normal(4000, ROWS) * torch.arange(1, ROWS + 1) + 3, dim=1)
    memory.encoder.wide.whiten(raw, floor=1e-6)
    white = memory.encoder.wide.whitening(raw)
    assert torch.allclose(white.T @ white / len(white), torch.eye(ROWS), atol=0.02)


def test_no_gradient_reaches_the_whitening() -> None:
    before = model().encoder.wide.whitening.weight.clone()
    *_, (_, trained, _) = training.climb(base(), PLAN, segments=segments(), key_width=ROWS)
    assert not trained.encoder.wide.whitening.weight.requires_grad
    assert not torch.equal(trained.encoder.wide.whitening.weight, before)  # set, by `whiten`


def test_a_key_sees_the_beginning_alone() -> None:
    memory, some = model(), ids(segments(6))
    begin = memory.encoder.key_tokens = 6
    other = some.clone()
    other[:, begin:] = 7
    assert not torch.equal(some, other)
    assert torch.allclose(memory.encode(some)[1], memory.encode(other)[1], atol=1e-6)
    assert torch.allclose(memory.encode(some)[1], memory.encode_keys(some[:, :begin]), atol=1e-6)
    assert torch.equal(memory.sample(some)[1], memory.sample(other)[1])
    other[:, begin - 1] = 9
    assert not torch.allclose(memory.encode(some)[1], memory.encode(other)[1], atol=1e-3)


# ---- the matrix ----------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [5, ROWS, 40])
def test_a_read_is_the_explicit_ridge_solution(count: int) -> None:
    keys, values, queries = normal(count, ROWS), normal(count, 48, seed=1), normal(3, ROWS, seed=2)
    k, v, q = (x.double().numpy() for x in (keys, values, queries))
    expected = q @ np.linalg.solve(k.T @ k + 0.01 * np.eye(ROWS), k.T @ v)
    assert np.abs(ridge_read(queries, keys, values, 0.01).numpy() - expected).max() < 1e-3
    memory = model()
    memory.mean.copy_(normal(48, seed=3))
    matrix = memory.write(values + memory.mean, keys, 0.01)
    assert matrix.shape == (ROWS, 48)
    assert np.abs((queries @ matrix).numpy() - expected).max() < 1e-4


@pytest.mark.parametrize("count", [3, 9])
def test_gradients_of_a_read(count: int) -> None:
    wide = [
        normal(*shape, seed=i, dtype=torch.float64).requires_grad_()
        for i, shape in enumerate(((2, 5), (count, 5), (count, 4)))
    ]
    assert torch.autograd.gradcheck(lambda q, k, v: ridge_read(q, k, v, 0.05), wide)


def test_without_keys_the_matrix_projects_on_what_was_written() -> None:
    memory = model("latents")
    latents, keys = normal(10, 48), normal(10, ROWS, seed=1)
    asked = memory.queries(latents + 0.3 * normal(10, 48, seed=2), keys)
    basis = np.linalg.qr(latents.double().numpy().T)[0]
    expected = asked.double().numpy() @ basis @ basis.T * math.sqrt(48)
    assert np.abs((asked @ memory.write(latents, keys, 1e-9)).numpy() - expected).max() < 1e-3
    assert memory.pairs(normal(30, 48), normal(30, ROWS))[1].shape == (
        ROWS,
        48,
    )  # beyond its rows, M itself


def test_what_is_read_becomes_a_latent_of_the_right_length() -> None:
    memory, sizes = (
        model(),
        torch.randint(4, 13, (200,), generator=torch.Generator().manual_seed(1)),
    )
    slots = torch.where(normal(200, 12, 2) < 0, -1.0, 1.0)
    slots = torch.cat([slots, -slots], 2)  # each slot of mean zero and mean square one
    latents = unit_slots(slots, (torch.arange(12) < sizes[:, None])[..., None]).flatten(1)
    memory.mean.copy_(latents.mean(0))
    assert torch.allclose(memory.as_latent(latents - memory.mean), latents, atol=1e-4)
    found = memory.as_latent(latents - memory.mean + 0.2 * normal(200, 48, seed=2))
    assert ((found.view(200, 12, 4) != 0).any(2).sum(1) == sizes).all()
    assert torch.nn.functional.cosine_similarity(found, latents, dim=1).min() > 0.9


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -1e300])
def test_what_is_not_finite_is_not_read(bad: float) -> None:
    memory = model()
    matrix = memory.write(normal(5, 48), normal(5, ROWS, seed=1))
    queries = normal(3, ROWS, seed=2, dtype=torch.float64)
    assert memory.read(matrix, queries).isfinite().all()
    queries[1, 2] = bad
    with pytest.raises(ValueError, match="queries must be finite in torch.float32, got 1 numbers"):
        memory.read(matrix, queries)
    matrix[0, 0] = torch.inf
    with pytest.raises(ValueError, match="the matrix must be finite in torch.float32, got 1"):
        memory.read(matrix, normal(3, ROWS))
    read = normal(3, 48)
    read[2, :4] = torch.nan
    with pytest.raises(ValueError, match="what is read must be finite in torch.float32, got 4"):
        memory.as_latent(read)


def test_rows_of_another_width_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    # Without the hook of jaxtyping, which sees this before our own check.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    memory = model()
    matrix = memory.write(normal(5, 48), normal(5, ROWS, seed=1))
    for name, call in (
        (r"queries .* \(rows, 16\), got \(3, 15\)", lambda: memory.read(matrix, normal(3, 15))),
        (
            r"the matrix .* \(rows, 48\), got \(16, 44\)",
            lambda: memory.read(matrix[:, 4:], normal(3, ROWS)),
        ),
        (r"what is read .* \(rows, 48\), got \(3, 36\)", lambda: memory.as_latent(normal(3, 36))),
    ):
        with pytest.raises(ValueError, match=name):
            call()


def test_a_bad_config_is_named() -> None:
    with pytest.raises(ValueError, match="address must be keys or latents, got 'rows'"):
        FixedMemoryConfig(address="rows")
    with pytest.raises(ValueError, match="poolings, key_tokens and ridge must be positive"):
        FixedMemoryConfig(ridge=0.0)


def test_one_read_is_what_the_base_writes_from_one_latent() -> None:
    old, memory = base(), model()
    latents, text = old.encode(ids(segments(4)))[0], ids(segments(4, seed=3))
    assert torch.allclose(
        old(text, latents=latents).logits, memory(text, latents=latents).logits, atol=1e-5
    )
    assert (
        memory.config.reads == 1
        and memory.decoder.config.n_positions < old.decoder.config.n_positions
    )


# ---- saving and training -------------------------------------------------------------------------


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    memory, sample = model(), ids(segments(20))
    training.settle(memory, segments(20), whiten=True)
    memory.save_pretrained(tmp_path)
    again = pretrained.load(tmp_path, FixedMemory)
    before, after = memory.state_dict(), again.state_dict()
    assert list(before) == list(after) and all(
        torch.equal(before[name], after[name]) for name in before
    )
    assert torch.equal(memory.encode(sample)[1], again.encode(sample)[1])
    assert again.config.address == "keys" and again.config.key_width == ROWS
    pretrained.save(memory, tmp_path / "small")
    small = pretrained.load(tmp_path / "small", FixedMemory)
    assert torch.allclose(memory.encode(sample)[1], small.encode(sample)[1], atol=0.05)


def test_a_saved_model_is_found_by_its_config(tmp_path: Path) -> None:
    memory, sample = model(), ids(segments(5))
    memory.save_pretrained(tmp_path)
    again = AutoModel.from_pretrained(tmp_path).eval()
    assert type(again) is FixedMemory
    assert torch.equal(memory.encode(sample)[1], again.encode(sample)[1])


@pytest.mark.parametrize("name", ["mean", "encoder.wide.whitening.weight"])
def test_buffers_and_weights_that_are_no_numbers_are_refused(tmp_path: Path, name: str) -> None:
    memory = model()
    memory.state_dict()[name].view(-1)[0] = torch.nan
    memory.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=f"as finite numbers, got others in {name}"):
        pretrained.load(tmp_path, FixedMemory)


def climbed(seed: int = 0) -> dict[str, dict[str, Tensor]]:
    return {
        rung: {name: tensor.clone() for name, tensor in memory.state_dict().items()}
        for rung, memory, _ in training.climb(
            base(), PLAN, seed, segments=segments(), key_width=ROWS
        )
    }


def test_a_seed_gives_the_same_rungs_twice(untouched_global_random_state: None) -> None:
    first, second, other = climbed(), climbed(), climbed(1)
    assert list(first) == list(training.RUNGS)
    assert all(torch.equal(first[r][n], second[r][n]) for r in first for n in first[r])
    assert not torch.equal(
        first["head"]["encoder.wide.widen.weight"], other["head"]["encoder.wide.widen.weight"]
    )


def test_a_rung_moves_what_it_should() -> None:
    rungs = climbed()

    def same(a: str, b: str, part: str) -> bool:
        return all(torch.equal(rungs[a][n], rungs[b][n]) for n in rungs[a] if n.startswith(part))

    assert same("untrained", "head", "decoder.") and not same(
        "untrained", "head", "encoder.wide.widen"
    )
    assert not same("head", "read-outs", "decoder.") and not same(
        "head", "read-outs", "encoder.blocks"
    )
    assert same("read-outs", "whitened, no step", "decoder.")
    assert not same("read-outs", "whitened, no step", "encoder.wide.whitening")
    assert same("whitened, no step", "whitened", "encoder.wide.whitening")


def test_the_historic_address_trains_as_many_steps(untouched_global_random_state: None) -> None:
    memory, log = training.historic(base(), PLAN, segments=segments(), key_width=ROWS)
    assert log.rows[-1]["step"] == PLAN.steps and memory.config.address == "latents"


def test_a_batch_is_a_function_of_its_step() -> None:
    some = segments(300)
    one, two = (training.batch(some, 3, 48, texts=True, most=64) for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)
    sizes = [
        len(training.batch(some, step, 48, texts=False, most=64)["stored_ids"])
        for step in range(50)
    ]
    assert min(sizes) >= training.FEWEST and max(sizes) <= 64 and len(set(sizes)) > 10


def test_the_texts_of_a_batch_are_those_that_are_stored() -> None:
    made = training.batch(segments(60), 0, 48, texts=True, most=40)
    clean = len(made["noise"])
    for at, row in enumerate(made["text_rows"].tolist()):
        stored = [t for t in made["stored_ids"][row].tolist() if t]
        assert [t for t in made["labels"][at].tolist() if t != -100][:-1] == stored
    assert made["text_rows"][-clean:].tolist() == list(
        range(len(made["stored_ids"]) - clean, len(made["stored_ids"]))
    )


# ---- what is measured ----------------------------------------------------------------------------


def planted(count: int, noise: float, rows: int = 64) -> tuple[FixedMemory, measure.Episode]:
    """Random unit keys and values, cues at a known distance: what the laws are about."""
    memory = training.untrained(base(), key_width=rows)
    keys = torch.nn.functional.normalize(normal(count, rows), dim=1)
    queries = torch.nn.functional.normalize(
        keys + noise * normal(count, rows, seed=5) / rows**0.5, dim=1
    )
    some = segments(count)
    cues = tuple(training.cue_of(s) for s in some)
    return memory, measure.Episode(some, cues, normal(count, 48, seed=6), keys, queries)


@pytest.mark.parametrize("load", [0.25, 0.5])
def test_the_error_of_random_keys_follows_the_law(load: float) -> None:
    found = measure.errors(*planted(round(load * 512), 0.2, rows=512), ridge=1e-5)
    assert (
        abs(found["error"] - found["law"]) < 0.02
        and abs(found["error"] - found["simple law"]) < 0.03
    )
    assert found["error, stored key"] < 1e-3


def test_the_best_ridge_grows_with_the_noise() -> None:
    few, many = (measure.best_ridge(*planted(60, noise)) for noise in (0.02, 0.8))
    assert few < many


def test_a_better_second_cue_gets_a_smaller_ridge(monkeypatch: pytest.MonkeyPatch) -> None:
    memory, ep = planted(60, 0.8)
    monkeypatch.setattr(measure, "again", lambda *_: ep.keys)  # the first read was right everywhere
    assert (
        measure.second_ridge(memory, ep, 0.1)
        == min(measure.RIDGES)
        < measure.best_ridge(memory, ep)
    )
    second = measure.second_read(memory, ep, ["x"] * 60, 1e-4)
    assert torch.equal(second, measure.linear(memory, ep, 1e-4, ep.keys))


def test_slots_of_as_many_floats() -> None:
    memory = training.untrained(base(), key_width=ROWS)
    rooms = measure.rooms(memory)
    row = ROWS + 48
    assert rooms["matrix"] * row <= ROWS * 48 < (rooms["matrix"] + 1) * row
    assert rooms["matrix and Gram"] == ROWS  # K (C + K) floats are K slots of K + C


def test_slots_keep_what_came_last_and_find_it() -> None:
    memory, ep = planted(40, 0.05)
    assert torch.equal(measure.slots(ep), ep.latents)
    found = measure.slots(ep, 10)
    assert int((found == ep.latents).all(1).sum()) == 10
    assert torch.equal(found, measure.slots(ep, 10)) and not torch.equal(
        found, measure.slots(ep, 10, seed=1)
    )


def test_a_look_alike_is_found() -> None:
    _, ep = planted(6, 0.1)
    twin = torch.nn.functional.normalize(ep.keys[4] + 0.01 * ep.keys[1], dim=0)
    found = measure.nearest_other(replace(ep, keys=torch.cat([ep.keys[:5], twin[None]])))
    expected = [
        max(float(a @ b) for j, b in enumerate([*ep.keys[:5], twin]) if j != i)
        for i, a in enumerate([*ep.keys[:5], twin])
    ]
    assert (
        torch.allclose(found, torch.tensor(expected), atol=1e-5)
        and found[4] > 0.99 > found[:4].max()
    )


def test_only_the_whole_text_is_right() -> None:
    _, ep = planted(12, 0.1)
    decode = weights.tokenizer().decode
    said = [str(decode(list(s[len(cue) :]))) for s, cue in zip(ep.segments, ep.cues, strict=True)]
    assert measure.right(ep, said) == [1.0] * 12
    assert sum(measure.right(ep, [one[:-3] for one in said])) <= 1
    counted = measure.tally(ep, said)
    assert sum(count for _, count in counted.values()) == 12 and set(counted) <= set(
        measure.LENGTHS
    )


def test_no_text_begins_with_the_cue_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [
        "the same beginning of it all and then one end to the line",
        "the same beginning of it all and then two",
        "another line that nobody else begins with at all, whatever",
        "the same beginning of it all and then one",
    ]
    monkeypatch.setattr(measure.text, "documentation", lambda split: tuple(lines))
    chosen = measure.texts("dev", 10)
    assert len(chosen) == 2
    for one in chosen:
        assert [s for s in chosen if s[: len(training.cue_of(one))] == training.cue_of(one)] == [
            one
        ]


@pytest.mark.parametrize("length", [8, 9, 20, 50])
def test_a_cue_is_two_fifths_of_a_text(length: int) -> None:
    assert len(training.cue_of(tuple(range(length)))) == max(3, int(0.4 * length))


# ---- what is shipped -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shipped() -> FixedMemory:
    return training.shipped()


def test_the_shipped_weights_are_small_and_have_a_card(shipped: FixedMemory) -> None:
    folder = weights.folder("fixed-memory")
    card = (folder / "README.md").read_text("utf-8")
    assert (folder / "model.safetensors").stat().st_size <= 4 * 2**20
    for part in ("data", "command", "seed", "record", "licence", "chosen on"):
        assert f"| {part}" in card
    assert shipped.config.key_width == 512 and shipped.config.address == "keys"


@pytest.fixture(scope="module")
def asked(shipped: FixedMemory) -> measure.Episode:
    """64 sentences that no training saw, of which 32 are asked for."""
    return measure.episode(shipped, measure.texts("dev", 64, shipped.config.segment_tokens), 32)


def test_the_shipped_weights_bring_back_texts_they_never_saw(
    shipped: FixedMemory, asked: measure.Episode
) -> None:
    said = measure.write(shipped, asked, measure.linear(shipped, asked, 0.01))
    assert sum(measure.right(asked, said)) / 32 >= 0.8


def test_a_stored_text_leaves_no_doubt_and_another_one_does(
    shipped: FixedMemory, asked: measure.Episode
) -> None:
    decode, exact = weights.tokenizer().decode, shipped.write(asked.latents, asked.keys, 1e-8)
    rests = [
        str(decode(list(s[len(cue) :]))) for s, cue in zip(asked.segments, asked.cues, strict=False)
    ]
    stored = measure.doubts(shipped, asked, rests, exact)
    others = measure.doubts(shipped, asked, rests[1:] + rests[:1], exact)
    assert stored.median() < 0.01 and (stored < measure.SURE).float().mean() >= 0.9
    assert others.median() > 0.5 and others.min() > measure.SURE


def test_what_is_in_doubt_is_asked_again_and_nothing_else(
    shipped: FixedMemory, asked: measure.Episode, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = measure.write(shipped, asked, measure.linear(shipped, asked, 0.01))
    spoilt = ["" if row % 2 else one for row, one in enumerate(first)]
    before = measure.doubts(
        shipped, asked, spoilt, shipped.write(asked.latents, asked.keys, measure.LESS[-1])
    )
    rows: list[int] = []
    write = measure.write
    monkeypatch.setattr(
        measure, "write", lambda model, ep, read: rows.append(len(read)) or write(model, ep, read)
    )
    best, doubts = measure.insist(shipped, asked, spoilt)
    assert rows[0] == int((before >= measure.SURE).sum()) < 32 and rows == sorted(
        rows, reverse=True
    )
    assert (doubts <= before).all() and len(rows) <= len(measure.LESS)
    assert all(
        new == old
        for new, old, doubt in zip(best, spoilt, before, strict=True)
        if doubt < measure.SURE
    )
    assert sum(measure.right(asked, best)) >= 30 > 20 > sum(measure.right(asked, spoilt))
