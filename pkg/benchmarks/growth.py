"""How costs grow: exponents p of cost ~ size^p, for every step with a memory and for what it stands
beside.

    python pkg/benchmarks/growth.py            # about two minutes on one core, 1 GB

Each number is the slope of a line through log cost over log size, the cost being the least of some
CPU times; a step with a fixed part has a smaller exponent at small sizes than in the end.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import measure
import torch
from torch import Tensor

from memlab import runtime
from memlab.book.outside_the_weights.needles import measure as needles_measure
from memlab.decoder import MemoryDecoder, pretrained, reading
from memlab.memories import KeyValue, KeyValueState, Larimar, RowFolder
from memlab.models import causal_baseline
from memories import historic_read, historic_write, unit_rows


def least(task: Callable[[], object], rounds: int) -> float:
    """The least CPU seconds of some calls."""
    return min(measure.seconds(task) for _ in range(rounds))


def reading_costs(model: MemoryDecoder, length: int, rounds: int) -> dict[str, float]:
    """Seconds to encode real text of `length` tokens, to write it and to look one cue up; and the
    bytes."""
    memory = KeyValue()
    segments = needles_measure.haystack(length, 0).segments
    latents, keys = reading.encode(model, segments)

    def write() -> KeyValueState:
        state = memory.empty(keys.shape[1], latents.shape[1], capacity=len(keys))
        return memory.write(state, keys, latents)

    state = write()
    return {
        "encode": least(lambda: reading.encode(model, segments), rounds),
        "write": least(write, rounds),
        "read": least(lambda: memory.read(state, keys[:1]), rounds),
        "bytes": state.nbytes,
    }


def reading_growth(lengths: Sequence[int], rounds: int) -> dict[str, float]:
    """Real text: encode, write, look one cue up, and the bytes, by tokens."""
    model = pretrained.shipped()
    costs = [reading_costs(model, length, rounds) for length in lengths]
    print(f"\nthe memory decoder, tokens of text{'':31}exponent")
    found = {}
    for name in costs[0]:
        unit = "B" if name == "bytes" else "s"
        found[name] = measure.growth(name, lengths, [cost[name] for cost in costs], unit)
    return found


def row_costs(count: int, width: int, rounds: int) -> dict[str, float]:
    """Seconds to write so many rows into RAM and into files, and to read from each."""
    memory = KeyValue()
    keys = unit_rows(count, width, "growth")

    def write() -> KeyValueState:
        return memory.write(memory.empty(width, width), keys, keys)

    with tempfile.TemporaryDirectory() as place:
        with RowFolder.create(place, width, width) as folder:
            files = measure.seconds(lambda: folder.write(keys, keys))
        there = RowFolder.read(place)
        state = write()
        return {
            "RAM": least(write, rounds),
            "files": files,
            "read from RAM": least(lambda: memory.read(state, keys[:1]), rounds),
            "read from files": least(lambda: memory.read(there, keys[:1]), rounds),
        }


def rows(counts: Sequence[int], width: int, rounds: int) -> dict[str, float]:
    """The memory alone, by rows: write into RAM and into files, read from each."""
    costs = [row_costs(count, width, rounds) for count in counts]
    print(f"\nexact key–value slots of {width}, rows{'':30}exponent")
    return {name: measure.growth(name, counts, [cost[name] for cost in costs]) for name in costs[0]}


def causal_cost(model: Any, ids: Tensor, rounds: int) -> float:
    """Seconds of one pass over a context."""
    with torch.no_grad():
        return least(lambda: model(input_ids=ids, use_cache=False, logits_to_keep=1), rounds)


def larimar_costs(count: int, rounds: int) -> dict[str, float]:
    """Seconds to write as many patterns as there are slots, exactly and by 15 steps, and to read
    one."""
    larimar = Larimar()
    initial = torch.eye(count, 2 * count)
    z = unit_rows(count, 2 * count, "larimar")
    start = larimar.start(initial)
    old = historic_write(initial, z)
    larimar.write(start, z)  # M₀⁺ is computed once
    return {
        "exact write": least(lambda: larimar.write(start, z), rounds),
        "15 steps, write": least(lambda: historic_write(initial, z), rounds),
        "15 steps, read": least(lambda: historic_read(old, z[:1]), rounds),
    }


def alternatives(contexts: Sequence[int], counts: Sequence[int], rounds: int) -> dict[str, float]:
    """A causal transformer that reads its context anew, by tokens; Larimar's memory with as many
    slots as patterns."""
    causal = causal_baseline.load_causal()
    ids = torch.randint(5, 2000, (1, max(contexts)), generator=runtime.generator(0, "context"))
    passes = [causal_cost(causal, ids[:, :tokens], rounds) for tokens in contexts]
    print(f"\nwhat it stands beside{'':44}exponent")
    found = {}
    found["causal"] = measure.growth(
        "causal transformer, one pass over a context, tokens", contexts, passes
    )
    costs = [larimar_costs(count, rounds) for count in counts]
    for name in costs[0]:
        what = f"Larimar, K = E patterns of 2 E: {name}"
        found[name] = measure.growth(what, counts, [cost[name] for cost in costs])
    return found


def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    """Run it; the exponents by name."""
    args = measure.arguments(__doc__, argv)
    rounds = min(args.rounds, 3)
    if args.tiny:
        return (
            reading_growth((200, 600), 1)
            | rows((100, 400), 8, 1)
            | alternatives((64, 128), (8, 16), 1)
        )
    return (
        reading_growth((2048, 8192, 32768), rounds)
        | rows((10_000, 40_000, 160_000), 128, rounds)
        | alternatives((512, 1024, 2048, 4096, 8192), (64, 128, 256, 512), rounds)
    )


if __name__ == "__main__":
    main()
