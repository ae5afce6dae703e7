"""The examination of a memory decoder on sentences that no training saw."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from memlab import evaluation, runtime, weights
from memlab.corpora import needles, ruler, text, tokenization
from memlab.decoder import MemoryDecoder, reading
from memlab.memories import KeyValue, KeyValueState

CUE = 6  # tokens with which a sentence is asked for
# Values that a fact may tell, by name: their kind, and their digits if they are numbers.
VALUES = {
    "words": ("word", 7),
    "5 digits": ("number", 5),
    "12 digits": ("number", 12),
}


def exam(
    model: MemoryDecoder,
    *,
    split: str = "test",
    count: int = 200,
    stored: int = 2000,
    seed: int = 0,
) -> Iterator[tuple[str, list[float]]]:
    """Named outcomes (0 or 1) and scores on sentences that no training saw: address by 6 tokens,
    write out, forget, edit, read two rows at once."""
    tokenizer = weights.tokenizer()
    memory = KeyValue()
    rng = runtime.python_random(seed, "exam", split)
    lines = rng.sample(text.documentation(split), stored)
    segments = _segments(lines, model.config.segment_tokens)
    state = reading.memorise(model, segments)
    asked = rng.sample(range(len(segments)), count)
    cues = [segments[row][:CUE] for row in asked]
    queries = reading.query_keys(model, cues)
    scores, rows = memory.address(state, queries)
    # Two sentences may begin with the same tokens: then either row is a right answer to the cue.
    begun = [segments[row][:CUE] for row in rows[:, 0].tolist()]
    yield "address", [float(one == cue) for one, cue in zip(begun, cues, strict=True)]
    no_cues = [()] * count
    said = reading.write_out(model, state.values[asked], no_cues, tokenizer)
    wanted = [str(tokenizer.decode(list(segments[row]))) for row in asked]
    yield "written out", list(map(evaluation.exact, said, wanted))
    gone = memory.forget(state, torch.tensor(asked))
    left, others = memory.address(gone, queries)
    yield "score, stored", scores[:, 0].tolist()
    yield "score, forgotten", left[:, 0].tolist()
    fits = reading.recognise(model, memory.take(state, rows), cues)
    yield "fit, stored", fits[:, 0].tolist()
    fits = reading.recognise(model, memory.take(gone, others), cues)
    yield "fit, forgotten", fits[:, 0].tolist()
    yield from facts(model, count // 4, split, seed)
    yield from _edits(model, gone, count // 4, split, seed)


def _segments(lines: list[str], limit: int) -> list[tuple[int, ...]]:
    """Lines of documentation as segments of 10 to `limit` tokens."""
    encode = tokenization.encoder(weights.tokenizer())
    sentences = encode([" " + line for line in lines])
    cut = needles.cut(sentences, limit, encode.inside)
    return [segment for segment in cut if len(segment) >= 10]


def facts(
    model: MemoryDecoder,
    count: int = 50,
    split: str = "test",
    seed: int = 0,
) -> Iterator[tuple[str, list[float]]]:
    """Named outcomes on facts whose wordings and values no training saw, two of one key each time:
    is the value there when the decoder reads one row, are both when it reads both at once?"""
    encode = tokenization.encoder(weights.tokenizer())
    no_cues = [()] * count
    for name, (kind, digits) in VALUES.items():
        task = ruler.Task("multi-value", kind, digits, count=2)
        made = []
        for number in range(count):
            puzzle_seed = runtime.derive_seed(seed, number, name)
            made.append(ruler.puzzle(task, puzzle_seed, split=split))
        sentences = [" " + fact for one in made for (fact,) in one.chains]
        latents, _ = reading.encode(model, encode(sentences))
        pairs = latents.unflatten(0, (count, 2))
        said = reading.write_out(model, pairs[:, 0], no_cues, weights.tokenizer())
        first = [one.answers[:1] for one in made]
        yield f"value of {name}", list(map(evaluation.value_recall, said, first))
        said = reading.write_out(model, pairs, no_cues, weights.tokenizer())
        both = [one.answers for one in made]
        shares = map(evaluation.value_recall, said, both)
        yield f"both values of {name}", [float(share == 1) for share in shares]


def _edits(
    model: MemoryDecoder,
    state: KeyValueState,
    count: int,
    split: str,
    seed: int,
) -> Iterator[tuple[str, list[float]]]:
    """Write a passkey, forget it, write another: is the new one answered, and the old one gone?"""
    encode = tokenization.encoder(weights.tokenizer())
    memory = KeyValue()
    old = []
    new = []
    for number in range(count):
        first_seed = runtime.derive_seed(seed, "old", number)
        second_seed = runtime.derive_seed(seed, "new", number)
        first = needles.passkey(first_seed, split=split)
        second = needles.passkey(second_seed, split=split)
        texts = (first.sentences[0], second.sentences[0], first.cue)
        *facts, cue = encode([" " + one for one in texts])
        latents, keys = reading.encode(model, facts)
        query = reading.query_keys(model, [cue])
        held = memory.write(state, keys[:1], latents[:1])
        _, found = memory.address(held, query)
        without = memory.forget(held, found[0])
        edited = memory.write(without, keys[1:], latents[1:])
        read = memory.read(edited, query)
        (said,) = reading.write_out(model, read, [cue], weights.tokenizer())
        new.append(float(evaluation.contains_number(said, second.answer)))
        old.append(float(evaluation.contains_number(said, first.answer)))
    yield "edit, new answer", new
    yield "edit, old answer", old
