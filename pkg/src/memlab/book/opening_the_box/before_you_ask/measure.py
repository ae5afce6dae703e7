"""What chapter 7 measures: one box under all instruments, what asking does to it, and crowds read
by their weights."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

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

TRIES = (
    (100, 1.0),
    (10_000, 1.0),
    (10_000, 0.5),
)  # how often one may ask, and at which temperature
Found = dict[str, float]


class Watch:
    """The box of one seed, and all that its observers bring: line-ups, and slopes at its own start
    and at another."""

    def __init__(self, seed: int, count: int = 128, words: int = 16, dim: int = 32) -> None:
        self.poems, fresh = (
            corpus.synthetic(count, words, seed=seed, fresh=new) for new in (False, True)
        )
        self.seed, self.sets = seed, instruments.lineups(self.poems, fresh, seed)
        starts = [stock.for_poems("gpt2", self.poems, dim=dim, seed=s) for s in (seed, seed + 1000)]
        self.box, self.titles = starts[0], torch.cat([self.poems.keys, fresh.keys])
        self.starts = {
            "own start": weight_probes.flat(starts[0]),
            "other start": weight_probes.flat(starts[1]),
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
        return weight_probes.displacement(
            self.slopes[start, id(poems)], weight_probes.flat(self.box) - self.starts[start]
        )

    def look(self) -> Found:
        """One reading of every instrument."""
        return {**self._answers(), **self._activations(), **self._lineups()}

    def _answers(self) -> Found:
        logits, bodies, words = (
            instruments.answers(self.box, self.poems),
            self.poems.bodies,
            self.poems.vocabulary,
        )
        recited = (evaluation.recite(self.box, self.poems.keys, bodies.shape[1]) == bodies).all(1)
        right, log_p = logits.argmax(-1) == bodies, instruments.word_chances(logits, self.poems)
        found = {
            "recited": float(recited.double().mean()),
            "agrees": float(recited.equal(right.all(1))),
            "words": float(right.double().mean()),
            "bits": evaluation.stored_bits(-log_p, words) / self.poems.bits,
        }
        for tries, heat in TRIES:
            log_p = instruments.word_chances(logits, self.poems, heat).sum(1)
            found[f"{tries} tries at {heat}"] = float(
                (instruments.within(log_p, tries) >= 0.5).double().mean()
            )
        return found

    def _activations(self) -> Found:
        state, table = (
            instruments.states(self.box, self.titles),
            self.box.get_input_embeddings().weight.detach().cpu(),
        )
        known = (torch.arange(len(self.titles)) < len(self.poems))[:, None]
        places = instruments.word_auc(
            state[: len(self.poems)], self.poems.bodies, table[: self.poems.vocabulary]
        )
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
        return {
            f"{who}: {what}": value
            for who, score in scores.items()
            for what, value in instruments.membership(score, self.sets).items()
        }

    # ---- when it has learnt ----------------------------------------------------------------------

    def asking(self) -> Found:
        """Whether asking again, backwards, or one question at a time changes an answer or the
        weights."""
        old, keys, words = (
            evaluation.fingerprint(self.box),
            self.poems.keys,
            self.poems.bodies.shape[1],
        )
        first = evaluation.recite(self.box, keys, words)
        others = {
            "again": evaluation.recite(self.box, keys, words),
            "backwards": evaluation.recite(self.box, keys.flip(0), words).flip(0),
            "one at a time": torch.cat(
                [evaluation.recite(self.box, key, words) for key in keys[:8].split(1)]
            ),
        }
        return {
            **{name: float(said.equal(first[: len(said)])) for name, said in others.items()},
            "same weights": float(old == evaluation.fingerprint(self.box)),
        }

    def strangers(self, keys: int = 1024) -> Found:
        """The share of the poems that come out when titles are asked for that were drawn blindly
        and never learnt."""
        draw, authors = runtime.generator(self.seed, "bench", "strangers"), self.poems.authors
        asked = torch.randint(
            self.poems.vocabulary, (keys, self.poems.keys.shape[1]), generator=draw
        )
        asked[:, 0] = self.poems.vocabulary + torch.randint(authors, (keys,), generator=draw)
        learnt = (asked[:, None] == self.poems.keys).all(2).any(1)
        said = {
            tuple(row)
            for row in evaluation.recite(
                self.box, asked[~learnt], self.poems.bodies.shape[1]
            ).tolist()
        }
        return {
            "found blindly": len(said & {tuple(body) for body in self.poems.bodies.tolist()})
            / len(self.poems)
        }

    def dice(
        self, poems: int = 8, draws: int = 400, temperature: float = 1.5, rounds: int = 16
    ) -> Found:
        """Drawn answers against the closed form, before and after the fact.

        χ² of how many words are right from the start, for some poems, against the chances read off
        beforehand; the same with the chances of a sampler that is a tenth hotter; and drawn
        recitals of all poems, as a z-score.
        """
        draw, words = runtime.generator(self.seed, "bench", "dice"), self.poems.bodies.shape[1]
        said = instruments.draw_answers(
            self.box, self.poems.keys[:poems].repeat_interleave(draws, 0), words, draw, temperature
        ).view(poems, draws, words)
        right = (said == self.poems.bodies[:poems, None]).long().cumprod(2).sum(2)
        logits, counts = (
            instruments.answers(self.box, self.poems),
            [row.bincount(minlength=words + 1) for row in right],
        )
        tails = []
        for heat in (temperature, 1.1 * temperature):
            chances = map(
                instruments.beginnings, instruments.word_chances(logits, self.poems, heat)[:poems]
            )
            fits = [
                instruments.chi_square(seen, p) for seen, p in zip(counts, chances, strict=True)
            ]
            tails.append(
                instruments.chi_square_tail(
                    sum(x for x, _ in fits), sum(degrees for _, degrees in fits)
                )
            )
        p, again = (
            instruments.word_chances(logits, self.poems).sum(1).exp(),
            self.poems.keys.repeat(rounds, 1),
        )
        drawn = instruments.draw_answers(self.box, again, words, draw).view(
            rounds, *self.poems.bodies.shape
        )
        hits = (drawn == self.poems.bodies).all(2).double()
        return {
            "chi2 tail": tails[0],
            "chi2 tail, hotter": tails[1],
            "recitals drawn": float(hits.mean()),
            "recitals expected": float(p.mean()),
            "z": float((hits.sum() - rounds * p.sum()) / (rounds * p * (1 - p)).sum().sqrt()),
        }

    @torch.no_grad()
    def lesions(self, units: int = 32) -> list[Found]:
        """One hidden unit at a time silenced: poems still recited, and how many poems share the
        damage.

        The number of sharers is (Σ d)² / Σ d² over the poems' losses d of ln p (a gain counts as
        0): 1 if a single poem is hit, the number of poems if all are hit alike.
        """
        draw, found = runtime.generator(self.seed, "bench", "lesions"), []
        exits = [block.mlp.c_proj.weight for block in self.box.transformer.h]
        before = evaluation.read(self.box, self.poems).surprise
        for place in torch.randperm(sum(len(way) for way in exits), generator=draw)[
            :units
        ].tolist():
            with interventions.without(exits[place // len(exits[0])], place % len(exits[0])):
                after = evaluation.read(self.box, self.poems)
            harm = (after.surprise - before).clamp(min=0)
            found.append(
                {
                    "recited": after.memory_ability,
                    "sharers": float(harm.sum() ** 2 / (harm**2).sum()),
                }
            )
        return found


def crowd(
    seed: int, boxes: int, same: bool, poems: int = 24, words: int = 6, dim: int = 8
) -> Crowd:
    """Boxes of some thousand weights, each to learn half of 24 poems, from one start or each from
    its own."""
    pool = corpus.synthetic(
        poems, words, 16, authors=4, seed=runtime.derive_seed(seed, "bench", "crowd")
    )
    return weight_probes.crowd(
        pool,
        lambda box: stock.for_poems(
            "gpt2", pool, dim=dim, layers=1, seed=runtime.derive_seed(seed, "bench", box)
        ),
        boxes,
        same=same,
        seed=seed,
    )


def crowd_look(
    crowd: Crowd, slopes: Float[Tensor, "box poem weight"], weights: Float[Tensor, "box weight"]
) -> Found:
    """A crowd asked, its weights read by a ridge probe (and by one fitted to shuffled labels), and
    by displacement."""
    reading, learnt = crowd.read(weights), crowd.member
    recited = reading.recited.view(learnt.shape)
    scores = {
        "loss": -reading.surprise.view(learnt.shape),
        "own start": weight_probes.displacement(slopes, weights - crowd.start),
        "other start": weight_probes.displacement(
            slopes.roll(1, 0), weights - crowd.start.roll(1, 0)
        ),
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
    trace = data[data.task == "trace"]
    quiet = (trace.metric == "recited") & (
        trace.value <= trace.model.map({"box": 0.0}).fillna(0.01)
    )
    columns = {}
    for name, rows in (("silent", trace[quiet]), ("end", trace)):
        last = rows.groupby(["model", "seed"]).step.max().rename("step").reset_index()
        columns[name] = (
            trace.merge(last, on=["model", "seed", "step"])
            .set_index(["model", "metric", "seed"])
            .value
        )
    once = data[~data.task.isin(["trace", "lesion"])].set_index(["model", "metric", "seed"]).value
    return pd.concat([pd.DataFrame(columns), once.to_frame("end")]).sort_index()
