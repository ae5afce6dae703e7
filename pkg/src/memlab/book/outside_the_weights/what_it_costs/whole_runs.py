"""Chapter 12's whole runs: text in, answers out, in a process of its own whose memory can be
measured; recall with int8 rows; and one memory in two processes."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.nn.functional import normalize

from memlab import runtime, weights
from memlab.book.outside_the_weights.needles import measure as needles_measure
from memlab.book.outside_the_weights.what_it_costs import measure
from memlab.corpora import needles, text, tokenization
from memlab.decoder import MemoryDecoder, pretrained, reading
from memlab.memories import KeyValue, KeyValueState, Sharded, rows

BLOCK = 2**16  # tokens of text that are in RAM at a time
TOKENS_A_ROW = (
    16  # fewer than a row of real text has: room for a memory whose number of rows is not known yet
)


def streamed(
    model: MemoryDecoder, length: int, seed: int = 0
) -> Iterator[tuple[reading.Segments, list[needles.Fact]]]:
    """`length` tokens of documentation, a block at a time, and the facts that stand in the middle
    of each: a needle in the first block, a pass key in the last. The text begins again when all of
    it has been read."""
    encode, limit = tokenization.encoder(weights.tokenizer()), model.config.segment_tokens
    lines, starts = cycle(text.documentation("test")), range(0, length, BLOCK)
    for start in starts:
        segments = needles.fill(lines, min(BLOCK, length - start), encode, limit=limit).segments
        hidden = [
            needles.fact(kind, runtime.derive_seed(seed, length, "whole"))
            for kind, place in (("needle", starts[0]), ("passkey", starts[-1]))
            if place == start
        ]
        own = [needles.cut(encode([" " + one for one in fact.sentences]), limit) for fact in hidden]
        yield needles.insert(segments, own, [len(segments) // 2] * len(own))[0], hidden


class Stages(dict[str, float]):
    """CPU and wall seconds by stage: `with stages("write"): ...` adds to "write" and to "write
    wall"."""

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Time a block."""
        start, wall = time.process_time(), time.perf_counter()
        yield
        self[name] = self.get(name, 0.0) + time.process_time() - start
        self[f"{name} wall"] = self.get(f"{name} wall", 0.0) + time.perf_counter() - wall


def whole(length: int, dtype: str, seed: int = 0) -> dict[str, Any]:
    """CPU and wall seconds by stage, bytes, rows and right answers of one run over `length` tokens
    with two questions.

    Rows are in RAM in `dtype`; of the text no more than a block is.
    """
    model, kind, tokenizer = pretrained.shipped(), measure.DTYPES[dtype], weights.tokenizer()
    memory, config, facts, count, stage = (
        KeyValue(),
        model.config,
        list[needles.Fact](),
        0,
        Stages(),
    )
    before, blocks = runtime.peak_memory_bytes(), streamed(model, length, seed)
    state = memory.empty(
        config.key_width,
        config.latent_width,
        dtype=kind,
        key_dtype=kind,
        capacity=length // TOKENS_A_ROW,
    )
    while True:
        with stage("text"):
            segments, hidden = next(blocks, ((), []))
        if not segments:
            break
        count, facts = count + sum(map(len, segments)), facts + hidden
        with stage("encode"):
            latents, keys = reading.encode(model, segments)
        with stage("write"):
            state = memory.write(state, keys, latents)
    cues = tokenization.encoder(tokenizer)([" " + fact.cue for fact in facts])
    with stage("read"):
        found = measure.look_up(state, reading.query_keys(model, cues))
    with stage("answer"):
        best = reading.recognise(model, found, cues).argmax(1)
        said = reading.write_out(
            model, found[torch.arange(len(best)), best], [()] * len(facts), tokenizer
        )
    right = sum(needles_measure.correct(fact, one) for fact, one in zip(facts, said, strict=True))
    wall = sum(value for name, value in stage.items() if name.endswith("wall"))
    return {
        **stage,
        "wall": wall,
        "cpu": sum(stage.values()) - wall,
        "length": count,
        "bytes": state.nbytes,
        "rows": len(state),
        "peak": runtime.peak_memory_bytes(),
        "before": before,
        "right": right,
        "asked": len(facts),
        "threads": torch.get_num_threads(),
    }


def in_a_child(
    length: int, dtype: str, seed: int = 0, threads: int | None = None
) -> dict[str, Any]:
    """`whole` in a fresh process with two threads (or as many cores as there are, or `threads`):
    its peak memory is that of this run alone, the interpreter and its libraries included (`before`:
    when the model had been loaded)."""
    threads = threads or min(2, runtime.cores())
    program = (
        f"import json; from {__name__} import runtime, whole; runtime.use_threads({threads}); "
        f"print(json.dumps(whole({length}, {dtype!r}, {seed})))"
    )
    package = str(Path(runtime.__file__).resolve().parents[1])
    paths = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
    )
    if done.returncode:
        raise ValueError(
            f"expected a whole run over {length:,} tokens, got:"
            f" {done.stderr.strip().splitlines()[-1]}"
        )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def recall(
    model: MemoryDecoder, length: int, trials: int, seed: int = 0
) -> Iterator[tuple[str, str, list[bool]]]:
    """Pass keys and needles with float32 and with int8 rows, on the same prompts: kind, dtype, and
    which are right."""
    shared: dict = {}
    for kind in needles.KINDS:
        cell = needles_measure.Cell(model, kind, length, trials=trials, seed=seed, shared=shared)
        whole = cell.bases
        for dtype in ("float32", "int8"):
            if dtype != "float32":
                compact(cell, whole, dtype)
            yield kind, dtype, [outcome.right for outcome in cell.memory()]


def compact(cell: needles_measure.Cell, whole: Sequence[Any], dtype: str) -> None:
    """Let a cell read from rows in `dtype`, those of the haystack and those of the facts; `whole`
    are its own bases."""
    most: dict[int, KeyValueState] = {}  # by haystack: its longest base, in `dtype`
    for base in whole:
        place = base.keys.data_ptr()
        if place not in most or len(most[place]) < len(base):
            most[place] = measure.state_of(base.keys, base.values, dtype)
    cell.bases = [KeyValue().first(most[base.keys.data_ptr()], len(base)) for base in whole]
    kind = measure.DTYPES[dtype]
    cell.facts = [
        (
            keys,
            rows.unpack(
                *rows.pack("values", z, z.new_empty(0, z.shape[1], dtype=kind)), torch.float32
            ),
        )
        for keys, z in cell.facts
    ]  # `keys_only` packs the keys
    cell.__dict__.pop("candidates", None)


def _rows(count: int, width: int) -> torch.Tensor:
    return normalize(
        torch.randn(count, width, generator=runtime.generator(0, "shard", count)), dim=1
    )


def _shard(rank: int, folder: str, count: int, width: int, rounds: int) -> None:
    """One of two processes: looks questions up in its half, and writes the least wall seconds
    down."""
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    keys, one, two = _rows(count, width), KeyValue(), Sharded()
    mine = keys[list(two.share(count))]
    halves = two.write(two.empty(width, 1, capacity=len(mine)), mine, mine[:, :1])
    state = measure.state_of(keys, keys[:, :1])
    asked, spent = keys[: measure.MANY], {}
    same = bool((one.address(state, asked)[1] == two.address(halves, asked)[1]).all())
    for name, some in (("read", asked[:1]), ("read many", asked)):
        for who in ("one", "two"):
            least = float("inf")
            for _ in range(rounds):
                dist.barrier()
                start = time.perf_counter()
                if who == "two":
                    two.address(halves, some)
                elif rank == 0:
                    one.address(state, some)
                least = min(least, time.perf_counter() - start)
            spent[f"{name} {who} wall"] = least / len(some)
    if rank == 0:
        Path(folder, "spent.json").write_text(json.dumps({**spent, "same": same, "rows": count}))
    dist.destroy_process_group()


def sharded(count: int, width: int, rounds: int = 9) -> dict[str, Any]:
    """A look-up in `count` keys in one process and in two, each with one thread: wall seconds a
    question, one question at a time or `measure.MANY`, and whether both found the same rows. Two
    processes want two free cores."""
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(_shard, (folder, count, width, rounds), nprocs=2)
        return dict(json.loads(Path(folder, "spent.json").read_text()))
