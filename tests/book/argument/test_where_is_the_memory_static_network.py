"""The static rival: against the sum written out number by number, and as a model that teach and
read can use."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from memlab import evaluation
from memlab.book.argument.where_is_the_memory import static_network
from memlab.corpora import poems as corpus
from memlab.models import stock
from memlab.training import Recipe

POEMS = corpus.synthetic(12, 4, 16, authors=3, seed=1)


@pytest.fixture
def net() -> static_network.StaticNetwork:
    model = static_network.static(POEMS, 400, seed=2)
    with torch.no_grad():
        model.b.copy_(torch.linspace(-1, 1, len(model.b)))
        model.c.copy_(torch.linspace(1, -1, 16))
    return model


def test_the_sum_number_by_number(net: static_network.StaticNetwork) -> None:
    said = net.answer(POEMS.keys).detach()
    author, first, second = POEMS.keys[5].tolist()
    on = [author - 16, 3 + first, 3 + 16 + second, 3 + 32 + 2]  # author, title words, place 2
    hidden = [
        1 / (1 + math.exp(-(sum(row[i] for i in on) + b)))
        for row, b in zip(net.W.tolist(), net.b.tolist(), strict=True)
    ]
    for word in range(16):
        wanted = (
            sum(o * h for o, h in zip(net.O[word].tolist(), hidden, strict=True))
            + net.c[word].item()
        )
        assert float(said[5, 2, word]) == pytest.approx(wanted, abs=1e-5)


def test_it_is_a_finite_sum_of_one_hot_inputs(net: static_network.StaticNetwork) -> None:
    x = net.one_hot(POEMS.keys)
    assert x.shape == (12, 4, net.W.shape[1]) and set(x.unique().tolist()) == {0.0, 1.0}
    assert (x.sum(-1) == 4).all() and len(x.flatten(0, 1).unique(dim=0)) == 48, (
        "every word has an input of its own"
    )
    G = net.as_finite_sum()
    assert G.W.shape == (len(net.b) + 1, net.W.shape[1]) and G.sigma is torch.sigmoid
    assert torch.allclose(G(x), net.answer(POEMS.keys), atol=1e-5)


def test_as_a_causal_model_it_predicts_the_next_word(net: static_network.StaticNetwork) -> None:
    ids = POEMS.ids
    labels = ids.masked_fill(torch.arange(7) < 3, -100)
    output = net(ids, labels=labels)
    assert output.logits.shape == (12, 7, 16)
    wanted = F.cross_entropy(net.answer(POEMS.keys).flatten(0, 1), POEMS.bodies.flatten())
    assert output.loss is not None and torch.allclose(output.loss, wanted)
    shorter = net(ids[:, :-1])
    assert shorter.loss is None and torch.equal(shorter.logits, output.logits[:, :-1])
    assert (output.logits[:, :2] == 0).all(), "within the key it has nothing to say"


def test_it_never_sees_a_word_of_the_poem(net: static_network.StaticNetwork) -> None:
    ids = POEMS.ids
    other = ids.clone()
    other[:, 3:] = (other[:, 3:] + 5) % 16
    assert torch.equal(net(ids).logits, net(other).logits)
    other[:, 2] = (other[:, 2] + 1) % 16
    assert not torch.equal(net(ids).logits, net(other).logits)


def test_it_learns_and_recites_like_any_other_model() -> None:
    net = static_network.static(POEMS, 900, seed=0)
    before = evaluation.fingerprint(net)
    stock.teach(net, POEMS, Recipe(150, lr=0.1), batch=6)
    assert evaluation.fingerprint(net) != before
    assert evaluation.read(net, POEMS).memory_ability == 1
    assert torch.equal(evaluation.recite(net, POEMS.keys, 4), POEMS.bodies)
    assert evaluation.reciter(net, POEMS)([POEMS.poem(3).cue]) == [POEMS.poem(3, per_line=0).text]


def test_the_seed_decides(untouched_global_random_state: None) -> None:
    first, same, other = (static_network.static(POEMS, 400, seed) for seed in (0, 0, 1))
    assert (
        evaluation.fingerprint(first)
        == evaluation.fingerprint(same)
        != evaluation.fingerprint(other)
    )


@pytest.mark.parametrize("parameters", [72, 400, 4768, 10_000])
def test_the_largest_that_fits(parameters: int) -> None:
    net = static_network.static(POEMS, parameters)
    one_more = static_network.StaticNetwork(16, 3, 2, 4, len(net.b) + 1)
    assert stock.size(net) <= parameters < stock.size(one_more)


def test_wrong_arguments_are_named(net: static_network.StaticNetwork) -> None:
    with pytest.raises(ValueError, match="room for one hidden unit, 72 numbers, got 71"):
        static_network.units_for(POEMS, 71)
    with pytest.raises(ValueError, match="sizes of at least 1"):
        static_network.StaticNetwork(16, 3, 2, 4, 0)
    with pytest.raises(ValueError, match="one author and 2 words"):
        net.answer(POEMS.keys[:, :2])
    with pytest.raises(ValueError, match="one author and 2 words"):
        net.answer(POEMS.keys.roll(1, 1))
    with pytest.raises(ValueError, match="rows of 3 to 7 tokens, got 8"):
        net(torch.cat([POEMS.ids, POEMS.ids[:, :1]], 1))


def test_a_blindfolded_model_sees_the_key_alone() -> None:
    gpt2 = stock.for_poems("gpt2", POEMS, dim=8, layers=1)
    blind, ids = static_network.Blindfolded(gpt2, key=3, blank=7), POEMS.ids
    other, blank = ids.clone(), ids.clone()
    other[:, 3:] = (other[:, 3:] + 5) % 16
    blank[:, 3:] = 7
    said = blind(ids, labels=ids)
    assert torch.equal(said.logits, blind(other).logits)
    assert torch.equal(said.logits, gpt2(blank).logits)
    assert torch.allclose(
        said.loss, F.cross_entropy(said.logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    ), "what it is asked for is not covered"
    assert not torch.equal(gpt2(ids).logits, gpt2(other).logits)
    assert stock.size(blind) == stock.size(gpt2) and blind.device == gpt2.device
