"""The examination of a memory decoder on sentences that no training saw."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from memlab import evaluation, runtime, weights
from memlab.corpora import needles, ruler, text, tokenization
from memlab.decoder import MemoryDecoder, reading
from memlab.memories import KeyValue


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
    encode, memory = tokenization.encoder(weights.tokenizer()), KeyValue()
    rng = runtime.python_random(seed, "exam", split)
    lines = rng.sample(text.documentation(split), stored)
    segments = [
        s
        for s in needles.cut(encode([" " + line for line in lines]), model.config.segment_tokens)
        if len(s) >= 10
    ]
    state = reading.memorise(model, segments)
    asked = rng.sample(range(len(segments)), count)
    cues, wanted = (
        [segments[i][:6] for i in asked],
        [str(weights.tokenizer().decode(list(segments[i]))) for i in asked],
    )
    scores, rows = memory.address(state, reading.query_keys(model, cues))
    # Two sentences may begin with the same six tokens: then either row is a right answer to the
    # cue.
    yield (
        "address",
        [float(segments[int(r)][:6] == c) for r, c in zip(rows[:, 0], cues, strict=True)],
    )
    whole = reading.write_out(model, state.values[asked], [()] * count, weights.tokenizer())
    yield "written out", [evaluation.exact(a, b) for a, b in zip(whole, wanted, strict=True)]
    gone = memory.forget(state, torch.tensor(asked))
    left, others = memory.address(gone, reading.query_keys(model, cues))
    yield "score, stored", scores[:, 0].tolist()
    yield "score, forgotten", left[:, 0].tolist()
    yield "fit, stored", reading.recognise(model, memory.take(state, rows), cues)[:, 0].tolist()
    yield "fit, forgotten", reading.recognise(model, memory.take(gone, others), cues)[:, 0].tolist()
    yield from facts(model, count // 4, split, seed)
    yield from _edits(model, gone, encode, memory, count // 4, split, seed)


def facts(
    model: MemoryDecoder,
    count: int = 50,
    split: str = "test",
    seed: int = 0,
) -> Iterator[tuple[str, list[float]]]:
    """Named outcomes on facts whose wordings and values no training saw, two of one key each time:
    is the value there when the decoder reads one row, are both when it reads both at once?"""
    encode = tokenization.encoder(weights.tokenizer())
    for name, kind, digits in (
        ("words", "word", 7),
        ("5 digits", "number", 5),
        ("12 digits", "number", 12),
    ):
        made = [
            ruler.puzzle(
                ruler.Task("multi-value", kind, digits, count=2),
                runtime.derive_seed(seed, i, name),
                split=split,
            )
            for i in range(count)
        ]
        latents, _ = reading.encode(
            model, encode([" " + fact for one in made for (fact,) in one.chains])
        )
        pairs, nothing = latents.unflatten(0, (count, 2)), [()] * count
        said = reading.write_out(model, pairs[:, 0], nothing, weights.tokenizer())
        yield (
            f"value of {name}",
            [
                evaluation.value_recall(a, one.answers[:1])
                for a, one in zip(said, made, strict=True)
            ],
        )
        said = reading.write_out(model, pairs, nothing, weights.tokenizer())
        both = [
            evaluation.value_recall(a, one.answers) == 1 for a, one in zip(said, made, strict=True)
        ]
        yield f"both values of {name}", [float(right) for right in both]


def _edits(
    model: MemoryDecoder,
    state: object,
    encode: needles.Encode,
    memory: KeyValue,
    count: int,
    split: str,
    seed: int,
) -> Iterator[tuple[str, list[float]]]:
    """Write a passkey, forget it, write another: is the new one answered, and the old one gone?"""
    old, new = [], []
    for number in range(count):
        first, second = (
            needles.passkey(runtime.derive_seed(seed, n, number), split=split)
            for n in ("old", "new")
        )
        *facts, cue = encode([" " + first.sentences[0], " " + second.sentences[0], " " + first.cue])
        latents, keys = reading.encode(model, facts)
        query = reading.query_keys(model, [cue])
        held = memory.write(state, keys[:1], latents[:1])  # type: ignore[arg-type]
        edited = memory.write(
            memory.forget(held, memory.address(held, query)[1][0]), keys[1:], latents[1:]
        )
        said = reading.write_out(model, memory.read(edited, query), [cue], weights.tokenizer())[0]
        new.append(float(evaluation.contains_number(said, second.answer)))
        old.append(float(evaluation.contains_number(said, first.answer)))
    yield "edit, new answer", new
    yield "edit, old answer", old
