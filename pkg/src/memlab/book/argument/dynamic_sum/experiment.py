"""Chapter 3, is a Transformer such a sum? The identity, and what is left of a block whose
coefficients stand still."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
TRAINED = "gpt2, trained"
POEMS = 32
WORDS = 64  # in the vocabulary
LINE = 8  # words of a poem
ASKED = 6  # poems that the sums of a trained model are frozen at
RECIPES = {
    "adamw": training.Recipe(steps=90, lr=1e-2),
    "muon": training.Recipe(steps=80, lr=5e-3, muon=0.03),
}

Says = Callable[[sums.DynamicSum, torch.Tensor, int], float]  # (sum, input, poem) → share of words


def _record(
    model: str,
    seed: int,
    task: str,
    metric: str,
    value: float | int | torch.Tensor,
    **meta: Any,
) -> Record:
    return Record("dynamic-sum", model, task, metric, float(value), seed, meta=meta)


# ---- one stock block -----------------------------------------------------------------------------


def identity(architecture: str, seed: int) -> Iterator[Record]:
    """Largest |block − sum| of one stock block in both dtypes, how far its coefficients move, and
    its response."""
    model = blocks.stock_model(architecture, seed, dim=24)
    draw = runtime.generator(seed, "dynamic-sum", "inputs")
    X, other = torch.randn(2, 8, 24, generator=draw)
    single = blocks.calls(model, X)[0]
    call = blocks.calls(blocks.double(model), X.double())[0]
    for dtype, made in (("float32", single), ("float64", call)):
        form = sums.dynamic_sum(made)
        error = (form.evaluate(made.X) - made.Y).abs().max()
        yield _record(architecture, seed, "identity", "max error", error, dtype=dtype)
    yield _record(architecture, seed, "identity", "units", len(form.as_finite_sum().b))
    moved = sums.dynamic_sum(call.at(other.double()))
    for part in ("M", "W", "b", "alpha"):
        here = getattr(form, part)
        there = getattr(moved, part)
        way = (there - here).norm() / here.norm().clamp_min(1e-300)
        yield _record(architecture, seed, "movement", part, way)
    yield from responses(architecture, seed, [call])


def responses(
    model: str,
    seed: int,
    stack: list[blocks.Call],
) -> Iterator[Record]:
    """`sums.response` of a stack of blocks to one random step, at every size."""
    X = stack[0].X
    form = sums.stack_sum(stack)
    f = blocks.chain(stack)
    draw = runtime.generator(seed, "dynamic-sum", "way")
    way = torch.randn(X.shape, generator=draw, dtype=X.dtype) * X.std()
    for size in SIZES:
        found = sums.response(form, f, X, size * way)
        for metric, value in found.items():
            yield _record(model, seed, "response", metric, value, size=size)


# ---- a trained model -----------------------------------------------------------------------------


def recitation(seed: int, recipe: str = "muon") -> tuple[Any, torch.Tensor]:
    """A two-block GPT-2, trained on POEMS random poems with two-word titles, in float64; and the
    poems' token ids."""
    draw = runtime.generator(seed, "dynamic-sum", "poems")
    every_title = torch.cartesian_prod(*[torch.arange(WORDS)] * 2)
    titles = every_title[torch.randperm(WORDS**2, generator=draw)[:POEMS]]
    bodies = torch.randint(WORDS, (POEMS, LINE), generator=draw)
    ids = torch.cat([titles, bodies], 1)
    labels = ids.masked_fill(torch.arange(ids.shape[1]) < 2, -100)
    batch = {"input_ids": ids, "labels": labels}
    model = blocks.stock_model(
        "gpt2",
        seed,
        heads=2,
        layers=2,
        scale=0.05,
        head=True,
        **blocks.NO_DROPOUT,
    )
    training.fit(model.requires_grad_(True), lambda _step: batch, RECIPES[recipe])
    return blocks.double(model).requires_grad_(False), ids


def recital(
    model: Any,
    ids: torch.Tensor,
    seed: int,
    recipe: str,
) -> Iterator[Record]:
    """Share of the frozen poem's and of the asked poem's words in what sums, frozen at one poem
    each, produce."""
    stacks = [blocks.calls(model, row) for row in ids[:ASKED]]
    inputs = [stack[0].X for stack in stacks]
    plain = [sums.stack_sum(stack) for stack in stacks]
    worst = max(
        (form.evaluate(X) - stack[-1].Y).abs().max()
        for form, X, stack in zip(plain, inputs, stacks, strict=True)
    )
    yield _record(TRAINED, seed, "identity", "max error", worst, dtype="float64", recipe=recipe)

    def says(
        form: sums.DynamicSum,
        X: torch.Tensor,
        poem: int,
    ) -> float:
        state = model.transformer.ln_f(form.evaluate(X))
        words = model.lm_head(state).argmax(-1)[1:-1]
        return float((words == ids[poem, 2:]).double().mean())

    folded = [form.folded(X) for form, X in zip(plain, inputs, strict=True)]
    for name, frozen in (("plain", plain), ("folded", folded)):
        for metric, share in _asked(frozen, inputs, says).items():
            yield _record(TRAINED, seed, "recital", metric, share, recipe=recipe, form=name)


def _asked(
    frozen: list[sums.DynamicSum],
    inputs: list[torch.Tensor],
    says: Says,
) -> dict[str, float]:
    """Mean shares of words when each sum is fed its own input, zeros, and every other input."""
    own = range(len(frozen))
    pairs = list(permutations(own, 2))
    found = {
        "own input: own poem": [says(frozen[a], inputs[a], a) for a in own],
        "zeros: frozen poem": [says(frozen[a], 0 * inputs[a], a) for a in own],
        "other input: frozen poem": [says(frozen[a], inputs[b], a) for a, b in pairs],
        "other input: asked poem": [says(frozen[a], inputs[b], b) for a, b in pairs],
    }
    return {metric: sum(shares) / len(shares) for metric, shares in found.items()}


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


# ---- what is printed -----------------------------------------------------------------------------


def table(data: pd.DataFrame) -> pd.DataFrame:
    """A row a model: worst errors, then means over seeds; the responses are those to a step of
    0.01."""
    errors = data[data.metric == "max error"]
    worst = errors.groupby(["model", "dtype"]).value.max().unstack()
    counted = data[data.metric == "units"]
    counts = counted.groupby("model").value.first().rename("units")
    moved = data.task == "movement"
    responded = data["size"] == 0.01
    means = data[moved | responded].pivot_table("value", "model", "metric")
    shares = means[["M", "W", "b", "alpha", "frozen", "unchanged", "tangent"]]
    columns = [
        counts.map("{:.0f}".format),
        worst.map("{:.0e}".format),
        shares.map("{:.2f}".format),
    ]
    printed = pd.concat(columns, axis=1).replace("nan", None).fillna("–")
    return printed.reset_index(names="model")


def _runs(data: pd.DataFrame) -> str:
    return f"({data.seed.nunique()} seeds)"


def _u1(data: pd.DataFrame) -> Verdict:
    """The identity."""
    errors = data[data.metric == "max error"]
    worst = errors.groupby("dtype").value.max()
    exact = worst["float64"] <= 1e-12 and worst["float32"] <= 1e-4
    return Verdict(
        "U1",
        "supported" if exact else "refuted",
        "at each input, error <= 1e-12 (float64) and <= 1e-4"
        f" (float32) in all architectures: {exact} {_runs(data)}",
    )


def _s4(data: pd.DataFrame) -> Verdict:
    """Whether the moving coefficients are the memory."""
    smallest_step = data[data["size"] == min(SIZES)]
    errors = smallest_step.groupby("metric").value
    lost = errors.min()["frozen"] >= 0.5 and errors.max()["tangent"] <= 0.05
    fed_zeros = data[(data.metric == "zeros: frozen poem") & (data.recipe == "muon")]
    recited = fed_zeros.groupby("form").value
    apart = recited.min()["plain"] >= 0.5 and recited.max()["folded"] <= 0.15
    return Verdict(
        "S4",
        "not testable here",
        "frozen, the sum loses over half of a small response, a static tangent under 0.05:"
        f" {lost}; fed zeros, one exact form recites, another does not: {apart} {_runs(data)}",
    )


def verdicts(data: pd.DataFrame) -> list[Verdict]:
    """U1, the identity; S4, whether the moving coefficients are the memory."""
    return [_u1(data), _s4(data)]
