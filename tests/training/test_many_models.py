"""Many models in one batched run: each of them ends where it would have ended alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from memlab import evaluation, training
from memlab.corpora import poems as corpus
from memlab.models import stock
from memlab.training import Recipe, many_models

MUON = Recipe(8, lr=1e-2, muon=0.05, muon_bfloat16=False)
ADAMW = Recipe(8, lr=1e-2, weight_decay=0.1, clip=0.05)
PLAIN = {"attn_implementation": "eager", "use_cache": False}
FAMILIES = {"llama": PLAIN, "gpt2": PLAIN, "qwen2": {**PLAIN, "num_key_value_heads": 1}}


def some(count: int = 3, poems: int = 10, words: int = 4) -> list[corpus.Poems]:
    return [corpus.synthetic(poems, words, 8, authors=2, seed=seed) for seed in range(count)]


def build(family: str, poems: Sequence[corpus.Poems], **options: Any) -> list[Any]:
    return [
        stock.for_poems(family, own, dim=8, seed=seed, **FAMILIES[family], **options)
        for seed, own in enumerate(poems)
    ]


def distance(some: Sequence[Any], others: Sequence[Any]) -> float:
    """The largest difference between two weights in the same place."""
    return max(
        float((a.detach() - b.detach()).abs().max())
        for one, other in zip(some, others, strict=True)
        for a, b in zip(one.parameters(), other.parameters(), strict=True)
    )


@pytest.mark.parametrize("recipe", [MUON, ADAMW], ids=["muon", "adamw, clipped"])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("batch", [0, 3])
def test_each_model_ends_where_it_would_have_ended_alone(
    family: str, recipe: Recipe, batch: int
) -> None:
    poems = some()
    together, alone, first = (build(family, poems) for _ in range(3))
    many_models.teach(together, poems, recipe, batch=batch, seeds=[5, 6, 7])
    for place, (model, own) in enumerate(zip(alone, poems, strict=True)):
        stock.teach(model, own, recipe, batch=batch, seed=5 + place)
    assert distance(together, alone) < 2e-4 < 0.02 < distance(together, first)
    assert not any(model.training for model in together)


def test_no_model_sees_another() -> None:
    poems = some()
    one, other = build("llama", poems), build("llama", poems)
    other[1] = stock.for_poems("llama", poems[1], dim=8, seed=99, **FAMILIES["llama"])
    strange = [poems[0], corpus.synthetic(10, 4, 8, authors=2, seed=77), poems[2]]
    many_models.teach(one, poems, MUON)
    many_models.teach(other, strange, MUON)
    assert distance([one[0], one[2]], [other[0], other[2]]) < 1e-6 < distance([one[1]], [other[1]])


def test_tied_weights_stay_tied_and_sizes_are_counted_once() -> None:
    model = build("llama", some(1))[0]
    size = stock.size(model)
    many_models.teach([model], some(1), MUON)
    assert model.lm_head.weight is model.model.embed_tokens.weight and stock.size(model) == size


def test_it_learns_poems_by_heart() -> None:
    poems = some(2, poems=8)
    models = build("llama", poems)
    log = many_models.teach(
        models, poems, Recipe(120, lr=3e-2, muon=0.1, muon_bfloat16=False), every=60
    )
    assert [
        evaluation.read(model, own).memory_ability for model, own in zip(models, poems, strict=True)
    ] == [1.0, 1.0]
    assert [row["step"] for row in log.rows] == [60, 120] and log.rows[0]["loss"] > log.rows[1][
        "loss"
    ]
    assert log.seconds >= log.rows[1]["seconds"] > 0


def test_a_report_sees_the_models_as_they_are() -> None:
    poems, seen = some(2), []
    models = build("llama", poems)
    many_models.teach(
        models,
        poems,
        MUON,
        every=3,
        report=lambda step, row: seen.append(
            (step, evaluation.fingerprint(models[0]), models[0].training)
        ),
    )
    assert [step for step, _, _ in seen] == [3, 6, 8] and len({mark for _, mark, _ in seen}) == 3
    assert seen[-1][1] == evaluation.fingerprint(models[0]) and not any(mode for _, _, mode in seen)


class Line(torch.nn.Module):
    """y = w · x, its loss the squared error: a model whose gradient can be written down."""

    def __init__(self, w: Sequence[float]) -> None:
        super().__init__()
        self.w = torch.nn.Parameter(torch.tensor(w))

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> SimpleNamespace:
        return SimpleNamespace(loss=(x @ self.w - y).square().mean())


def test_any_model_with_a_loss_will_do() -> None:
    x, y = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0)), torch.ones(2, 5)
    models = [Line([0.0, 1.0, 2.0]), Line([3.0, 0.0, -1.0])]
    twins = [Line(model.w.tolist()) for model in models]
    recipe = Recipe(7, lr=0.1)
    many_models.fit(models, lambda step: {"x": x + step, "y": y}, recipe)
    for place, twin in enumerate(twins):
        training.fit(twin, lambda step, at=place: {"x": x[at] + step, "y": y[at]}, recipe)
    assert distance(models, twins) < 1e-5


def test_clipping_looks_at_each_model_alone() -> None:
    a, b = torch.tensor([[3.0, 0.0], [0.3, 0.0]]), torch.tensor([[[4.0]], [[0.4]]])
    norms = many_models.clip([a, b], 1.0)
    assert torch.allclose(norms, torch.tensor([5.0, 0.5]))
    assert torch.allclose(a, torch.tensor([[0.6, 0.0], [0.3, 0.0]]), atol=1e-5)
    assert torch.allclose(b.flatten(), torch.tensor([0.8, 0.4]), atol=1e-5)


@pytest.mark.parametrize("shape", [(3, 4, 7), (3, 7, 4), (3, 5, 5)])
def test_muon_on_a_stack_is_muon_on_each(shape: tuple[int, int, int]) -> None:
    draw = torch.Generator().manual_seed(1)
    start, pulls = torch.randn(2, *shape, generator=draw), torch.randn(4, 2, *shape, generator=draw)
    whole = [p.clone().requires_grad_() for p in start]
    parts = [[row.clone().requires_grad_() for row in p] for p in start]
    muon = many_models.StackedMuon(whole, lr=0.1, weight_decay=0.5)
    alone = training.Muon([row for part in parts for row in part], lr=0.1, weight_decay=0.5)
    for pull in pulls:
        for p, part, gradient in zip(whole, parts, pull, strict=True):
            p.grad = gradient.clone()
            for row, own in zip(part, gradient, strict=True):
                row.grad = own.clone()
        muon.step()
        alone.step()
    for p, part in zip(whole, parts, strict=True):
        assert torch.allclose(p, torch.stack(part), atol=1e-5)


def test_randomness_is_left_alone(untouched_global_random_state: None) -> None:
    poems = some(2)
    many_models.teach(build("llama", poems), poems, MUON, batch=4)


def wrong_shapes() -> None:
    poems = some(2)
    many_models.fit(
        [stock.for_poems("llama", own, dim=dim) for own, dim in zip(poems, (8, 4), strict=True)],
        dict,
        MUON,
    )


def nothing_to_train() -> None:
    many_models.fit([Line([1.0]).requires_grad_(False)], dict, ADAMW)


def unequal_sets() -> None:
    poems = [*some(1), *some(1, poems=9)]
    many_models.teach(build("llama", poems), poems, MUON)


def too_few_sets() -> None:
    many_models.teach(build("llama", some(2)), some(1), MUON)


def bfloat16() -> None:
    poems = some(1)
    many_models.teach(build("llama", poems), poems, Recipe(1, muon=0.1))


@pytest.mark.parametrize(
    ("attempt", "message"),
    [
        (wrong_shapes, "all of one architecture and size, got 2 of 2 shapes"),
        (nothing_to_train, "models to train"),
        (lambda: many_models.fit([], dict, MUON), "got 0"),
        (unequal_sets, "of 2 shapes"),
        (too_few_sets, "got 2 models and 1 sets"),
        (bfloat16, "muon_bfloat16=False"),
    ],
)
def test_what_cannot_be_stacked_is_refused(attempt: Callable[[], None], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        attempt()


@pytest.mark.gpu
def test_a_gpu_does_the_same() -> None:
    poems = some()
    on_gpu, alone = build("llama", poems), build("llama", poems)
    many_models.teach(on_gpu, poems, ADAMW)
    for model, own in zip(alone, poems, strict=True):
        stock.teach(model, own, ADAMW)
    assert distance(on_gpu, alone) < 1e-3
