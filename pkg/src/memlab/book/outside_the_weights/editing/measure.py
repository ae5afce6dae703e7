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

NAME = "editing"
LAST = 50  # edits before a stop that are probed
WAYS = ("replace", "reworded", "add", "nothing")
Asked = tuple[str, tuple[tuple[str, object], ...]]  # kind of probe, when and how it was asked
ERASING = ("replace", "reworded")  # ways that forget the row found


def edit(
    memory: TextMemory,
    state: KeyValueState,
    one: Edit,
    way: str = "replace",
) -> KeyValueState:
    """The state after an edit: "replace" forgets the row that the stem finds and writes the new
    sentence; "reworded" does so with a sentence in other words than the one that is stored.
    Controls: "add" forgets nothing, "nothing" does nothing. ValueError for another way."""
    if way not in WAYS:
        raise ValueError(f"expected one of {', '.join(WAYS)}, got {way!r}")
    if way == "nothing":
        return state
    if way in ERASING:
        state = memory.forget(state, found(memory, state, one, way))
    return memory.write(state, [f"{_stem(one, way)} {one.new}."])


def _stem(one: Edit, way: str) -> str:
    return one.paraphrases[0] if way == "reworded" else one.stem


def found(
    memory: TextMemory,
    state: KeyValueState,
    one: Edit,
    way: str = "replace",
) -> Int[Tensor, " row"]:
    """The row that an edit would forget, one number."""
    _, rows = memory.address(state, [_stem(one, way)])
    return rows[:, 0]


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
        prompts = [probe.prompt for probe in probes]
        _, rows = self.memory.address(state, prompts)
        self.latents += self.memory.rule.take(state, rows[:, 0])
        self.asked += [(meta, probe) for probe in probes]

    def records(self, model: str, seed: int) -> Iterator[Record]:
        """For each kind of probe, and all that `meta` says, the share of right answers: the text
        holds the value."""
        found = torch.stack(self.latents)
        latents, which = found.unique(dim=0, return_inverse=True)
        rule = self.memory.rule
        state = rule.empty(1, latents.shape[1])
        state = rule.write(state, torch.ones(len(latents), 1), latents)
        said = self.memory.say(state, torch.arange(len(latents)))
        hits: dict[Asked, list[bool]] = {}
        for place, (meta, probe) in zip(which.tolist(), self.asked, strict=True):
            right = evaluation.contains_value(said[place], probe.answer)
            key = probe.kind, tuple(meta.items())
            hits.setdefault(key, []).append(right)
        for (kind, asked), answered in hits.items():
            meta = {**dict(asked), "n": len(answered)}
            share = sum(answered) / len(answered)
            yield Record(NAME, model, kind, "right", share, seed, meta=meta)


def filled(memory: TextMemory, edits: Sequence[Edit]) -> KeyValueState:
    """A memory that holds every sentence that is true before the first edit."""
    world = corpus.world(edits)
    return memory.write(memory.empty(len(world) + len(edits)), world)


def single(
    memory: TextMemory,
    edits: Sequence[Edit],
    name: str,
    seed: int,
) -> Iterator[Record]:
    """Every edit made alone, in each way, in a memory in which all others are still to come."""
    state = filled(memory, edits)
    answers = Answers(memory)
    for number, one in enumerate(edits):
        probes = corpus.probes(edits, number + 1, retained=0)
        for way in WAYS:
            edited = edit(memory, state, one, way)
            answers.ask(edited, probes, mode="single", way=way, after=1)
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
    state = filled(memory, edits)
    answers = Answers(memory)
    wrong = 0
    # the stem behind each row
    about = [sentence.rpartition(" ")[0] for sentence in corpus.world(edits)]
    for number, one in enumerate(edits, 1):
        if way in ERASING:
            row = int(found(memory, state, one, way))
            wrong += about.pop(row) != one.stem
        state = edit(memory, state, one, way)
        about.append(one.stem)
        near = [stop for stop in sorted(stops) if stop - LAST < number <= stop]
        if near:
            earlier = retained if number in stops else 0
            probes = corpus.probes(edits, number, retained=earlier, seed=seed)
            answers.ask(state, probes, mode="sequence", way=way, after=near[0])
    yield from answers.records(name, seed)
    if way in ERASING:
        meta = {
            "mode": "sequence",
            "way": way,
            "n": len(edits),
        }
        yield Record(NAME, name, "row", "wrong row", wrong / len(edits), seed, meta=meta)


def forgotten(
    memory: TextMemory,
    edits: Sequence[Edit],
    name: str,
    seed: int,
    count: int,
) -> Iterator[Record]:
    """`count` facts forgotten by their stems, together: is an erased sentence still said, are the
    others as before, is the state the same to the last bit as one in which they were never written,
    and does the score tell?"""
    truth = {one.stem: one for one in reversed(edits)}
    stems = list(dict.fromkeys(one.stem for one in edits))
    rng = runtime.python_random(seed, "forgotten")
    drawn = rng.sample(range(len(stems)), count)
    gone = [truth[stems[number]] for number in sorted(drawn)]
    erased = [one.stem for one in gone]
    state = filled(memory, edits)
    before, rows = memory.address(state, erased)
    nearest = rows[:, 0]
    left = memory.forget(state, nearest.unique())
    after, _ = memory.address(left, erased)
    told = detector(before[:, 0].double(), after[:, 0].double())
    world = corpus.world(edits)
    places = [world.index(f"{one.stem} {one.old}.") for one in gone]
    others = [neighbour for one in gone for neighbour in one.neighbours]
    values = {
        "said before": (_said(memory, state, gone), count),
        "still said": (_said(memory, left, gone), count),
        "others right": (_right(memory, left, others), len(others)),
        "bytes as never written": (float(_as_without(left, state, places)), 1),
        "auc": (told["auc"], 2 * count),
    }
    for metric, (value, asked) in values.items():
        yield Record(NAME, name, "forgotten", metric, value, seed, meta={"n": asked})


def _said(
    memory: TextMemory,
    state: KeyValueState,
    gone: Sequence[Edit],
) -> float:
    """The share of facts that the memory tells: the old value, about the right subject."""
    texts = memory.answer(state, [one.stem for one in gone])
    hits = 0
    for text, one in zip(texts, gone, strict=True):
        told = evaluation.contains_value(text, one.old)
        hits += told and evaluation.contains_value(text, one.subject)
    return hits / len(gone)


def _right(
    memory: TextMemory,
    state: KeyValueState,
    asked: Sequence[tuple[str, str]],
) -> float:
    """The share of (prompt, value) for which the memory's answer holds the value."""
    texts = memory.answer(state, [prompt for prompt, _ in asked])
    values = [value for _, value in asked]
    hits = list(map(evaluation.contains_value, texts, values))
    return sum(hits) / len(hits)


def _as_without(
    left: KeyValueState,
    state: KeyValueState,
    places: Sequence[int],
) -> bool:
    """Whether one state is, to the last bit, the other without the rows at `places`."""
    stay = torch.ones(len(state), dtype=torch.bool)
    stay[list(places)] = False
    keys_same = torch.equal(left.keys, state.keys[stay])
    return keys_same and torch.equal(left.values, state.values[stay])
