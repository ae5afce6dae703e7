"""The static rival: one hidden layer of sigmoids with fixed weights, Cybenko's sum to the letter,
that recites poems.

Its input x is one-hot: which author, which title words, which place in the poem. It never sees a
word of the poem. Its answer is G(x) = O σ(W x + b) + c, the same W, b, O, c for every x; with
one-hot x the product W x is a sum of columns, A[author] + B₁[word 1] + B₂[word 2] + C[place]. It is
called as a Hugging Face model is, so that `stock.teach` and `evaluation` treat it like any
other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from memlab import runtime
from memlab.book.argument.universal_approximation.finite_sum import FiniteSum
from memlab.corpora.poems import Poems


@dataclass(frozen=True)
class Output:
    """What a model returns: logits and, where labels were given, the mean loss over the labels that
    count, in nats."""

    loss: Tensor | None
    logits: Float[Tensor, "poem seq word"]


class StaticNetwork(nn.Module):
    """G(x) = O σ(W x + b) + c with the logistic σ, for keys of one author and some title words, and
    `length` places.

    `W` has a row a unit and a column an input: authors, then the words once for every place in the
    title, then the places of the poem. Standard deviations at the start: 1 for `W`, so that a
    unit's argument is of order 2; 1/√units for `O`; `b` and `c` are zero. ValueError for a size
    below 1.
    """

    def __init__(
        self,
        vocabulary: int,
        authors: int,
        title_words: int,
        length: int,
        units: int,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if min(vocabulary, authors, length, units) < 1 or title_words < 0:
            raise ValueError(
                f"expected sizes of at least 1, got vocabulary={vocabulary}, authors={authors}, "
                f"title_words={title_words}, length={length}, units={units}"
            )
        self.vocabulary = vocabulary
        self.authors = authors
        self.length = length
        self.key = 1 + title_words
        inputs = authors + title_words * vocabulary + length
        draw = runtime.generator(seed, "static network")
        W = torch.randn(units, inputs, generator=draw)
        out = torch.randn(vocabulary, units, generator=draw) / units**0.5
        self.W = nn.Parameter(W)
        self.b = nn.Parameter(torch.zeros(units))
        self.O = nn.Parameter(out)
        self.c = nn.Parameter(torch.zeros(vocabulary))

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.W.device

    def columns(self, keys: Int[Tensor, "poem key"]) -> Int[Tensor, "poem key"]:
        """Which input is switched on by every token of a key (author, then title words). ValueError
        for another key."""
        author = keys[:, :1] - self.vocabulary
        title = keys[:, 1:]
        known_author = (author >= 0) & (author < self.authors)
        known_title = (title >= 0) & (title < self.vocabulary)
        if keys.shape[1] != self.key or not known_author.all() or not known_title.all():
            raise ValueError(
                f"expected keys of one author and {self.key - 1} words, got shape"
                f" {tuple(keys.shape)}, first {keys[:1].tolist()}"
            )
        offsets = self.authors + self.vocabulary * torch.arange(self.key - 1, device=keys.device)
        return torch.cat([author, title + offsets], 1)

    def one_hot(self, keys: Int[Tensor, "poem key"]) -> Float[Tensor, "poem place input"]:
        """The inputs x in full, zeros and ones: what the theorem's sum is a function of."""
        places = self.length
        inputs = self.W.shape[1]
        x = torch.zeros(len(keys), places, inputs, dtype=self.W.dtype, device=self.device)
        columns = self.columns(keys)[:, None].expand(-1, places, -1)
        x.scatter_(2, columns, 1.0)
        x[:, :, inputs - places :] = torch.eye(places, dtype=x.dtype, device=self.device)
        return x

    def answer(self, keys: Int[Tensor, "poem key"]) -> Float[Tensor, "poem place word"]:
        """Logits of the word at every place. Columns are picked from `W` instead of multiplying by
        zeros and ones."""
        W = self.W.T
        key = W[self.columns(keys)].sum(1)
        place = W[len(W) - self.length :]
        hidden = torch.sigmoid(key[:, None] + place + self.b)
        return hidden @ self.O.T + self.c

    def forward(
        self,
        input_ids: Int[Tensor, "poem seq"],
        labels: Int[Tensor, "poem seq"] | None = None,
        **_: Any,
    ) -> Output:
        """As a causal language model: logits at a position are about the next word; the loss skips
        labels of −100.

        All that is looked at is the key, the first tokens of a row, and how far a position is
        behind it. Positions within the key get zeros. ValueError for rows without a key, or longer
        than the poem.
        """
        size = input_ids.shape[1]
        if not self.key <= size <= self.key + self.length:
            raise ValueError(
                f"expected rows of {self.key} to {self.key + self.length} tokens, got {size}"
            )
        answer = self.answer(input_ids[:, : self.key])
        said = F.pad(answer, (0, 0, self.key - 1, 1))[:, :size]
        if labels is None:
            return Output(None, said)
        loss = F.cross_entropy(said[:, :-1].transpose(1, 2), labels[:, 1:], ignore_index=-100)
        return Output(loss, said)

    def generate(
        self, keys: Int[Tensor, "poem key"], max_new_tokens: int, **_: Any
    ) -> Int[Tensor, "poem seq"]:
        """Key and first choices, place by place: it recites greedily, and cannot do otherwise."""
        words = self.answer(keys).argmax(-1)
        return torch.cat([keys, words[:, :max_new_tokens]], 1)

    @torch.no_grad()
    def as_finite_sum(self) -> FiniteSum:
        """The same function as one sum of units, without even a constant: c rides on a unit with w
        = 0, σ(0) = 1/2."""
        zero = torch.zeros_like(self.W[:1])
        return FiniteSum(
            alpha=torch.cat([self.O, 2 * self.c[:, None]], 1),
            W=torch.cat([self.W, zero]),
            b=torch.cat([self.b, zero[:, 0]]),
            sigma=torch.sigmoid,
        )


def units_for(poems: Poems, parameters: int) -> int:
    """The most hidden units that a static network for these poems may have within `parameters`
    numbers.

    ValueError where not even one fits.
    """
    title_words = poems.keys.shape[1] - 1
    inputs = poems.authors + title_words * poems.vocabulary + poems.bodies.shape[1]
    one = inputs + 1 + poems.vocabulary  # its row of W, its b, its column of O
    units = (parameters - poems.vocabulary) // one
    if units < 1:
        raise ValueError(
            f"expected room for one hidden unit, {one + poems.vocabulary} numbers, got {parameters}"
        )
    return units


def static(
    poems: Poems,
    parameters: int,
    seed: int = 0,
) -> StaticNetwork:
    """The largest static network for these poems with at most `parameters` numbers, in eval
    mode."""
    made = StaticNetwork(
        poems.vocabulary,
        poems.authors,
        poems.keys.shape[1] - 1,
        poems.bodies.shape[1],
        units_for(poems, parameters),
        seed,
    )
    return made.eval().to(runtime.device())


class Blindfolded(nn.Module):
    """A causal language model that sees of every row the key alone: each later word is replaced by
    `blank`.

    What is left of its input is what the static network sees, the key and the place; its weights
    are its own.
    """

    def __init__(
        self,
        model: Any,
        key: int,
        blank: int = 0,
    ) -> None:
        super().__init__()
        self.model = model
        self.key = key
        self.blank = blank

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.device

    def forward(self, input_ids: Int[Tensor, "poem seq"], **named: Any) -> Any:
        """The model's own output on the covered rows; the labels are not covered."""
        covered = torch.arange(input_ids.shape[1], device=input_ids.device) >= self.key
        return self.model(input_ids=input_ids.masked_fill(covered, self.blank), **named)
