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
from memlab.book.outside_the_weights.what_it_costs import measure as what_it_costs_measure
from memlab.book.outside_the_weights.what_it_costs import whole_runs
from memlab.corpora.needles import Prompt
from memlab.decoder import pretrained
from memlab.results import wilson


def recall(kind: str, length: int, trials: int) -> dict[str, float]:
    """Recall by dtype, on the same prompts."""
    found = {}
    cell = needles_measure.Cell(pretrained.shipped(), kind, length, trials=trials)
    whole = cell.bases
    facts = cell.facts
    title = f"{kind}, {length:,} tokens, {max(map(len, whole)):,} rows"
    print(f"\n{title:40} recall (Wilson 95 %)    address   bytes a token")
    for name in what_it_costs_measure.DTYPES:
        cell.facts = facts
        whole_runs.compact(cell, whole, name)
        outcomes = cell.memory()
        right = sum(outcome.right for outcome in outcomes)
        share = right / trials
        low, high = wilson(right, trials)
        stored = sum(base.nbytes for base in cell.bases)
        spent = stored / sum(map(haystack_tokens, cell.prompts))
        address = sum(bool(outcome.address) for outcome in outcomes) / trials
        print(f"{name:40} {share:.3f} ({low:.3f} to {high:.3f}) {address:10.3f} {spent:15.1f}")
        found[f"{kind} {name}"] = share
    return found


def haystack_tokens(prompt: Prompt) -> int:
    """How many tokens of a prompt do not belong to the fact."""
    return sum(len(ids) for row, ids in enumerate(prompt.segments) if row not in prompt.rows)


def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    """Run it; recall by task and dtype."""
    args = measure.arguments(__doc__, argv, tokens=65536, trials=100)
    length = 400 if args.tiny else args.tokens
    trials = 2 if args.tiny else args.trials
    return recall("passkey", length, trials) | recall("needle", length, trials)


if __name__ == "__main__":
    main()
