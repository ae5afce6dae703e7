"""What float16 and int8 rows cost in recall: the needle test on the same prompts, with the shipped weights.

    python pkg/benchmarks/compact.py                       # 64K tokens, 100 trials a task: two minutes on one core
    python pkg/benchmarks/compact.py --tokens 1048576      # about five minutes, 1 GB

All that is stored is stored compactly: keys and latents of the haystack, and those of the fact that is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence

import measure
import torch
from torch import Tensor

from memlab import needle_bench, pretrained
from memlab.memories import KeyValue, KeyValueState, rows
from memlab.results import wilson

DTYPES = {"float32": torch.float32, "float16": torch.float16, "int8": torch.int8}


def stored(values: Tensor, dtype: torch.dtype) -> Tensor:
    """What is left of the numbers once they are kept in `dtype`."""
    return rows.unpack(*rows.pack("values", values, values.new_empty(0, values.shape[1], dtype=dtype)), torch.float32)


def compacted(state: KeyValueState, dtype: torch.dtype) -> KeyValueState:
    """The same pairs, keys and values in `dtype`."""
    memory = KeyValue()
    empty = memory.empty(state.keys.shape[1], state.values.shape[1], dtype=dtype, key_dtype=dtype, capacity=len(state))
    return memory.write(empty, state.keys, state.values, state.slot)


def recall(kind: str, length: int, trials: int) -> dict[str, float]:
    """Recall by dtype, on the same prompts."""
    model, found = pretrained.shipped(), {}
    cell = needle_bench.Cell(model, kind, length, trials=trials)
    whole, facts, memory = cell.bases, cell.facts, KeyValue()
    longest = max(whole, key=len)
    print(f"\n{f'{kind}, {length:,} tokens, {len(longest):,} rows':40} recall (Wilson 95 %)    address   bytes a token")
    for name, dtype in DTYPES.items():
        if length > needle_bench.SHORT:  # all trials read from one haystack
            most = compacted(longest, dtype)
            cell.bases = [memory.first(most, len(base)) for base in whole]
        else:
            cell.bases = [compacted(base, dtype) for base in whole]
        cell.facts = [(keys, stored(latents, dtype)) for keys, latents in facts]  # `keys_only` packs the keys
        cell.__dict__.pop("rows", None)
        outcomes = cell.memory()
        right = sum(outcome.right for outcome in outcomes)
        low, high = wilson(right, trials)
        found[f"{kind} {name}"] = right / trials
        spent = sum(base.nbytes for base in cell.bases) / sum(
            sum(len(s) for i, s in enumerate(p.segments) if i not in p.rows) for p in cell.prompts)
        address = sum(bool(outcome.address) for outcome in outcomes) / trials
        print(f"{name:40} {right / trials:.3f} ({low:.3f} to {high:.3f}) {address:10.3f} {spent:15.1f}")
    return found


def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    """Run it; recall by task and dtype."""
    args = measure.arguments(__doc__, argv, tokens=65536, trials=100)
    length, trials = (400, 2) if args.tiny else (args.tokens, args.trials)
    return recall("passkey", length, trials) | recall("needle", length, trials)


if __name__ == "__main__":
    main()
