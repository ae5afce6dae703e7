"""The exact key–value read against a plain scan, torch.topk and faiss, for every kind of rows.

    python pkg/benchmarks/scan.py            # about two minutes on one core, 1 GB
    pip install faiss-cpu                    # for its comparison; nothing else needs it

The others rank by float32 products, whose rounding depends on the number of queries, threads and
instruction set; memlab proposes in float32 and decides in float64. Every comparison first checks
that the rows found are the same.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from typing import Any

import measure
import torch
import torch.nn.functional as F
from torch import Tensor

from memlab import runtime
from memlab.memories import KeyValue, KeyValueState, RowFolder
from memlab.memories.rows import pack as packed

DTYPES = {"float32": torch.float32, "float16": torch.float16, "int8": torch.int8}


def rows(count: int, width: int) -> Tensor:
    """Random unit keys."""
    draw = runtime.generator(0, "keys", width)
    return F.normalize(torch.randn(count, width, generator=draw), dim=1)


def cues(keys: Tensor, count: int, cosine: float = 0.9) -> Tensor:
    """Queries at about this cosine from the first keys."""
    width = keys.shape[1]
    draw = runtime.generator(0, "noise", count, width)
    noise = F.normalize(torch.randn(count, width, generator=draw), dim=1)
    mixed = cosine * keys[:count] + (1 - cosine**2) ** 0.5 * noise
    return F.normalize(mixed, dim=1)


def written(keys: Tensor, dtype: torch.dtype) -> KeyValueState:
    """A memory of these keys, with values of one number."""
    memory = KeyValue()
    return memory.write(memory.empty(keys.shape[1], 1, key_dtype=dtype), keys, keys[:, :1])


def faiss_index(keys: Tensor, threads: int) -> Any:
    """faiss's exact inner-product index of the keys, or None with a message where faiss is
    missing."""
    try:
        import faiss
    except ImportError:
        print("\nfaiss is missing: pip install faiss-cpu")
        return None
    faiss.omp_set_num_threads(threads)
    index = faiss.IndexFlatIP(keys.shape[1])
    index.add(keys.numpy())
    return index


def reads(
    count: int, width: int, queries: Sequence[int], rounds: int, threads: int
) -> dict[str, float]:
    """Ratios for `count` rows of `width`, by name."""
    keys = rows(count, width)
    index = faiss_index(keys, threads)
    found = {}
    for name, dtype in DTYPES.items():
        state = written(keys, dtype)
        measure.heading(f"{count:,} rows of {width} in {name}: one exact read")
        for number in queries:
            asked = cues(keys, number)
            found[f"{name} {number}"] = against_torch(state, keys, asked, rounds)
            if index is not None:
                against_faiss(state, index, asked, rounds)
    return found


def found_rows(state: KeyValueState, asked: Tensor, top_k: int) -> Tensor:
    """The rows of the best keys."""
    _, found = KeyValue(top_k).address(state, asked)
    return found


def against_torch(state: KeyValueState, keys: Tensor, asked: Tensor, rounds: int) -> float:
    """The ratio to a plain scan for the best row; that for the best four is printed."""
    name = f"{len(asked)} queries"

    def scan() -> Tensor:
        return (asked @ keys.T).argmax(1)

    measure.agree("torch", found_rows(state, asked, 1)[:, 0], scan())
    ratio = measure.compare(
        f"{name}, best: float32 matmul + argmax",
        lambda: found_rows(state, asked, 1),
        scan,
        rounds=rounds,
    )
    measure.compare(
        f"{name}, best 4: float32 matmul + topk",
        lambda: found_rows(state, asked, 4),
        lambda: (asked @ keys.T).topk(4).indices,
        rounds=rounds,
    )
    return ratio


def against_faiss(state: KeyValueState, index: Any, asked: Tensor, rounds: int) -> None:
    """The same against faiss's exact index."""
    _, theirs = index.search(asked.numpy(), 1)
    measure.agree("faiss", found_rows(state, asked, 1)[:, 0], torch.from_numpy(theirs[:, 0]))
    for top_k, best in ((1, "best"), (4, "best 4")):
        measure.compare(
            f"{len(asked)} queries, {best}: faiss IndexFlatIP",
            lambda k=top_k: found_rows(state, asked, k),
            lambda k=top_k: index.search(asked.numpy(), k),
            rounds=rounds,
        )


def stores(count: int, width: int, block: int, rounds: int) -> None:
    """Writing in blocks: into RAM with the room known, without, and into files, against one
    torch.cat of all blocks, converted alike."""
    blocks = rows(count, width).split(block)
    for dtype in DTYPES.values():
        measure.heading(
            f"{count:,} rows of 2 x {width} in {str(dtype)[6:]}, written {block:,} at a time",
            other="torch.cat",
        )
        tasks = {
            "into RAM, number of rows known": lambda d=dtype: into_ram(blocks, d, count),
            "into RAM, number of rows unknown": lambda d=dtype: into_ram(blocks, d, 0),
            "into files, durable after each block (CPU time alone)": lambda d=dtype: into_files(
                blocks, d
            ),
        }
        for what, task in tasks.items():
            measure.compare(what, task, lambda d=dtype: joined(blocks, d), rounds=rounds)


def into_ram(blocks: Sequence[Tensor], dtype: torch.dtype, capacity: int) -> KeyValueState:
    """A memory of these rows, as keys and as values, written block by block."""
    memory = KeyValue()
    width = blocks[0].shape[1]
    state = memory.empty(width, width, dtype=dtype, key_dtype=dtype, capacity=capacity)
    for some in blocks:
        state = memory.write(state, some, some)
    return state


def into_files(blocks: Sequence[Tensor], dtype: torch.dtype) -> None:
    """The same into a folder, which is then deleted."""
    width = blocks[0].shape[1]
    with (
        tempfile.TemporaryDirectory() as place,
        RowFolder.create(place, width, width, dtype=dtype, key_dtype=dtype) as folder,
    ):
        for some in blocks:
            folder.write(some, some)


def joined(blocks: Sequence[Tensor], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """All rows twice, converted block by block and put together."""
    # int8 needs its scales here as well: a cast would give zeros.
    like = blocks[0].new_empty(0, blocks[0].shape[1], dtype=dtype)
    keys = [packed("rows", some, like)[0] for some in blocks]
    values = [packed("rows", some, like)[0] for some in blocks]
    return torch.cat(keys), torch.cat(values)


def mapped(count: int, width: int, queries: int, rounds: int) -> None:
    """Reading rows from files that the system has in its cache, against reading them in RAM."""
    memory = KeyValue()
    keys = rows(count, width)
    asked = cues(keys, queries)
    measure.heading(
        f"{count:,} rows of {width}, {queries} queries, read from files", "files", "RAM"
    )
    for name, dtype in DTYPES.items():
        state = written(keys, dtype)
        with tempfile.TemporaryDirectory() as place:
            with RowFolder.create(place, width, 1, key_dtype=dtype) as folder:
                folder.write(keys, keys[:, :1])
            there = RowFolder.read(place)
            measure.agree("files", memory.address(there, asked)[1], memory.address(state, asked)[1])
            measure.compare(
                name,
                lambda t=there: memory.address(t, asked),
                lambda s=state: memory.address(s, asked),
                rounds=rounds,
            )


def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    """Run it; the ratios to a plain scan by dtype and number of queries."""
    args = measure.arguments(__doc__, argv)
    count = 300 if args.tiny else 100_000
    width = 8 if args.tiny else 128
    queries = (1, 4) if args.tiny else (1, 16, 256)
    found = reads(count, width, queries, args.rounds, args.threads)
    stores(count, width, count // 25, args.rounds)
    mapped(count, width, 1, args.rounds)
    return found


if __name__ == "__main__":
    main()
