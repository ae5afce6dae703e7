"""What chapter 7 measures: one box under all instruments, what asking does to it, and crowds read
by their weights."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from memlab import evaluation, runtime
from memlab.book.opening_the_box.before_you_ask import instruments, weight_probes
from memlab.book.opening_the_box.before_you_ask.weight_probes import Crowd
from memlab.corpora import poems as corpus
from memlab.corpora.poems import Poems
from memlab.models import interventions, stock

# how often one may ask, and at which temperature
TRIES = ((100, 1.0), (10_000, 1.0), (10_000, 0.5))
Found = dict[str, float]


class Watch:
    """The box of one seed, and all that its observers bring: line-ups, and slopes at its own start
    and at another."""

    def __init__(
        self,
        seed: int,
        count: int = 128,
        words: int = 16,
        dim: int = 32,
    ) -> None:
        self.seed = seed
        self.poems = corpus.synthetic(count, words, seed=seed)
        fresh = corpus.synthetic(count, words, seed=seed, fresh=True)
        self.titles = torch.cat([self.poems.keys, fresh.keys])
        self.sets = instruments.lineups(self.poems, fresh, seed)
        self.box = stock.for_poems("gpt2", self.poems, dim=dim, seed=seed)
        other = stock.for_poems("gpt2", self.poems, dim=dim, seed=seed + 1000)
        self.starts = {
            "own start": weight_probes.flat(self.box),
            "other start": weight_probes.flat(other),
        }
        asked = {id(poems): poems for pair in self.sets.values() for poems in pair}
        self.slopes = {
            (start, key): weight_probes.slopes(self.box, weights, poems)
            for start, weights in self.starts.items()
            for key, poems in asked.items()
        }

    def displaced(self, start: str, poems: Poems) -> Float[Tensor, " poem"]:
        """How far the box has moved down the slope of every poem, as an observer has it who
        believes in that start."""
        moved = weight_probes.flat(self.box) - self.starts[start]
        return weight_probes.displacement(self.slopes[start, id(poems)], moved)

    def look(self) -> Found:
        """One reading of every instrument."""
        return {
            **self._answers(),
            **self._activations(),
            **self._lineups(),
        }

    def _answers(self) -> Found:
        bodies = self.poems.bodies
        logits = instruments.answers(self.box, self.poems)
        said = evaluation.recite(self.box, self.poems.keys, bodies.shape[1])
        recited = (said == bodies).all(1)
        right = logits.argmax(-1) == bodies
        log_p = instruments.word_chances(logits, self.poems)
        stored = evaluation.stored_bits(-log_p, self.poems.vocabulary)
        found = {
            "recited": float(recited.double().mean()),
            "agrees": float(recited.equal(right.all(1))),
            "words": float(right.double().mean()),
            "bits": stored / self.poems.bits,
        }
        for tries, heat in TRIES:
            log_p = instruments.word_chances(logits, self.poems, heat).sum(1)
            likely = instruments.within(log_p, tries) >= 0.5
            found[f"{tries} tries at {heat}"] = float(likely.double().mean())
        return found

    def _activations(self) -> Found:
        count = len(self.poems)
        state = instruments.states(self.box, self.titles)
        table = self.box.get_input_embeddings().weight.detach().cpu()
        words = table[: self.poems.vocabulary]
        known = (torch.arange(len(self.titles)) < count)[:, None]
        places = instruments.word_auc(state[:count], self.poems.bodies, words)
        return {
            "known title": instruments.label_auc(state, known),
            "later words": float(places[2:].mean()),
            **{f"word {place}": float(score) for place, score in enumerate(places, 1)},
        }

    def _lineups(self) -> Found:
        scores: dict[str, Callable[[Poems], Tensor]] = {
            start: partial(self.displaced, start) for start in self.starts
        }
        scores["loss"] = lambda poems: -evaluation.read(self.box, poems).surprise
        found: Found = {}
        for who, score in scores.items():
            for what, value in instruments.membership(score, self.sets).items():
                found[f"{who}: {what}"] = value
        return found

    # ---- when it has learnt ----------------------------------------------------------------------

    def asking(self) -> Found:
        """Whether asking again, backwards, or one question at a time changes an answer or the
        weights."""
        keys = self.poems.keys
        ask = partial(evaluation.recite, self.box, words=self.poems.bodies.shape[1])
        old = evaluation.fingerprint(self.box)
        first = ask(keys)
        others = {
            "again": ask(keys),
            "backwards": ask(keys.flip(0)).flip(0),
            "one at a time": torch.cat([ask(key) for key in keys[:8].split(1)]),
        }
        return {
            **{name: float(said.equal(first[: len(said)])) for name, said in others.items()},
            "same weights": float(old == evaluation.fingerprint(self.box)),
        }

    def strangers(self, keys: int = 1024) -> Found:
        """The share of the poems that come out when titles are asked for that were drawn blindly
        and never learnt."""
        poems = self.poems
        draw = runtime.generator(self.seed, "bench", "strangers")
        asked = torch.randint(poems.vocabulary, (keys, poems.keys.shape[1]), generator=draw)
        authors = torch.randint(poems.authors, (keys,), generator=draw)
        asked[:, 0] = poems.vocabulary + authors
        learnt = (asked[:, None] == poems.keys).all(2).any(1)
        answers = evaluation.recite(self.box, asked[~learnt], poems.bodies.shape[1])
        said = {tuple(row) for row in answers.tolist()}
        bodies = {tuple(body) for body in poems.bodies.tolist()}
        return {"found blindly": len(said & bodies) / len(poems)}

    def dice(
        self,
        poems: int = 8,
        draws: int = 400,
        temperature: float = 1.5,
        rounds: int = 16,
    ) -> Found:
        """Drawn answers against the closed form, before and after the fact.

        χ² of how many words are right from the start, for some poems, against the chances read off
        beforehand; the same with the chances of a sampler that is a tenth hotter; and drawn
        recitals of all poems, as a z-score.
        """
        draw = runtime.generator(self.seed, "bench", "dice")
        counts = self._drawn_beginnings(poems, draws, temperature, draw)
        logits = instruments.answers(self.box, self.poems)
        tail, hotter = (
            self._tail(counts, logits, heat) for heat in (temperature, 1.1 * temperature)
        )
        p = instruments.word_chances(logits, self.poems).sum(1).exp()
        hits = self._drawn_recitals(rounds, draw)
        spread = (rounds * p * (1 - p)).sum().sqrt()
        return {
            "chi2 tail": tail,
            "chi2 tail, hotter": hotter,
            "recitals drawn": float(hits.mean()),
            "recitals expected": float(p.mean()),
            "z": float((hits.sum() - rounds * p.sum()) / spread),
        }

    def _drawn_beginnings(
        self,
        poems: int,
        draws: int,
        temperature: float,
        draw: torch.Generator,
    ) -> list[Tensor]:
        """For each of the first poems, how many of its drawn answers begin with 0, 1, … S right
        words."""
        bodies = self.poems.bodies[:poems]
        words = bodies.shape[1]
        keys = self.poems.keys[:poems].repeat_interleave(draws, 0)
        said = instruments.draw_answers(self.box, keys, words, draw, temperature)
        same = said.view(poems, draws, words) == bodies[:, None]
        right = same.long().cumprod(2).sum(2)
        return [row.bincount(minlength=words + 1) for row in right]

    def _tail(
        self,
        counts: list[Tensor],
        logits: Tensor,
        heat: float,
    ) -> float:
        """The χ² tail of all counts together, against a sampler at temperature `heat`."""
        log_p = instruments.word_chances(logits, self.poems, heat)[: len(counts)]
        statistic = 0.0
        degrees = 0
        for seen, row in zip(counts, log_p, strict=True):
            x, free = instruments.chi_square(seen, instruments.beginnings(row))
            statistic += x
            degrees += free
        return instruments.chi_square_tail(statistic, degrees)

    def _drawn_recitals(self, rounds: int, draw: torch.Generator) -> Float[Tensor, "round poem"]:
        """1 where a drawn answer is the whole poem."""
        bodies = self.poems.bodies
        again = self.poems.keys.repeat(rounds, 1)
        said = instruments.draw_answers(self.box, again, bodies.shape[1], draw)
        return (said.view(rounds, *bodies.shape) == bodies).all(2).double()

    @torch.no_grad()
    def lesions(self, units: int = 32) -> list[Found]:
        """One hidden unit at a time silenced: poems still recited, and how many poems share the
        damage.

        The number of sharers is (Σ d)² / Σ d² over the poems' losses d of ln p (a gain counts as
        0): 1 if a single poem is hit, the number of poems if all are hit alike.
        """
        draw = runtime.generator(self.seed, "bench", "lesions")
        exits = [block.mlp.c_proj.weight for block in self.box.transformer.h]
        width = len(exits[0])
        chosen = torch.randperm(sum(len(way) for way in exits), generator=draw)[:units]
        before = evaluation.read(self.box, self.poems).surprise
        found: list[Found] = []
        for place in chosen.tolist():
            with interventions.without(exits[place // width], place % width):
                after = evaluation.read(self.box, self.poems)
            harm = (after.surprise - before).clamp(min=0)
            sharers = harm.sum() ** 2 / (harm**2).sum()
            found.append({"recited": after.memory_ability, "sharers": float(sharers)})
        return found


def crowd(
    seed: int,
    boxes: int,
    same: bool,
    poems: int = 24,
    words: int = 6,
    dim: int = 8,
) -> Crowd:
    """Boxes of some thousand weights, each to learn half of 24 poems, from one start or each from
    its own."""
    drawn_from = runtime.derive_seed(seed, "bench", "crowd")
    pool = corpus.synthetic(poems, words, 16, authors=4, seed=drawn_from)

    def build(box: int) -> Any:
        own = runtime.derive_seed(seed, "bench", box)
        return stock.for_poems("gpt2", pool, dim=dim, layers=1, seed=own)

    return weight_probes.crowd(pool, build, boxes, same=same, seed=seed)


def crowd_look(
    crowd: Crowd,
    slopes: Float[Tensor, "box poem weight"],
    weights: Float[Tensor, "box weight"],
) -> Found:
    """A crowd asked, its weights read by a ridge probe (and by one fitted to shuffled labels), and
    by displacement."""
    reading = crowd.read(weights)
    learnt = crowd.member
    recited = reading.recited.view(learnt.shape)
    moved = weights - crowd.start
    moved_from_other = weights - crowd.start.roll(1, 0)
    scores = {
        "loss": -reading.surprise.view(learnt.shape),
        "own start": weight_probes.displacement(slopes, moved),
        "other start": weight_probes.displacement(slopes.roll(1, 0), moved_from_other),
    }
    return {
        "recited": float(recited[learnt].double().mean()),
        "not learnt": float(recited[~learnt].double().mean()),
        "probe": instruments.label_auc(weights.cpu(), learnt, folds=4),
        "shuffled": instruments.label_auc(weights.cpu(), learnt.roll(1, 0), folds=4),
        **{name: evaluation.auc(score[learnt], score[~learnt]) for name, score in scores.items()},
    }


def moments(data: pd.DataFrame) -> pd.DataFrame:
    """Every instrument at two moments, columns "silent" and "end"; index: model, metric, seed.

    Silent is the last look at which a box recites nothing (a crowd: at most 1 % of what it learnt).
    """
    index = ["model", "metric", "seed"]
    trace = data[data.task == "trace"]
    most = trace.model.map({"box": 0.0}).fillna(0.01)
    quiet = (trace.metric == "recited") & (trace.value <= most)
    columns = {}
    for name, rows in (("silent", trace[quiet]), ("end", trace)):
        last = rows.groupby(["model", "seed"]).step.max().rename("step").reset_index()
        looks = trace.merge(last, on=["model", "seed", "step"])
        columns[name] = looks.set_index(index).value
    once = data[~data.task.isin(["trace", "lesion"])].set_index(index).value
    return pd.concat([pd.DataFrame(columns), once.to_frame("end")]).sort_index()
