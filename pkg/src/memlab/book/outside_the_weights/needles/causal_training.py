"""The causal baseline while it learns and afterwards: its loss, and its recall by length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from transformers import PreTrainedTokenizerFast, Qwen2ForCausalLM

from memlab import evaluation
from memlab.corpora import needles
from memlab.corpora.tokenization import encoder
from memlab.models.causal_baseline import WINDOW, answer, variant
from memlab.results import Record
from memlab.training import Log


def is_right(fact: needles.Fact, output: str) -> bool:
    """Passkey: the output begins with the number as a whole. Needle: it has all content words of
    the answer."""
    if fact.kind == "passkey":
        return evaluation.contains_number(" ".join(output.split()[:1]).rstrip(".,"), fact.answer)
    return evaluation.content_words(output, fact.answer) == 1.0


def recall_by_length(
    model: Qwen2ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    lengths: Sequence[int],
    *,
    trials: int = 50,
    seed: int = 0,
    split: str = "test",
    name: str = "causal",
    kinds: Sequence[str] = needles.KINDS,
    source: str = "documentation",
) -> Iterator[Record]:
    """Recall of every trial (0 or 1), for needles also the share of words, on `tasks.tasks_for`
    prompts.

    `name` is "causal" (full attention), "causal-window" (sliding window of `WINDOW`), "causal-yarn"
    or "causal-linear" (positions scaled by length / `WINDOW`). Ten depths take turns: use multiples
    of ten.
    """
    encode, kind_of = encoder(tokenizer), name.partition("-")[2]
    if name not in ("causal", "causal-window", "causal-yarn", "causal-linear"):
        raise ValueError(
            f"unknown model {name!r}: expected causal, causal-window, -yarn or -linear"
        )
    for tokens in lengths:
        scaling, window = kind_of if kind_of in ("yarn", "linear") else None, kind_of == "window"
        used = variant(
            model, window=WINDOW if window else None, rope=scaling, factor=tokens / WINDOW
        )
        for kind in kinds:
            for trial in range(trials):
                prompt = needles.tasks_for(kind, tokens, trial, seed, split, encode, source=source)
                output = answer(used, prompt, tokenizer)
                meta = {
                    "tokens": tokens,
                    "depth": round(prompt.depth, 2),
                    "split": split,
                    "haystack": source,
                }
                right = float(is_right(prompt.fact, output))
                yield Record("causal-training", name, kind, "recall", right, seed, trial, meta)
                if kind == "needle":
                    words = evaluation.content_words(output, prompt.fact.answer)
                    yield Record("causal-training", name, kind, "words", words, seed, trial, meta)


def training_records(log: Log, seed: int) -> Iterator[Record]:
    """The rows of a training log as records: loss against step and wall seconds."""
    for row in log.rows:
        meta = {"step": int(row["step"]), "seconds": round(row["seconds"], 1)}
        yield Record(
            "causal-training", "causal", "episodes", "loss", round(row["loss"], 4), seed, 0, meta
        )
