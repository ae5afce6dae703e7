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
    return F.normalize(
        torch.randn(count, width, generator=runtime.generator(0, "keys", width)), dim=1
    )


def cues(keys: Tensor, count: int, cosine: float = 0.9) -> Tensor:
    """Queries at about this cosine from the first keys."""
    noise = torch.randn(
        count, keys.shape[1], generator=runtime.generator(0, "noise", count, keys.shape[1])
    )
    return F.normalize(
        cosine * keys[:count] + (1 - cosine**2) ** 0.5 * F.normalize(noise, dim=1), dim=1
    )


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
    keys, found = rows(count, width), {}
    index = faiss_index(keys, threads)
    for dtype in DTYPES:
        state = written(keys, DTYPES[dtype])
        measure.heading(f"{count:,} rows of {width} in {dtype}: one exact read")
        for asked in (cues(keys, number) for number in queries):
            name = f"{len(asked)} queries"

            def scan(asked: Tensor = asked) -> Tensor:
                return (asked @ keys.T).argmax(1)

            def best(top_k: int, asked: Tensor = asked, state: KeyValueState = state) -> Tensor:
                return KeyValue(top_k).address(state, asked)[1]

            assert torch.equal(best(1)[:, 0], scan())
            found[f"{dtype} {len(asked)}"] = measure.compare(
                f"{name}, best: float32 matmul + argmax", lambda b=best: b(1), scan, rounds=rounds
            )
            measure.compare(
                f"{name}, best 4: float32 matmul + topk",
                lambda b=best: b(4),
                lambda q=asked: (q @ keys.T).topk(4).indices,
                rounds=rounds,
            )
            if index is not None:
                assert index.search(asked.numpy(), 1)[1][:, 0].tolist() == best(1)[:, 0].tolist()
                measure.compare(
                    f"{name}, best: faiss IndexFlatIP",
                    lambda b=best: b(1),
                    lambda q=asked: index.search(q.numpy(), 1),
                    rounds=rounds,
                )
                measure.compare(
                    f"{name}, best 4: faiss IndexFlatIP",
                    lambda b=best: b(4),
                    lambda q=asked: index.search(q.numpy(), 4),
                    rounds=rounds,
                )
    return found


def stores(count: int, width: int, block: int, rounds: int) -> None:
    """Writing in blocks: into RAM with the room known, without, and into files, against one
    torch.cat of all blocks, converted alike."""
    keys, memory = rows(count, width), KeyValue()
    for dtype in DTYPES.values():
        measure.heading(
            f"{count:,} rows of 2 x {width} in {str(dtype)[6:]}, written {block:,} at a time",
            other="torch.cat",
        )

        def write(capacity: int, dtype: torch.dtype = dtype) -> KeyValueState:
            state = memory.empty(width, width, dtype=dtype, key_dtype=dtype, capacity=capacity)
            for some in keys.split(block):
                state = memory.write(state, some, some)
            return state

        def files(dtype: torch.dtype = dtype) -> None:
            with (
                tempfile.TemporaryDirectory() as place,
                RowFolder.create(place, width, width, dtype=dtype, key_dtype=dtype) as folder,
            ):
                for some in keys.split(block):
                    folder.write(some, some)

        def cat(dtype: torch.dtype = dtype) -> tuple[Tensor, Tensor]:
            like = keys.new_empty(
                0, width, dtype=dtype
            )  # int8 needs its scales here as well: a cast would give zeros
            blocks = [
                [packed("rows", some, like)[0] for some in keys.split(block)] for _ in range(2)
            ]
            return torch.cat(blocks[0]), torch.cat(blocks[1])

        measure.compare(
            "into RAM, number of rows known", lambda w=write: w(count), cat, rounds=rounds
        )
        measure.compare(
            "into RAM, number of rows unknown", lambda w=write: w(0), cat, rounds=rounds
        )
        measure.compare(
            "into files, durable after each block (CPU time alone)", files, cat, rounds=rounds
        )


def mapped(count: int, width: int, queries: int, rounds: int) -> None:
    """Reading rows from files that the system has in its cache, against reading them in RAM."""
    keys = rows(count, width)
    asked, memory = cues(keys, queries), KeyValue()
    measure.heading(
        f"{count:,} rows of {width}, {queries} queries, read from files", "files", "RAM"
    )
    for name, dtype in DTYPES.items():
        state = written(keys, dtype)
        with tempfile.TemporaryDirectory() as place:
            with RowFolder.create(place, width, 1, key_dtype=dtype) as folder:
                folder.write(keys, keys[:, :1])
            there = RowFolder.read(place)
            assert torch.equal(memory.address(there, asked)[1], memory.address(state, asked)[1])
            measure.compare(
                name,
                lambda t=there: memory.address(t, asked),
                lambda s=state: memory.address(s, asked),
                rounds=rounds,
            )


def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    """Run it; the ratios to a plain scan by dtype and number of queries."""
    args = measure.arguments(__doc__, argv)
    count, width, queries = (300, 8, (1, 4)) if args.tiny else (100_000, 128, (1, 16, 256))
    found = reads(count, width, queries, args.rounds, args.threads)
    stores(count, width, count // 25, args.rounds)
    mapped(count, width, 1, args.rounds)
    return found


if __name__ == "__main__":
    main()
