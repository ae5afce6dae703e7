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
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from functools import partial
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
# fewer than a row of real text has: room for a memory whose number of rows is not known yet
TOKENS_A_ROW = 16


def streamed(
    model: MemoryDecoder,
    length: int,
    seed: int = 0,
) -> Iterator[tuple[reading.Segments, list[needles.Fact]]]:
    """`length` tokens of documentation, a block at a time, and the facts that stand in the middle
    of each: a needle in the first block, a pass key in the last. The text begins again when all of
    it has been read."""
    encode = tokenization.encoder(weights.tokenizer())
    limit = model.config.segment_tokens
    lines = cycle(text.documentation("test"))
    starts = range(0, length, BLOCK)
    places = {"needle": starts[0], "passkey": starts[-1]}
    for start in starts:
        size = min(BLOCK, length - start)
        segments = needles.fill(lines, size, encode, limit=limit).segments
        hidden = [
            needles.fact(kind, runtime.derive_seed(seed, length, "whole"))
            for kind, place in places.items()
            if place == start
        ]
        sentences = [encode([" " + one for one in fact.sentences]) for fact in hidden]
        own = [needles.cut(tokens, limit, encode.inside) for tokens in sentences]
        middle = len(segments) // 2
        whole_block, _ = needles.insert(segments, own, [middle] * len(own))
        yield whole_block, hidden


class Stages(dict[str, float]):
    """CPU and wall seconds by stage: `with stages("write"): ...` adds to "write" and to "write
    wall"."""

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Time a block."""
        start = time.process_time()
        wall = time.perf_counter()
        yield
        self[name] = self.get(name, 0.0) + time.process_time() - start
        self[f"{name} wall"] = self.get(f"{name} wall", 0.0) + time.perf_counter() - wall


def whole(
    length: int,
    dtype: str,
    seed: int = 0,
) -> dict[str, Any]:
    """CPU and wall seconds by stage, bytes, rows and right answers of one run over `length` tokens
    with two questions.

    Rows are in RAM in `dtype`; of the text no more than a block is.
    """
    model = pretrained.shipped()
    stage = Stages()
    before = runtime.peak_memory_bytes()
    state, facts, count = _read_text(model, length, dtype, seed, stage)
    said = _answers(model, state, facts, stage)
    asked = zip(facts, said, strict=True)
    right = sum(needles_measure.correct(fact, answer) for fact, answer in asked)
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


def _read_text(
    model: MemoryDecoder,
    length: int,
    dtype: str,
    seed: int,
    stage: Stages,
) -> tuple[KeyValueState, list[needles.Fact], int]:
    """The memory of a streamed text, the facts hidden in it, and how many tokens it had."""
    config = model.config
    kind = measure.DTYPES[dtype]
    memory = KeyValue()
    state = memory.empty(
        config.key_width,
        config.latent_width,
        dtype=kind,
        key_dtype=kind,
        capacity=length // TOKENS_A_ROW,
    )
    blocks = streamed(model, length, seed)
    facts: list[needles.Fact] = []
    count = 0
    while True:
        with stage("text"):
            segments, hidden = next(blocks, ((), []))
        if not segments:
            return state, facts, count
        count += sum(map(len, segments))
        facts += hidden
        with stage("encode"):
            latents, keys = reading.encode(model, segments)
        with stage("write"):
            state = memory.write(state, keys, latents)


def _answers(
    model: MemoryDecoder,
    state: KeyValueState,
    facts: Sequence[needles.Fact],
    stage: Stages,
) -> list[str]:
    """What is written for the cue of each fact: the best of the rows found."""
    tokenizer = weights.tokenizer()
    cues = tokenization.encoder(tokenizer)([" " + fact.cue for fact in facts])
    with stage("read"):
        found = measure.look_up(state, reading.query_keys(model, cues))
    with stage("answer"):
        best = reading.recognise(model, found, cues).argmax(1)
        chosen = found[torch.arange(len(best)), best]
        return reading.write_out(model, chosen, [()] * len(facts), tokenizer)


def in_a_child(
    length: int,
    dtype: str,
    seed: int = 0,
    threads: int | None = None,
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
    model: MemoryDecoder,
    length: int,
    trials: int,
    seed: int = 0,
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


def compact(
    cell: needles_measure.Cell,
    whole: Sequence[Any],
    dtype: str,
) -> None:
    """Let a cell read from rows in `dtype`, those of the haystack and those of the facts; `whole`
    are its own bases."""
    most: dict[int, KeyValueState] = {}  # by haystack: its longest base, in `dtype`
    for base in whole:
        place = base.keys.data_ptr()
        if place not in most or len(most[place]) < len(base):
            most[place] = measure.state_of(base.keys, base.values, dtype)
    memory = KeyValue()
    cell.bases = [memory.first(most[base.keys.data_ptr()], len(base)) for base in whole]
    # `keys_only` packs the keys
    kind = measure.DTYPES[dtype]
    cell.facts = [(keys, _through(kind, latents)) for keys, latents in cell.facts]
    cell.__dict__.pop("candidates", None)


def _through(kind: torch.dtype, latents: torch.Tensor) -> torch.Tensor:
    """Latents as they come back from rows of a dtype, in float32."""
    like = latents.new_empty(0, latents.shape[1], dtype=kind)
    return rows.unpack(*rows.pack("values", latents, like), torch.float32)


def _rows(count: int, width: int) -> torch.Tensor:
    draw = torch.randn(count, width, generator=runtime.generator(0, "shard", count))
    return normalize(draw, dim=1)


def _shard(
    rank: int,
    folder: str,
    count: int,
    width: int,
    rounds: int,
) -> None:
    """One of two processes: looks questions up in its half, and writes the least wall seconds
    down."""
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.set_num_threads(1)
    # The other fails by then, if this one does.
    patience = timedelta(minutes=5)
    store = f"file://{folder}/store"
    dist.init_process_group("gloo", store, patience, world_size=2, rank=rank)
    keys = _rows(count, width)
    one = KeyValue()
    two = Sharded()
    mine = keys[list(two.share(count))]
    empty = two.empty(width, 1, capacity=len(mine))
    halves = two.write(empty, mine, mine[:, :1])
    state = measure.state_of(keys, keys[:, :1])
    asked = keys[: measure.MANY]
    _, by_one = one.address(state, asked)
    _, by_two = two.address(halves, asked)
    same = bool((by_one == by_two).all())
    spent: dict[str, float] = {}
    for name, some in (("read", asked[:1]), ("read many", asked)):
        # both wait for each other; alone, the second process does nothing
        alone = partial(one.address, state, some) if rank == 0 else _nothing
        together = partial(two.address, halves, some)
        spent[f"{name} one wall"] = _least_wall(alone, rounds) / len(some)
        spent[f"{name} two wall"] = _least_wall(together, rounds) / len(some)
    if rank == 0:
        found = {**spent, "same": same, "rows": count}
        Path(folder, "spent.json").write_text(json.dumps(found))
    dist.destroy_process_group()


def _nothing() -> None:
    pass


def _least_wall(task: Callable[[], object], rounds: int) -> float:
    """The least wall seconds of a task that both processes start together."""
    least = float("inf")
    for _ in range(rounds):
        dist.barrier()
        start = time.perf_counter()
        task()
        least = min(least, time.perf_counter() - start)
    return least


def sharded(
    count: int,
    width: int,
    rounds: int = 9,
) -> dict[str, Any]:
    """A look-up in `count` keys in one process and in two, each with one thread: wall seconds a
    question, one question at a time or `measure.MANY`, and whether both found the same rows. Two
    processes want two free cores."""
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(_shard, (folder, count, width, rounds), nprocs=2)
        return dict(json.loads(Path(folder, "spent.json").read_text()))
