"""How costs grow: exponents p of cost ~ size^p, for every step with a memory and for what it stands
beside.

    python pkg/benchmarks/growth.py            # about two minutes on one core, 1 GB

Each number is the slope of a line through log cost over log size, the cost being the least of some
CPU times; a step with a fixed part has a smaller exponent at small sizes than in the end.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence

import measure
import torch
import torch.nn.functional as F

from memlab import runtime
from memlab.book.outside_the_weights.needles import measure as needles_measure
from memlab.decoder import pretrained, reading
from memlab.memories import KeyValue, Larimar, RowFolder
from memlab.models import causal_baseline
from memories import historic_read, historic_write


def least(task: Callable[[], object], rounds: int) -> float:
    """The least CPU seconds of some calls."""
    return min(measure.seconds(task) for _ in range(rounds))


def reading_growth(lengths: Sequence[int], rounds: int) -> dict[str, float]:
    """Real text: encode, write, look one cue up, and the bytes, by tokens."""
    model, memory = pretrained.shipped(), KeyValue()
    costs: dict[str, list[float]] = {"encode": [], "write": [], "read": [], "bytes": []}
    for length in lengths:
        segments = needles_measure.haystack(length, 0).segments
        latents, keys = reading.encode(model, segments)
        empty = memory.empty(keys.shape[1], latents.shape[1], capacity=len(keys))
        state = memory.write(empty, keys, latents)
        for name, task in (
            ("encode", lambda s=segments: reading.encode(model, s)),
            (
                "write",
                lambda k=keys, z=latents: memory.write(
                    memory.empty(k.shape[1], z.shape[1], capacity=len(k)), k, z
                ),
            ),
            ("read", lambda s=state, k=keys: memory.read(s, k[:1])),
        ):
            costs[name].append(least(task, rounds))
        costs["bytes"].append(state.nbytes)
    print(f"\nthe memory decoder, tokens of text{'':31}exponent")
    return {
        name: measure.growth(name, lengths, cost, "B" if name == "bytes" else "s")
        for name, cost in costs.items()
    }


def rows(counts: Sequence[int], width: int, rounds: int) -> dict[str, float]:
    """The memory alone, by rows: write into RAM and into files, read from each."""
    memory, costs = KeyValue(), {"RAM": [], "files": [], "read from RAM": [], "read from files": []}
    for count in counts:
        keys = F.normalize(
            torch.randn(count, width, generator=runtime.generator(0, "growth", count)), dim=1
        )
        with tempfile.TemporaryDirectory() as place:
            with RowFolder.create(place, width, width) as folder:
                costs["files"].append(measure.seconds(lambda f=folder, k=keys: f.write(k, k)))
            there, state = (
                RowFolder.read(place),
                memory.write(memory.empty(width, width), keys, keys),
            )
            for name, task in (
                ("RAM", lambda k=keys: memory.write(memory.empty(width, width), k, k)),
                ("read from RAM", lambda s=state, k=keys: memory.read(s, k[:1])),
                ("read from files", lambda s=there, k=keys: memory.read(s, k[:1])),
            ):
                costs[name].append(least(task, rounds))
    print(f"\nexact key–value slots of {width}, rows{'':30}exponent")
    return {name: measure.growth(name, counts, cost) for name, cost in costs.items()}


def alternatives(contexts: Sequence[int], counts: Sequence[int], rounds: int) -> dict[str, float]:
    """A causal transformer that reads its context anew, by tokens; Larimar's memory with as many
    slots as patterns."""
    causal, larimar, found = causal_baseline.load_causal(), Larimar(), {}
    ids = torch.randint(5, 2000, (1, max(contexts)), generator=runtime.generator(0, "context"))
    with torch.no_grad():
        costs = [
            least(
                lambda n=n: causal(input_ids=ids[:, :n], use_cache=False, logits_to_keep=1), rounds
            )
            for n in contexts
        ]
    print(f"\nwhat it stands beside{'':44}exponent")
    found["causal"] = measure.growth(
        "causal transformer, one pass over a context, tokens", contexts, costs
    )
    costs_by_name: dict[str, list[float]] = {
        "exact write": [],
        "15 steps, write": [],
        "15 steps, read": [],
    }
    for count in counts:
        initial = torch.eye(count, 2 * count)
        z = F.normalize(
            torch.randn(count, 2 * count, generator=runtime.generator(0, "larimar", count)), dim=1
        )
        start, old = larimar.start(initial), historic_write(initial, z)
        larimar.write(start, z)  # M₀⁺ is computed once
        for name, task in (
            ("exact write", lambda s=start, z=z: larimar.write(s, z)),
            ("15 steps, write", lambda m=initial, z=z: historic_write(m, z)),
            ("15 steps, read", lambda m=old, z=z: historic_read(m, z[:1])),
        ):
            costs_by_name[name].append(least(task, rounds))
    for name, cost in costs_by_name.items():
        found[name] = measure.growth(f"Larimar, K = E patterns of 2 E: {name}", counts, cost)
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
