"""A pretrained language model under chapter 7's instruments while it is taught poems: what its
answers, its loss, its states and the way of its weights say before it recites the first.

The observer knows the published model that it began as, which is what fine-tuning begins with: the
way of the weights, from there to now, is laid against the slopes of the texts there
(`Watch.descent`), and the model as it is now is never run.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import functional_call, jvp
from torch.nn.attention import SDPBackend, sdpa_kernel

from memlab import evaluation, runtime
from memlab.book.opening_the_box.before_you_ask import instruments
from memlab.book.opening_the_box.reciting import poems_as_text
from memlab.book.opening_the_box.reciting.poems_as_text import collate, prompt, rows
from memlab.corpora import poems as corpus
from memlab.corpora import tokenization
from memlab.corpora.poems import Poem, Poems

TRIES = 10_000  # how often one may ask
NEGATIVES = 100  # poems never taught: for a false-positive rate of 1 %
STRICT = "every character"
Found = dict[str, float]


def _some(poems: Poems, count: int) -> Poems:
    """The first `count` poems."""
    return replace(poems, keys=poems.keys[:count], bodies=poems.bodies[:count])


def texts(poems: Poems) -> list[Poem]:
    """Poems as text, for a model with a tokenizer of its own."""
    return [poems.poem(i) for i in range(len(poems))]


class Watch:
    """The lesson of one seed, and all that its observers bring: the model as it came, the poems,
    their line-ups, and as many poems that nobody was taught."""

    def __init__(
        self,
        start: Any,
        tokenizer: Any,
        seed: int,
        count: int = 32,
        words: int = 16,
    ) -> None:
        self.start = start
        self.tokenizer = tokenizer
        self.seed = seed
        self.pupil = copy.deepcopy(start)
        total = max(count, NEGATIVES)
        drawn = corpus.synthetic(total, words, seed=seed)
        self.fresh = corpus.synthetic(total, words, seed=seed, fresh=True)
        self.poems = _some(drawn, count)
        self.taught = texts(self.poems)
        fresh = _some(self.fresh, count)
        self.sets = instruments.lineups(self.poems, fresh, seed)
        # As "item", of texts that nobody was taught: what the instrument itself prefers.
        self.sets["item, nobody's"] = (fresh, instruments.patchwork(fresh, seed))
        self.untaught = self._surprise(start)

    # ---- one reading -----------------------------------------------------------------------------

    def look(self, descent: bool = False) -> Found:
        """One reading of every instrument; that of `descent` takes as long as all others
        together."""
        found = {**self._answers(), **self._losses(), **self._states()}
        return {**found, **self._ways()} if descent else found

    def _answers(self) -> Found:
        score = poems_as_text.score(self.pupil, self.tokenizer, self.taught)
        seen = poems_as_text.read(self.pupil, self.tokenizer, self.taught)
        likely = instruments.within(-seen.nll, TRIES) >= 0.5
        return {
            "recited": score.recited[STRICT],
            "tokens": score.tokens,
            "bits": score.bits,
            f"{TRIES} tries at 1.0": float(likely.double().mean()),
        }

    def _asked(self) -> dict[int, Poems]:
        """Every set of poems that some line-up needs, once."""
        pairs = self.sets.values()
        return {id(poems): poems for pair in pairs for poems in pair} | {id(self.fresh): self.fresh}

    def _surprise(self, model: Any) -> dict[int, Tensor]:
        """−ln p of every poem of every set."""
        read = partial(poems_as_text.read, model, self.tokenizer)
        return {key: read(texts(poems)).nll for key, poems in self._asked().items()}

    def _losses(self) -> Found:
        """Line-ups by the loss, and by how much it fell since the start, which is what a reference
        model is for."""
        now = self._surprise(self.pupil)
        scores = {
            "loss": {key: -nll for key, nll in now.items()},
            "loss, less the start's": {key: self.untaught[key] - nll for key, nll in now.items()},
        }
        found: Found = {}
        for who, score in scores.items():
            found |= self._told_apart(who, score)
            # Taught pairs against pairs that nobody was taught: the line-up of most papers.
            own, other = score[id(self.poems)], score[id(self.fresh)]
            found[f"{who}: member"] = evaluation.auc(own, other)
            found[f"{who}: member, at 1 %"] = evaluation.true_positives(own, other)
        return found

    def _told_apart(self, who: str, score: Mapping[int, Tensor]) -> Found:
        return {
            f"{who}: {what}": evaluation.auc(score[id(a)], score[id(b)])
            for what, (a, b) in self.sets.items()
        }

    # ---- in the activations ----------------------------------------------------------------------

    @torch.no_grad()
    def _at_the_end_of_titles(self, poems: Sequence[Poem]) -> Float[Tensor, "poem dim"]:
        """The last layer's state at the last token of each question."""
        encode = tokenization.encoder(self.tokenizer)
        found = []
        for ids in encode([prompt(poem) for poem in poems]):
            asked = torch.tensor([ids], device=self.pupil.device)
            states = self.pupil(asked, output_hidden_states=True).hidden_states[-1]
            found.append(states[0, -1].float().cpu())
        return torch.stack(found)

    def _words(self) -> Float[Tensor, "word dim"]:
        """An embedding for every word of the poems: the mean of those of its tokens."""
        table = self.pupil.get_input_embeddings().weight.detach().float().cpu()
        names = corpus.word_list(self.poems.vocabulary)
        encode = tokenization.encoder(self.tokenizer)
        return torch.stack([table[ids].mean(0) for ids in encode([f" {name}" for name in names])])

    def _states(self) -> Found:
        count = len(self.poems)
        others = texts(self.fresh)[:count]
        state = self._at_the_end_of_titles([*self.taught, *others])
        known = (torch.arange(len(state)) < count)[:, None]
        places = instruments.word_auc(state[:count], self.poems.bodies, self._words())
        return {
            "known title": instruments.label_auc(state, known),
            "word 1": float(places[0]),
            "later words": float(places[2:].mean()),
        }

    # ---- in the weights --------------------------------------------------------------------------

    def descent(self, poems: Sequence[Poem], batch: int = 16) -> Float[Tensor, " poem"]:
        """How far the way from the start to now leads down each poem's loss, as the slope at the
        start has it, in nats: high for what was taught.

        The start is run, along a direction; the model as it is now is not: its weights enter as
        numbers, less those of the start.
        """
        start = dict(self.start.named_parameters())
        now = dict(self.pupil.named_parameters())
        began = {name: weight.detach() for name, weight in start.items()}
        moved = {name: now[name].detach() - weight for name, weight in began.items()}
        encoded = rows(self.tokenizer, poems)
        found = []
        # Of the kernels for attention this one alone knows directions.
        with sdpa_kernel(SDPBackend.MATH), torch.no_grad():
            for at in range(0, len(encoded), batch):
                part = collate(encoded[at : at + batch], self.start.device)
                losses = partial(self._losses_at, part)
                slope = jvp(losses, (began,), (moved,))[1]
                found.append(-slope.double().cpu())
        return torch.cat(found)

    def _losses_at(self, part: Mapping[str, Tensor], weights: dict[str, Tensor]) -> Tensor:
        """−ln p of each poem of a batch, in nats, for the start's architecture with these
        weights."""
        labels = part["labels"][:, 1:]
        read = {"input_ids": part["input_ids"], "attention_mask": part["attention_mask"]}
        out = functional_call(self.start, weights, (), {**read, "use_cache": False})
        logits = out.logits[:, :-1].float().transpose(1, 2)
        return torch.nn.functional.cross_entropy(logits, labels, reduction="none").sum(1)

    def _ways(self) -> Found:
        wanted = {key: poems for key, poems in self._asked().items() if poems is not self.fresh}
        score = {key: self.descent(texts(poems)) for key, poems in wanted.items()}
        return self._told_apart("way", score)

    # ---- when it has learnt ----------------------------------------------------------------------

    def asking(self) -> Found:
        """Whether asking again, backwards or one question at a time changes an answer or the
        weights."""
        ask = partial(poems_as_text.recite, self.pupil, self.tokenizer)
        old = evaluation.fingerprint(self.pupil)
        first = ask(self.taught)
        others = {
            "again": ask(self.taught),
            "backwards": ask(self.taught[::-1])[::-1],
            "one at a time": [ask([poem])[0] for poem in self.taught[:8]],
        }
        return {
            **{name: float(said == first[: len(said)]) for name, said in others.items()},
            "same weights": float(old == evaluation.fingerprint(self.pupil)),
        }

    def dice(
        self,
        poems: int = 4,
        draws: int = 256,
        temperature: float = 2.0,
    ) -> Found:
        """χ² of how many tokens of drawn answers are right from the start, against the chances read
        beforehand; the same with those of a sampler that is a fifth hotter."""
        draw = runtime.generator(self.seed, "before you ask, pretrained", "dice")
        seen: list[Tensor] = []
        told: list[tuple[Tensor, Tensor]] = []
        for row in rows(self.tokenizer, self.taught[:poems]):
            question = torch.tensor([row.question])
            answer = torch.tensor(row.answer)
            drawn = instruments.draw_answers(
                self.pupil, question.expand(draws, -1), len(answer), draw, temperature
            )
            begun = (drawn == answer).long().cumprod(1).sum(1)
            seen.append(begun.bincount(minlength=len(answer) + 1))
            told.append((self._true_logits(row), answer))
        return {
            "chi2 tail": _tail(seen, told, temperature),
            "chi2 tail, hotter": _tail(seen, told, 1.2 * temperature),
        }

    @torch.no_grad()
    def _true_logits(self, row: poems_as_text.Row) -> Float[Tensor, "token entry"]:
        """The logits for every token of an answer, the true ones before it given."""
        ids = torch.tensor([row.question + row.answer], device=self.pupil.device)
        logits = self.pupil(ids).logits[0, len(row.question) - 1 : -1]
        return logits.float().cpu()

    @torch.no_grad()
    def resets(self, report: Callable[[str], None] | None = None) -> list[Found]:
        """One block at a time gets the weights back that it came with: poems still recited (by
        first choices), and over how many poems the damage is spread, (Σ d)² / Σ d² of the losses d
        of ln p; a gain counts as 0."""
        before = poems_as_text.read(self.pupil, self.tokenizer, self.taught)
        blocks = list(zip(_blocks(self.pupil), _blocks(self.start), strict=True))
        found = []
        for number, (block, came) in enumerate(blocks):
            learnt = {name: value.clone() for name, value in block.state_dict().items()}
            block.load_state_dict(came.state_dict())
            after = poems_as_text.read(self.pupil, self.tokenizer, self.taught)
            block.load_state_dict(learnt)
            found.append(_harm(before, after))
            if report:
                report(f"block {number + 1} of {len(blocks)} as it came")
        return found


def _blocks(model: Any) -> Sequence[torch.nn.Module]:
    """The blocks of a stock language model: its longest list of modules."""
    lists = [list(part) for part in model.modules() if isinstance(part, torch.nn.ModuleList)]
    if not lists:
        raise ValueError(f"expected a model made of blocks, got {type(model).__name__}")
    return max(lists, key=len)


def _harm(before: poems_as_text.Reading, after: poems_as_text.Reading) -> Found:
    harm = (after.nll - before.nll).clamp(min=0)
    recited = after.right == after.tokens
    squares = float((harm**2).sum())
    return {
        "recited": float(recited.double().mean()),
        "bits lost": float(harm.mean()) / math.log(2),
        "sharers": float(harm.sum()) ** 2 / squares if squares else float(len(harm)),
    }


def _tail(
    seen: Sequence[Tensor],
    told: Sequence[tuple[Tensor, Tensor]],
    heat: float,
) -> float:
    """The χ² tail of all counts together, against a sampler at temperature `heat` with the logits
    of each answer's tokens; NaN where the answers leave nothing open."""
    statistic = 0.0
    degrees = 0
    for counts, (logits, answer) in zip(seen, told, strict=True):
        log_p = instruments.sampler(logits, heat).gather(1, answer[:, None])[:, 0]
        expected = instruments.beginnings(log_p)
        try:
            x, free = instruments.chi_square(counts, expected)
        except ValueError:  # this answer is as good as certain
            continue
        statistic += x
        degrees += free
    return instruments.chi_square_tail(statistic, degrees) if degrees else math.nan
