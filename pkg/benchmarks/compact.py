"""What float16 and int8 rows cost in recall: the needle test on the same prompts, with the shipped
weights.

    python pkg/benchmarks/compact.py                       # 64K tokens, 100 trials a task: two
                                                           minutes on one core
    python pkg/benchmarks/compact.py --tokens 1048576      # about five minutes, 1 GB

All that is stored is stored compactly: keys and latents of the haystack, and those of the fact that
is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence

import measure

from memlab.book.outside_the_weights.needles import measure as needles_measure
from memlab.book.outside_the_weights.what_it_costs import (
    measure as what_it_costs_measure,
)
from memlab.book.outside_the_weights.what_it_costs import (
    whole_runs,
)
from memlab.decoder import pretrained
from memlab.results import wilson


def recall(kind: str, length: int, trials: int) -> dict[str, float]:
    """Recall by dtype, on the same prompts."""
    model, found = pretrained.shipped(), {}
    cell = needles_measure.Cell(model, kind, length, trials=trials)
    whole, facts = cell.bases, cell.facts
    longest = max(whole, key=len)
    print(
        f"\n{f'{kind}, {length:,} tokens, {len(longest):,} rows':40} recall (Wilson 95 %)   "
        " address   bytes a token"
    )
    for name in what_it_costs_measure.DTYPES:
        cell.facts = facts
        whole_runs.compact(cell, whole, name)
        outcomes = cell.memory()
        right = sum(outcome.right for outcome in outcomes)
        low, high = wilson(right, trials)
        found[f"{kind} {name}"] = right / trials
        spent = sum(base.nbytes for base in cell.bases) / sum(
            sum(len(s) for i, s in enumerate(p.segments) if i not in p.rows) for p in cell.prompts
        )
        address = sum(bool(outcome.address) for outcome in outcomes) / trials
        print(
            f"{name:40} {right / trials:.3f} ({low:.3f} to {high:.3f}) {address:10.3f}"
            f" {spent:15.1f}"
        )
    return found


def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    """Run it; recall by task and dtype."""
    args = measure.arguments(__doc__, argv, tokens=65536, trials=100)
    length, trials = (400, 2) if args.tiny else (args.tokens, args.trials)
    return recall("passkey", length, trials) | recall("needle", length, trials)


if __name__ == "__main__":
    main()
