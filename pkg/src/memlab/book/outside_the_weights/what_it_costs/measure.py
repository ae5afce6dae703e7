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
from memlab.book.outside_the_weights.what_it_costs.clock_and_laws import (
    Limits,
    flops,
    limits,
    seconds,
)
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

DTYPES = {
    "float32": torch.float32,
    "float16": torch.float16,
    "int8": torch.int8,
}
NEW = 16  # tokens of an answer
CUE = 8  # tokens of a question
MANY = 64  # questions asked at a time
Costs = dict[str, Any]  # numbers


def text(
    model: MemoryDecoder,
    length: int,
    seed: int = 0,
) -> reading.Segments:
    """Segments of about `length` tokens of real documentation, as the model takes them."""
    encode = tokenization.encoder(weights.tokenizer())
    limit = model.config.segment_tokens
    return needles.haystack(length, encode, limit=limit, seed=seed).segments


def state_of(
    keys: Tensor,
    values: Tensor,
    dtype: str = "float32",
    device: torch.device | str = "cpu",
) -> KeyValueState:
    """All pairs in one memory, keys and values in `dtype`."""
    memory = KeyValue()
    kind = DTYPES[dtype]
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
    count = sum(map(len, segments))
    build, latents, keys = _encoded(model, segments, 1 if count > 50_000 else 2)
    questions = _asked(model, segments, latents)
    yield (
        "model",
        {
            "build": build,
            **questions,
            "rows": len(segments),
            "length": count,
        },
    )
    for dtype in ("float32", "int8"):
        yield dtype, stored(keys, latents, dtype, model.device)
    yield "files", filed(keys, latents)
    yield "linear", solved(keys, latents)


def _encoded(
    model: MemoryDecoder,
    segments: reading.Segments,
    rounds: int,
) -> tuple[float, Tensor, Tensor]:
    """Seconds to encode, latents and keys."""
    found: list[tuple[Tensor, Tensor]] = []
    spent = seconds(lambda: found.append(reading.encode(model, segments)), rounds, model.device)
    latents, keys = found[-1]
    return spent, latents, keys


def _longest(segments: reading.Segments) -> int:
    """The row of the longest segment."""
    sizes = [len(segment) for segment in segments]
    return sizes.index(max(sizes))


def _asked(
    model: MemoryDecoder,
    segments: reading.Segments,
    latents: Tensor,
) -> Costs:
    """Seconds of a question about the longest segment, without the look-up."""
    device = model.device
    row = _longest(segments)
    cue = [segments[row][:CUE]]
    one = latents[row : row + 1]
    some = latents[: reading.CANDIDATES][None]
    ask = seconds(lambda: reading.query_keys(model, cue), device=device)
    answer = seconds(lambda: answered(model, one), device=device)
    check = seconds(lambda: reading.recognise(model, some, cue), device=device)
    return {
        "ask": ask,
        "check": check,
        "answer": answer,
    }


def solved(keys: Tensor, values: Tensor) -> Costs:
    """A linear memory of fixed size: all pairs written and solved, one question read."""
    memory = PseudoInverse(1e-3)
    empty = memory.empty(keys.shape[1], values.shape[1])
    state = memory.write(empty, keys, values)
    write = seconds(lambda: memory.solve(memory.write(empty, keys, values)))
    read = seconds(lambda: memory.read(state, keys[:1]))
    return {
        "write": write,
        "read": read,
        "bytes": state.nbytes,
    }


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


def stored(
    keys: Tensor,
    values: Tensor,
    dtype: str,
    device: torch.device | str = "cpu",
) -> Costs:
    """Rows in RAM (or on a GPU): writing all of them, and looking up one question or `MANY`."""
    state = state_of(keys, values, dtype, device)
    write = seconds(lambda: state_of(keys, values, dtype, device), device=device)
    read = seconds(partial(look_up, state, keys[:1]), 5, device)
    many = seconds(partial(look_up, state, keys[:MANY]), 5, device)
    return {
        "write": write,
        "read": read,
        "read many": many / MANY,
        "bytes": state.nbytes,
    }


def filed(
    keys: Tensor,
    values: Tensor,
    dtype: str = "int8",
    block: int = 16_384,
) -> Costs:
    """Rows in files: durable writing, a first look-up after the system was told to forget the
    files, later ones.

    `from disk` is how many bytes the first look-up had fetched: 0 means that they were not
    forgotten, and that the first look-up was no cold one (a file system in RAM, or a system without
    posix_fadvise)."""
    kind = DTYPES[dtype]
    widths = keys.shape[1], values.shape[1]
    with tempfile.TemporaryDirectory() as place, runtime.Stopwatch() as watch:
        with RowFolder.create(place, *widths, dtype=kind, key_dtype=kind) as folder:
            for some, same in zip(keys.split(block), values.split(block), strict=True):
                folder.write(some, same)
        write = watch.lap()
        forget(Path(place))
        state = RowFolder.read(place, check=False)
        before = _fetched()
        watch.lap()
        look_up(state, keys[:1])
        cold = watch.lap()
        fetched = _fetched() - before
        read = seconds(lambda: look_up(state, keys[:1]), 5)
        return {
            "write wall": write,
            "cold wall": cold,
            "from disk": fetched,
            "read": read,
            "bytes": state.nbytes,
        }


def drawn(
    model: MemoryDecoder,
    length: int,
    seed: int = 0,
) -> Iterator[tuple[str, Costs]]:
    """Rows alone, drawn: as many as a text of `length` tokens has, of the model's widths, in RAM
    and in files."""
    some = text(model, 16_384, seed)
    count = round(length * len(some) / sum(map(len, some)))
    config = model.config
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
    index = retrieval.BM25(texts)
    asked = _question(texts)
    return {
        "build": seconds(lambda: retrieval.BM25(texts), 2),
        "read": seconds(lambda: index.search([asked])),
        "bytes": index.nbytes + _text_bytes(texts),
    }


def _question(texts: Sequence[str]) -> str:
    """The first words of the text in the middle."""
    middle = texts[len(texts) // 2]
    return " ".join(middle.split()[:CUE])


def _text_bytes(texts: Sequence[str]) -> int:
    return sum(len(one.encode()) for one in texts)


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
    build = seconds(lambda: found.append(retrieval.Dense(encoder, texts)), 1)
    asked = _question(texts)
    return {
        "build": build,
        "read": seconds(lambda: found[0].search([asked])),
        "bytes": found[0].keys.nbytes + _text_bytes(texts),
    }


@torch.no_grad()
def attending(model: Any, ids: Tensor) -> Costs:
    """A causal transformer: reading a context of n tokens into its cache (`build`), and then a
    question of `CUE` tokens with an answer of `NEW`, which attends over that cache."""
    count = ids.shape[1]
    kept: list[Any] = []

    def build() -> None:
        output = model(input_ids=ids, use_cache=True, logits_to_keep=1)
        kept[:] = [output.past_key_values]

    def question() -> None:
        new = ids[:, :CUE]
        for _ in range(NEW):
            output = model(
                input_ids=new,
                past_key_values=kept[0],
                use_cache=True,
                logits_to_keep=1,
            )
            new = output.logits[:, -1:].argmax(-1)
        kept[0].crop(-(CUE + NEW - 1))  # as it was before the question

    spent = seconds(build, 1 if count > 5000 else 2, model.device)
    held = sum(layer.keys.nbytes + layer.values.nbytes for layer in kept[0].layers)
    answer = seconds(question, 2, model.device)
    return {
        "build": spent,
        "answer": answer,
        "bytes": held,
    }


def attention(
    lengths: Sequence[int], device: torch.device | str = "cpu"
) -> Iterator[tuple[int, Costs]]:
    """`attending` for the causal baseline over the lengths; what it reads does not matter for what
    it costs."""
    model: Any = causal_baseline.load_causal().to(device)
    rng = runtime.generator(0, "context")
    ids = torch.randint(5, 2000, (1, max(lengths)), generator=rng).to(device)
    for length in lengths:
        yield length, attending(model, ids[:, :length])


def shares(model: MemoryDecoder, length: int = 16_384) -> Iterator[tuple[str, Costs]]:
    """Each stage beside its roofline: `seconds` measured, `limit` from its arithmetic and its
    bytes, and both of these.

    Bytes: what has to pass once (weights and text of a pass, rows of a scan, rows read and written
    of a write)."""
    segments = text(model, length)
    machine = limits(model.device)
    spent, latents, keys = _encoded(model, segments, 2)
    yield "encode", _share_of_encoding(machine, model, segments, spent)
    yield "write", _share_of_writing(machine, keys, latents, model.device)
    yield from _shares_of_reading(machine, keys.shape[1], model.device)
    row = _longest(segments)
    yield "answer", _share_of_answering(machine, model, latents[row : row + 1])


def _share_of_encoding(
    machine: Limits,
    model: MemoryDecoder,
    segments: reading.Segments,
    spent: float,
) -> Costs:
    work = flops(lambda: reading.encode(model, segments))
    batches = -(-len(segments) // 256)
    return _share(machine, spent, work, batches * _parameter_bytes(model.encoder))


def _share_of_writing(
    machine: Limits,
    keys: Tensor,
    latents: Tensor,
    device: torch.device,
) -> Costs:
    spent = seconds(lambda: state_of(keys, latents, "float32", device), device=device)
    return _share(machine, spent, 0, 2 * (keys.nbytes + latents.nbytes))


def _shares_of_reading(
    machine: Limits,
    width: int,
    device: torch.device,
) -> Iterator[tuple[str, Costs]]:
    """One question and `MANY` to 100,000 drawn keys."""
    draw = torch.randn(100_000, width, generator=runtime.generator(0, "many"))
    many = normalize(draw, dim=1)
    memory = KeyValue()
    state = state_of(many, many, "float32", device)
    for name, asked in (("read one", many[:1]), ("read 64", many[:MANY])):
        spent = seconds(partial(memory.address, state, asked), 5, device)
        work = 2 * len(asked) * many.numel()
        yield name, _share(machine, spent, work, many.nbytes)


def _share_of_answering(
    machine: Limits,
    model: MemoryDecoder,
    latents: Tensor,
) -> Costs:
    answer = partial(answered, model, latents)
    spent = seconds(answer, device=model.device)
    work = flops(answer)
    moved = NEW * _parameter_bytes(model.decoder)
    return _share(machine, spent, work, moved)


def _parameter_bytes(module: torch.nn.Module) -> int:
    return sum(parameter.nbytes for parameter in module.parameters())


def _share(
    machine: Limits,
    spent: float,
    work: int,
    moved: int,
) -> Costs:
    return {
        "seconds": spent,
        "limit": machine.seconds(work, moved),
        "flops": work,
        "moved": moved,
    }


def historic(
    count: int = 512,
    slots: int = 512,
    width: int = 768,
    scale: float = 1.0,
) -> Iterator[tuple[str, Costs]]:
    """Larimar's memory solved ("exact") and by its 15 steps ("steps"): a write, a later read, the
    relative error of reading what was written. The solution keeps its inverse from the first read
    on; the iteration makes it anew."""
    rng = runtime.generator(0, "patterns", count)
    draw = torch.randn(count, width, generator=rng)
    z = scale * normalize(draw, dim=1)
    start = LarimarState(torch.eye(slots, width))
    memories: dict[str, Any] = {"exact": Larimar(), "steps": PublishedLarimar()}
    for name, memory in memories.items():
        state = memory.write(start, z)
        off = memory.read(state, z) - z
        error = off.norm(dim=1).mean() / z.norm(dim=1).mean()
        write = seconds(partial(memory.write, start, z), 2)
        read = seconds(partial(memory.read, state, z[:1]), 2)
        yield (
            name,
            {
                "write": write,
                "read": read,
                "error": float(error),
            },
        )
