"""Chapter 3, is a Transformer such a sum? The identity, and what is left of a block whose
coefficients stand still."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations
from typing import Any

import pandas as pd
import torch

from memlab import runtime, training
from memlab.book.argument.dynamic_sum import sums
from memlab.book.units import Unit, per_seed
from memlab.models import blocks
from memlab.results import Record, Verdict

SEEDS = {"quick": 3, "full": 10, "gpu": 10}
SIZES = (1e-3, 1e-2, 0.1, 0.3, 1.0)  # of a step, in standard deviations of the input
TRAINED, POEMS, WORDS, LINE, ASKED = "gpt2, trained", 32, 64, 8, 6
RECIPES = {
    "adamw": training.Recipe(steps=90, lr=1e-2),
    "muon": training.Recipe(steps=80, lr=5e-3, muon=0.03),
}


def _record(
    model: str, seed: int, task: str, metric: str, value: float | int | torch.Tensor, **meta: Any
) -> Record:
    return Record("dynamic-sum", model, task, metric, float(value), seed, meta=meta)


def identity(architecture: str, seed: int) -> Iterator[Record]:
    """Largest |block − sum| of one stock block in both dtypes, how far its coefficients move, and
    its response."""
    model = blocks.stock_model(architecture, seed, dim=24)
    X, other = torch.randn(2, 8, 24, generator=runtime.generator(seed, "dynamic-sum", "inputs"))
    for name, made, given in (("float32", model, X), ("float64", blocks.double(model), X.double())):
        call = blocks.calls(made, given)[0]
        form, at = sums.dynamic_sum(call), call.X
        yield _record(
            architecture,
            seed,
            "identity",
            "max error",
            (form.evaluate(at) - call.Y).abs().max(),
            dtype=name,
        )
    yield _record(architecture, seed, "identity", "units", len(form.as_finite_sum().b))
    moved = sums.dynamic_sum(call.at(other.double()))
    for part in ("M", "W", "b", "alpha"):
        here, there = getattr(form, part), getattr(moved, part)
        yield _record(
            architecture,
            seed,
            "movement",
            part,
            (there - here).norm() / here.norm().clamp_min(1e-300),
        )
    yield from responses(architecture, seed, [call])


def responses(model: str, seed: int, stack: list[blocks.Call]) -> Iterator[Record]:
    """`sums.response` of a stack of blocks to one random step, at every size."""
    X, form, f = stack[0].X, sums.stack_sum(stack), blocks.chain(stack)
    way = (
        torch.randn(X.shape, generator=runtime.generator(seed, "dynamic-sum", "way"), dtype=X.dtype)
        * X.std()
    )
    for size in SIZES:
        yield from (
            _record(model, seed, "response", metric, value, size=size)
            for metric, value in sums.response(form, f, X, size * way).items()
        )


def recitation(seed: int, recipe: str = "muon") -> tuple[Any, torch.Tensor]:
    """A two-block GPT-2, trained on POEMS random poems with two-word titles, in float64; and the
    poems' token ids."""
    draw = runtime.generator(seed, "dynamic-sum", "poems")
    titles = torch.cartesian_prod(*[torch.arange(WORDS)] * 2)[
        torch.randperm(WORDS**2, generator=draw)[:POEMS]
    ]
    ids = torch.cat([titles, torch.randint(WORDS, (POEMS, LINE), generator=draw)], 1)
    model = blocks.stock_model(
        "gpt2", seed, heads=2, layers=2, scale=0.05, head=True, **blocks.NO_DROPOUT
    )
    labels = ids.masked_fill(torch.arange(ids.shape[1]) < 2, -100)
    training.fit(
        model.requires_grad_(True),
        lambda _step: {"input_ids": ids, "labels": labels},
        RECIPES[recipe],
    )
    return blocks.double(model).requires_grad_(False), ids


def recital(model: Any, ids: torch.Tensor, seed: int, recipe: str) -> Iterator[Record]:
    """Share of the frozen poem's and of the asked poem's words in what sums, frozen at one poem
    each, produce."""
    stacks = [blocks.calls(model, row) for row in ids[:ASKED]]
    X, plain = [stack[0].X for stack in stacks], [sums.stack_sum(stack) for stack in stacks]
    worst = max(
        (s.evaluate(x) - stack[-1].Y).abs().max()
        for s, x, stack in zip(plain, X, stacks, strict=True)
    )
    yield _record(TRAINED, seed, "identity", "max error", worst, dtype="float64", recipe=recipe)

    def says(form: sums.DynamicSum, x: torch.Tensor, poem: int) -> float:
        words = model.lm_head(model.transformer.ln_f(form.evaluate(x))).argmax(-1)[1:-1]
        return float((words == ids[poem, 2:]).double().mean())

    own, pairs = range(ASKED), list(permutations(range(ASKED), 2))
    for form, s in (
        ("plain", plain),
        ("folded", [s.folded(x) for s, x in zip(plain, X, strict=True)]),
    ):
        said = {
            "own input: own poem": [says(s[a], X[a], a) for a in own],
            "zeros: frozen poem": [says(s[a], 0 * X[a], a) for a in own],
            "other input: frozen poem": [says(s[a], X[b], a) for a, b in pairs],
            "other input: asked poem": [says(s[a], X[b], b) for a, b in pairs],
        }
        yield from (
            _record(
                TRAINED, seed, "recital", metric, sum(found) / len(found), recipe=recipe, form=form
            )
            for metric, found in said.items()
        )


def one_seed(seed: int) -> Iterator[Record]:
    """All measurements of one seed."""
    for architecture in blocks.ARCHITECTURES:
        yield from identity(architecture, seed)
    for recipe in RECIPES:
        model, ids = recitation(seed, recipe)
        yield from recital(model, ids, seed, recipe)
    yield from responses(TRAINED, seed, blocks.calls(model, ids[0]))


def units(profile: str, seed: int) -> Iterator[Unit]:
    """SEEDS[profile] seeds, beginning with `seed`."""
    return per_seed(one_seed, seed, SEEDS[profile])


def table(data: pd.DataFrame) -> pd.DataFrame:
    """A row a model: worst errors, then means over seeds; the responses are those to a step of
    0.01."""
    error = (
        data[data.metric == "max error"]
        .groupby(["model", "dtype"])
        .value.max()
        .unstack()
        .map("{:.0e}".format)
    )
    units = (
        data[data.metric == "units"]
        .groupby("model")
        .value.first()
        .map("{:.0f}".format)
        .rename("units")
    )
    rest = data[(data.task == "movement") | (data["size"] == 0.01)].pivot_table(
        "value", "model", "metric"
    )
    shares = rest[["M", "W", "b", "alpha", "frozen", "unchanged", "tangent"]].map("{:.2f}".format)
    return (
        pd.concat([units, error, shares], axis=1)
        .replace("nan", None)
        .fillna("–")
        .reset_index(names="model")
    )


def verdicts(data: pd.DataFrame) -> list[Verdict]:
    """U1, the identity; S4, whether the moving coefficients are the memory."""
    worst = data[data.metric == "max error"].groupby("dtype").value.max()
    small = data[data["size"] == min(SIZES)].groupby("metric").value
    zeros = (
        data[(data.metric == "zeros: frozen poem") & (data.recipe == "muon")].groupby("form").value
    )
    exact = worst["float64"] <= 1e-12 and worst["float32"] <= 1e-4
    lost = small.min()["frozen"] >= 0.5 and small.max()["tangent"] <= 0.05
    apart = zeros.min()["plain"] >= 0.5 and zeros.max()["folded"] <= 0.15
    runs = f"({data.seed.nunique()} seeds)"
    return [
        Verdict(
            "U1",
            "supported" if exact else "refuted",
            "at each input, error <= 1e-12 (float64) and <= 1e-4"
            f" (float32) in all architectures: {exact} {runs}",
        ),
        Verdict(
            "S4",
            "not testable here",
            "frozen, the sum loses over half of a small response, a static tangent under 0.05:"
            f" {lost}; fed zeros, one exact form recites, another does not: {apart} {runs}",
        ),
    ]
