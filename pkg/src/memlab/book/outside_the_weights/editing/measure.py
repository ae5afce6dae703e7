"""Section 10c's measurements: a world of facts in a decoder's memory, edited one fact at a time,
and forgotten.

    # find the row of the old sentence, forget it, write the new one
    edited = edit(memory, state, one, "replace")

Nothing tells the memory which row holds the old sentence: an edit comes as a sentence, and its stem
has to find it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from memlab import evaluation, runtime
from memlab.corpora import edits as corpus
from memlab.corpora.edits import Edit, Probe
from memlab.decoder import TextMemory
from memlab.evaluation import detector
from memlab.memories import KeyValueState
from memlab.results import Record

NAME, LAST = "editing", 50
WAYS = ("replace", "reworded", "add", "nothing")


def edit(
    memory: TextMemory, state: KeyValueState, one: Edit, way: str = "replace"
) -> KeyValueState:
    """The state after an edit: "replace" forgets the row that the stem finds and writes the new
    sentence; "reworded" does so with a sentence in other words than the one that is stored.
    Controls: "add" forgets nothing, "nothing" does nothing. ValueError for another way."""
    if way not in WAYS:
        raise ValueError(f"expected one of {', '.join(WAYS)}, got {way!r}")
    if way == "nothing":
        return state
    stem = one.paraphrases[0] if way == "reworded" else one.stem
    if way != "add":
        state = memory.forget(state, found(memory, state, one, way))
    return memory.write(state, [f"{stem} {one.new}."])


def found(
    memory: TextMemory, state: KeyValueState, one: Edit, way: str = "replace"
) -> Int[Tensor, " row"]:
    """The row that an edit would forget, one number."""
    return memory.address(state, [one.paraphrases[0] if way == "reworded" else one.stem])[1][:, 0]


class Answers:
    """Probes put to states as they come, and answered together: a row is read by the decoder once,
    however often it is found."""

    def __init__(self, memory: TextMemory) -> None:
        self.memory = memory
        self.latents: list[Tensor] = []
        self.asked: list[tuple[dict[str, object], Probe]] = []

    def ask(self, state: KeyValueState, probes: Sequence[Probe], **meta: object) -> None:
        """Find the row of each probe in a state and keep its latent; `meta` says when and how it
        was asked."""
        rows = self.memory.address(state, [probe.prompt for probe in probes])[1][:, 0]
        self.latents += self.memory.rule.take(state, rows)
        self.asked += [(meta, probe) for probe in probes]

    def records(self, model: str, seed: int) -> Iterator[Record]:
        """For each kind of probe, and all that `meta` says, the share of right answers: the text
        holds the value."""
        latents, which = torch.stack(self.latents).unique(dim=0, return_inverse=True)
        rule, width = self.memory.rule, latents.shape[1]
        state = rule.write(rule.empty(1, width), torch.ones(len(latents), 1), latents)
        said = self.memory.say(state, torch.arange(len(latents)))
        hits: dict[tuple[str, tuple[tuple[str, object], ...]], list[bool]] = {}
        for place, (meta, probe) in zip(which.tolist(), self.asked, strict=True):
            key = probe.kind, tuple(meta.items())
            hits.setdefault(key, []).append(evaluation.contains_value(said[place], probe.answer))
        for (kind, asked), right in hits.items():
            meta = {**dict(asked), "n": len(right)}
            yield Record(NAME, model, kind, "right", sum(right) / len(right), seed, meta=meta)


def filled(memory: TextMemory, edits: Sequence[Edit]) -> KeyValueState:
    """A memory that holds every sentence that is true before the first edit."""
    world = corpus.world(edits)
    return memory.write(memory.empty(len(world) + len(edits)), world)


def single(memory: TextMemory, edits: Sequence[Edit], name: str, seed: int) -> Iterator[Record]:
    """Every edit made alone, in each way, in a memory in which all others are still to come."""
    state, answers = filled(memory, edits), Answers(memory)
    for number, one in enumerate(edits):
        probes = corpus.probes(edits, number + 1, retained=0)
        for way in WAYS:
            answers.ask(edit(memory, state, one, way), probes, mode="single", way=way, after=1)
    yield from answers.records(name, seed)


def sequence(
    memory: TextMemory,
    edits: Sequence[Edit],
    name: str,
    seed: int,
    *,
    stops: Sequence[int],
    retained: int = 200,
    way: str = "replace",
) -> Iterator[Record]:
    """All edits one after another in one memory. At each of `stops` the last `LAST` edits are
    probed, each when it was just done, and `retained` of the earlier ones that are still in force.
    "wrong row": the share of edits that erased the sentence of another subject."""
    state, answers, wrong = filled(memory, edits), Answers(memory), 0
    about = [
        sentence.rpartition(" ")[0] for sentence in corpus.world(edits)
    ]  # the stem behind each row
    for number, one in enumerate(edits, 1):
        if way in ("replace", "reworded"):
            wrong += about.pop(int(found(memory, state, one, way))) != one.stem
        state = edit(memory, state, one, way)
        about.append(one.stem)
        if near := [stop for stop in sorted(stops) if stop - LAST < number <= stop]:
            probes = corpus.probes(
                edits, number, retained=retained if number in stops else 0, seed=seed
            )
            answers.ask(state, probes, mode="sequence", way=way, after=near[0])
    yield from answers.records(name, seed)
    if way in ("replace", "reworded"):
        meta = {"mode": "sequence", "way": way, "n": len(edits)}
        yield Record(NAME, name, "row", "wrong row", wrong / len(edits), seed, meta=meta)


def forgotten(
    memory: TextMemory, edits: Sequence[Edit], name: str, seed: int, count: int
) -> Iterator[Record]:
    """`count` facts forgotten by their stems, together: is an erased sentence still said, are the
    others as before, is the state the same to the last bit as one in which they were never written,
    and does the score tell?"""
    subjects = list(dict.fromkeys(one.stem for one in edits))
    gone = sorted(runtime.python_random(seed, "forgotten").sample(range(len(subjects)), count))
    state, world = filled(memory, edits), corpus.world(edits)
    erased = [subjects[number] for number in gone]
    before, rows = memory.address(state, erased)
    left = memory.forget(state, rows[:, 0].unique())
    truth = {one.stem: one for one in reversed(edits)}
    said, values = (
        {"said before": memory.answer(state, erased), "still said": memory.answer(left, erased)},
        {},
    )
    for when, texts in said.items():
        hits = [
            evaluation.contains_value(text, truth[stem].old)
            and evaluation.contains_value(text, truth[stem].subject)
            for text, stem in zip(texts, erased, strict=True)
        ]
        values[when] = sum(hits) / count
    others = [(prompt, value) for stem in erased for prompt, value in truth[stem].neighbours]
    kept = [
        evaluation.contains_value(text, value)
        for text, (_, value) in zip(
            memory.answer(left, [prompt for prompt, _ in others]), others, strict=True
        )
    ]
    asked = torch.tensor([world.index(f"{stem} {truth[stem].old}.") for stem in erased])
    stay = torch.ones(len(world), dtype=torch.bool)
    stay[asked] = False
    same = torch.equal(left.keys, state.keys[stay]) and torch.equal(left.values, state.values[stay])
    after = memory.address(left, erased)[0][:, 0]
    tell = detector(before[:, 0].double(), after.double())["auc"]
    values |= {
        "others right": sum(kept) / len(kept),
        "bytes as never written": float(same),
        "auc": tell,
    }
    sizes = {"others right": len(kept), "bytes as never written": 1, "auc": 2 * count}
    for metric, value in values.items():
        yield Record(
            NAME, name, "forgotten", metric, value, seed, meta={"n": sizes.get(metric, count)}
        )
