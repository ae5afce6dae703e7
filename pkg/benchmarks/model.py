"""What the steps around the memory add: encode against the bare encoder, decode with a cache and
without.

python pkg/benchmarks/model.py            # about a minute on one core; the weights travel with the
                                          package
"""

from __future__ import annotations

from collections.abc import Sequence

import measure
import torch
from torch import Tensor

from memlab.book.outside_the_weights.needles import measure as needles_measure
from memlab.corpora import tokenization
from memlab.decoder import MemoryDecoder, pretrained, reading
from memlab.memories import KeyValue

Batch = tuple[Tensor, Tensor]
# Neither is written: both loops go on for as many tokens as they are asked for.
ENDS = [tokenization.EOS, tokenization.SEP]


def batches(segments: reading.Segments, size: int, *, by_length: bool) -> list[Batch]:
    """Token ids and masks of all segments, padded to the longest of each batch."""
    rows = sorted(segments, key=len) if by_length else list(segments)
    made = []
    for start in range(0, len(rows), size):
        some = rows[start : start + size]
        lengths = torch.tensor([len(segment) for segment in some])
        ids = torch.full((len(some), int(lengths.max())), tokenization.PAD)
        for row, segment in zip(ids, some, strict=True):
            row[: len(segment)] = torch.tensor(segment)
        mask = torch.arange(ids.shape[1]) < lengths[:, None]
        made.append((ids, mask.long()))
    return made


@torch.no_grad()
def bare(model: MemoryDecoder, made: list[Batch]) -> None:
    """The encoder alone, on batches that lie ready."""
    for ids, mask in made:
        with reading._fast(model):
            model.encode(ids, mask)


def encode(model: MemoryDecoder, length: int, rounds: int) -> dict[str, float]:
    """`reading.encode` and `reading.memorise` on real text of `length` tokens."""
    segments = needles_measure.haystack(length, 0).segments
    count = sum(map(len, segments))
    measure.heading(f"{count:,} tokens in {len(segments):,} segments", "reader", "encoder")
    ready = batches(segments, 256, by_length=True)
    unsorted = batches(segments, 256, by_length=False)
    found = {}
    found["encode"] = measure.compare(
        "encode: the bare encoder on batches that lie ready",
        lambda: reading.encode(model, segments),
        lambda: bare(model, ready),
        rounds=rounds,
    )
    measure.compare(
        "encode: the bare encoder, batches in reading order",
        lambda: reading.encode(model, segments),
        lambda: bare(model, unsorted),
        rounds=rounds,
    )
    measure.compare(
        "encode and write: encode",
        lambda: reading.memorise(model, segments),
        lambda: reading.encode(model, segments),
        rounds=rounds,
    )
    latents, keys = reading.encode(model, segments)
    memory = KeyValue()
    found["write"] = measure.compare(
        "write alone: encode",
        lambda: memory.write(memory.empty(keys.shape[1], latents.shape[1]), keys, latents),
        lambda: reading.encode(model, segments),
        rounds=rounds,
    )
    return found


@torch.no_grad()
def without_cache(model: MemoryDecoder, ids: Tensor, latents: Tensor, new: int) -> Tensor:
    """Greedy decoding that feeds prefix and text anew for every token (as Larimar's published
    sampler does)."""
    for _ in range(new):
        logits = model(ids, latents=latents).logits[:, -1]
        logits[:, ENDS] = -torch.inf
        ids = torch.cat([ids, logits.argmax(1, keepdim=True)], 1)
    return ids


def decode(model: MemoryDecoder, counts: Sequence[int], new: int, rounds: int) -> dict[str, float]:
    """`generate` of `new` tokens for some read-outs, with its cache of keys and values, and a loop
    without."""
    measure.heading(f"{new} new tokens behind the prefix and one token", "cache", "no cache")
    found = {}
    for count in counts:
        segments = needles_measure.haystack(4096, 0).segments[:count]
        latents, _ = reading.encode(model, segments)
        start = torch.full((count, 1), tokenization.BOS)

        def generate(latents: Tensor = latents, start: Tensor = start) -> Tensor:
            return model.generate(
                start,
                latents=latents,
                max_new_tokens=new,
                min_new_tokens=new,
                do_sample=False,
                pad_token_id=tokenization.EOS,
                eos_token_id=ENDS,
            )

        def loop(latents: Tensor = latents, start: Tensor = start) -> Tensor:
            return without_cache(model, start, latents, new)

        measure.agree("decoding without a cache", generate(), loop())
        found[f"decode {count}"] = measure.compare(
            f"{count} answers at a time", generate, loop, rounds=rounds
        )
    return found


def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    """Run it; the ratios by name."""
    args = measure.arguments(__doc__, argv)
    model = pretrained.shipped()
    if args.tiny:
        return encode(model, 300, 1) | decode(model, (1, 2), 3, 1)
    return encode(model, 16384, args.rounds) | decode(model, (1, 16), 48, args.rounds)


if __name__ == "__main__":
    main()
