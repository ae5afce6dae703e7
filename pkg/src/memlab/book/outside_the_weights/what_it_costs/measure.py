"""Chapter 12's measurements: seconds and bytes of every stage, for every system, over the same real
text.

Each function returns numbers by name. Seconds are CPU seconds (`clock_and_laws.seconds`) unless the
name says wall; bytes are those that have to be kept to answer the next question. A stage is named
alike in all systems: `build` makes ready what questions are asked of, `ask` turns a question into a
query, `read` looks it up, `check` looks at the rows found again, `answer` writes `NEW` tokens out.
"""

from __future__ import annotations

import os
import resource
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from memlab import retrieval, runtime, weights
from memlab.book.outside_the_weights.what_it_costs import clock_and_laws
from memlab.corpora import needles, tokenization
from memlab.decoder import MemoryDecoder, reading
from memlab.memories import (
    KeyValue,
    KeyValueState,
    Larimar,
    LarimarState,
    PseudoInverse,
    PublishedLarimar,
    RowFolder,
)
from memlab.models import causal_baseline

DTYPES = {"float32": torch.float32, "float16": torch.float16, "int8": torch.int8}
NEW, CUE, MANY = 16, 8, 64  # tokens of an answer, of a question, and questions asked at a time
Costs = dict[str, Any]  # numbers


def text(model: MemoryDecoder, length: int, seed: int = 0) -> reading.Segments:
    """Segments of about `length` tokens of real documentation, as the model takes them."""
    encode = tokenization.encoder(weights.tokenizer())
    return needles.haystack(length, encode, limit=model.config.segment_tokens, seed=seed).segments


def state_of(
    keys: Tensor,
    values: Tensor,
    dtype: str = "float32",
    device: torch.device | str = "cpu",
) -> KeyValueState:
    """All pairs in one memory, keys and values in `dtype`."""
    memory, kind = KeyValue(), DTYPES[dtype]
    empty = memory.empty(
        keys.shape[1],
        values.shape[1],
        dtype=kind,
        key_dtype=kind,
        capacity=len(keys),
        device=device,
    )
    return memory.write(empty, keys, values)


def costs_of_reading(
    model: MemoryDecoder, segments: reading.Segments
) -> Iterator[tuple[str, Costs]]:
    """The memory decoder by system: what all share ("model"), rows of each kind ("float32",
    "int8"), the same in files ("files"), and a linear memory of fixed size ("linear"). The rows lie
    where the model does; files, on disk."""
    device, found = model.device, list[tuple[Tensor, Tensor]]()
    count = sum(map(len, segments))
    build = clock_and_laws.seconds(
        lambda: found.append(reading.encode(model, segments)), 1 if count > 50_000 else 2, device
    )
    latents, keys = found[-1]
    longest = max(range(len(segments)), key=lambda row: len(segments[row]))
    cue, one = [segments[longest][:CUE]], latents[longest : longest + 1]
    ask = clock_and_laws.seconds(lambda: reading.query_keys(model, cue), device=device)
    answer = clock_and_laws.seconds(lambda: answered(model, one), device=device)
    some = latents[: reading.CANDIDATES][None]
    check = clock_and_laws.seconds(lambda: reading.recognise(model, some, cue), device=device)
    yield (
        "model",
        {
            "build": build,
            "ask": ask,
            "check": check,
            "answer": answer,
            "rows": len(segments),
            "length": count,
        },
    )
    for dtype in ("float32", "int8"):
        yield dtype, stored(keys, latents, dtype, device)
    yield "files", filed(keys, latents)
    memory = PseudoInverse(1e-3)
    state = memory.write(memory.empty(keys.shape[1], latents.shape[1]), keys, latents)
    yield (
        "linear",
        {
            "write": clock_and_laws.seconds(
                lambda: memory.solve(
                    memory.write(memory.empty(keys.shape[1], latents.shape[1]), keys, latents)
                )
            ),
            "read": clock_and_laws.seconds(lambda: memory.read(state, keys[:1])),
            "bytes": state.nbytes,
        },
    )


def answered(model: MemoryDecoder, latents: Tensor) -> Tensor:
    """`NEW` tokens behind one read-out, whatever the decoder would rather say."""
    start = torch.full((len(latents), 1), tokenization.BOS, device=model.device)
    found: Tensor = model.generate(
        start,
        latents=latents.to(model.device),
        max_new_tokens=NEW,
        min_new_tokens=NEW,
        do_sample=False,
        pad_token_id=tokenization.EOS,
        eos_token_id=tokenization.EOS,
    )
    return found


def look_up(state: KeyValueState, queries: Tensor) -> Tensor:
    """The latents of the nearest keys, as many as the decoder looks at again: "qry read latent"."""
    memory = KeyValue(min(reading.CANDIDATES, len(state)))
    return memory.take(state, memory.address(state, queries)[1])


def stored(keys: Tensor, values: Tensor, dtype: str, device: torch.device | str = "cpu") -> Costs:
    """Rows in RAM (or on a GPU): writing all of them, and looking up one question or `MANY`."""
    state = state_of(keys, values, dtype, device)
    write = clock_and_laws.seconds(lambda: state_of(keys, values, dtype, device), device=device)
    read, many = (
        clock_and_laws.seconds(partial(look_up, state, keys[:n]), 5, device) for n in (1, MANY)
    )
    return {"write": write, "read": read, "read many": many / MANY, "bytes": state.nbytes}


def filed(keys: Tensor, values: Tensor, dtype: str = "int8", block: int = 16_384) -> Costs:
    """Rows in files: durable writing, a first look-up after the system was told to forget the
    files, later ones.

    `from disk` is how many bytes the first look-up had fetched: 0 means that they were not
    forgotten, and that the first look-up was no cold one (a file system in RAM, or a system without
    posix_fadvise)."""
    with tempfile.TemporaryDirectory() as place, runtime.Stopwatch() as watch:
        kind = DTYPES[dtype]
        with RowFolder.create(
            place, keys.shape[1], values.shape[1], dtype=kind, key_dtype=kind
        ) as folder:
            for some, same in zip(keys.split(block), values.split(block), strict=True):
                folder.write(some, same)
        write = watch.lap()
        forget(Path(place))
        state, before = RowFolder.read(place, check=False), _fetched()
        watch.lap()
        look_up(state, keys[:1])
        cold, fetched = watch.lap(), _fetched() - before
        read = clock_and_laws.seconds(lambda: look_up(state, keys[:1]), 5)
        return {
            "write wall": write,
            "cold wall": cold,
            "from disk": fetched,
            "read": read,
            "bytes": state.nbytes,
        }


def drawn(model: MemoryDecoder, length: int, seed: int = 0) -> Iterator[tuple[str, Costs]]:
    """Rows alone, drawn: as many as a text of `length` tokens has, of the model's widths, in RAM
    and in files."""
    some = text(model, 16_384, seed)
    count, config = round(length * len(some) / sum(map(len, some))), model.config
    rng = runtime.generator(seed, "drawn rows", length)
    keys = normalize(torch.randn(count, config.key_width, generator=rng), dim=1)
    values = torch.randn(count, config.latent_width, generator=rng)
    for dtype in ("float32", "int8"):
        yield dtype, stored(keys, values, dtype, model.device)
    yield "files", filed(keys, values)


def texts_of(segments: reading.Segments) -> list[str]:
    """The segments as text."""
    return weights.tokenizer().batch_decode([list(segment) for segment in segments])


def forget(folder: Path) -> None:
    """Tell the system that the files of a folder will not be needed: it then drops them from its
    cache. No rights are needed for that. The disk's own cache, and that of a machine around a
    virtual one, stay as they are."""
    for path in folder.iterdir():
        with open(path, "rb") as file:
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _fetched() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_inblock * 512


def words(texts: Sequence[str]) -> Costs:
    """BM25: the index of all segments, one search, and the bytes of index and of the text that it
    brings back."""
    index, asked = retrieval.BM25(texts), " ".join(texts[len(texts) // 2].split()[:CUE])
    return {
        "build": clock_and_laws.seconds(lambda: retrieval.BM25(texts), 2),
        "read": clock_and_laws.seconds(lambda: index.search([asked])),
        "bytes": index.nbytes + sum(len(one.encode()) for one in texts),
    }


def sentence_encoder(device: torch.device | str = "cpu") -> retrieval.SentenceEncoder | None:
    """The optional one (requirements-semantic.txt), None where it is not installed."""
    try:
        return retrieval.open_encoder(retrieval.installed_encoder(), device=str(device))
    except ModuleNotFoundError:
        return None


def meaning(encoder: Any, texts: Sequence[str]) -> Costs:
    """A pretrained sentence encoder and exact search: keys of all segments, one question, bytes of
    keys and text."""
    found: list[retrieval.Dense] = []
    build = clock_and_laws.seconds(lambda: found.append(retrieval.Dense(encoder, texts)), 1)
    asked = " ".join(texts[len(texts) // 2].split()[:CUE])
    return {
        "build": build,
        "read": clock_and_laws.seconds(lambda: found[0].search([asked])),
        "bytes": found[0].keys.nbytes + sum(len(one.encode()) for one in texts),
    }


@torch.no_grad()
def attending(model: Any, ids: Tensor) -> Costs:
    """A causal transformer: reading a context of n tokens into its cache (`build`), and then a
    question of `CUE` tokens with an answer of `NEW`, which attends over that cache."""
    count, kept = ids.shape[1], list[Any]()

    def build() -> None:
        kept[:] = [model(input_ids=ids, use_cache=True, logits_to_keep=1).past_key_values]

    def question() -> None:
        new = ids[:, :CUE]
        for _ in range(NEW):
            logits = model(
                input_ids=new, past_key_values=kept[0], use_cache=True, logits_to_keep=1
            ).logits
            new = logits[:, -1:].argmax(-1)
        kept[0].crop(-(CUE + NEW - 1))  # as it was before the question

    spent = clock_and_laws.seconds(build, 1 if count > 5000 else 2, model.device)
    held = sum(part.nbytes for layer in kept[0].layers for part in (layer.keys, layer.values))
    return {
        "build": spent,
        "answer": clock_and_laws.seconds(question, 2, model.device),
        "bytes": held,
    }


def attention(
    lengths: Sequence[int], device: torch.device | str = "cpu"
) -> Iterator[tuple[int, Costs]]:
    """`attending` for the causal baseline over the lengths; what it reads does not matter for what
    it costs."""
    model: Any = causal_baseline.load_causal().to(device)
    ids = torch.randint(5, 2000, (1, max(lengths)), generator=runtime.generator(0, "context")).to(
        device
    )
    for length in lengths:
        yield length, attending(model, ids[:, :length])


def shares(model: MemoryDecoder, length: int = 16_384) -> Iterator[tuple[str, Costs]]:
    """Each stage beside its roofline: `seconds` measured, `limit` from its arithmetic and its
    bytes, and both of these.

    Bytes: what has to pass once (weights and text of a pass, rows of a scan, rows read and written
    of a write)."""
    device, segments = model.device, text(model, length)
    found: list[tuple[Tensor, Tensor]] = []
    machine = clock_and_laws.limits(device)
    parameters = sum(p.nbytes for p in model.encoder.parameters())
    encode = clock_and_laws.seconds(
        lambda: found.append(reading.encode(model, segments)), 2, device
    )
    latents, keys = found[-1]
    many = normalize(
        torch.randn(100_000, keys.shape[1], generator=runtime.generator(0, "many")), dim=1
    )
    memory, state = KeyValue(), state_of(many, many, "float32", device)
    batch = -(-len(segments) // 256)
    yield (
        "encode",
        _share(
            machine,
            encode,
            clock_and_laws.flops(lambda: reading.encode(model, segments)),
            batch * parameters,
        ),
    )
    yield (
        "write",
        _share(
            machine,
            clock_and_laws.seconds(
                lambda: state_of(keys, latents, "float32", device), device=device
            ),
            0,
            2 * (keys.nbytes + latents.nbytes),
        ),
    )
    for name, asked in (("read one", many[:1]), ("read 64", many[:MANY])):
        yield (
            name,
            _share(
                machine,
                clock_and_laws.seconds(partial(memory.address, state, asked), 5, device),
                2 * len(asked) * many.numel(),
                many.nbytes,
            ),
        )
    longest = max(range(len(segments)), key=lambda row: len(segments[row]))

    answer = partial(answered, model, latents[longest : longest + 1])
    once = sum(p.nbytes for p in model.decoder.parameters())
    yield (
        "answer",
        _share(
            machine,
            clock_and_laws.seconds(answer, device=device),
            clock_and_laws.flops(answer),
            NEW * once,
        ),
    )


def _share(machine: clock_and_laws.Limits, spent: float, flops: int, moved: int) -> Costs:
    return {
        "seconds": spent,
        "limit": machine.seconds(flops, moved),
        "flops": flops,
        "moved": moved,
    }


def historic(
    count: int = 512, slots: int = 512, width: int = 768, scale: float = 1.0
) -> Iterator[tuple[str, Costs]]:
    """Larimar's memory solved ("exact") and by its 15 steps ("steps"): a write, a later read, the
    relative error of reading what was written. The solution keeps its inverse from the first read
    on; the iteration makes it anew."""
    draw = torch.randn(count, width, generator=runtime.generator(0, "patterns", count))
    z, start = scale * normalize(draw, dim=1), LarimarState(torch.eye(slots, width))
    memories: tuple[tuple[str, Any], ...] = (("exact", Larimar()), ("steps", PublishedLarimar()))
    for name, memory in memories:
        state = memory.write(start, z)
        error = float((memory.read(state, z) - z).norm(dim=1).mean() / z.norm(dim=1).mean())
        yield (
            name,
            {
                "write": clock_and_laws.seconds(partial(memory.write, start, z), 2),
                "read": clock_and_laws.seconds(partial(memory.read, state, z[:1]), 2),
                "error": error,
            },
        )
