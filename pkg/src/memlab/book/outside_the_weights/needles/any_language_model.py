"""Any causal language model as a reader of the needle tasks: it gets the prompt as plain text, in
its own tokens.

    reader = any_language_model.load("hub:owner/name")     # or a folder with a checkpoint
    reader.answer(prompt)      # None where the prompt is longer than its window

Nothing is trained and nothing is tuned: the text, the cue, and what the model goes on with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from memlab import runtime, weights
from memlab.corpora import tokenization
from memlab.corpora.needles import Prompt
from memlab.evaluation import greedy
from memlab.models import checkpoints

NEW = 32  # tokens that an answer may have


@dataclass(frozen=True)
class TextReader:
    """A model with its tokenizer; `window` is the longest input that its config allows, in its own
    tokens."""

    model: Any
    tokenizer: Any
    window: int

    def answer(self, prompt: Prompt) -> str | None:
        """What the model writes greedily after text and cue; None if both and an answer do not fit
        into its window."""
        ids = self.ids(as_text(prompt))
        if len(ids) + NEW > self.window:
            return None
        ends = self._ends()
        asked = torch.tensor([ids], device=self.model.device)
        out = greedy(self.model, asked, new=NEW, end=ends or None, pad=ends[0] if ends else 0)
        said = self.tokenizer.decode(
            out[0, len(ids) :].tolist(),
            skip_special_tokens=True,
            clean_up_tokenization_spaces=False,
        )
        return str(said)

    def ids(self, text: str) -> list[int]:
        """A text to go on with, in the model's own tokens: behind the start mark, where the
        tokenizer sets one, and without an end mark, even where the tokenizer would set that."""
        (found,) = tokenization.encoder(self.tokenizer)([text])
        if not found:  # as where a checkpoint came without the files of its tokenizer
            raise ValueError(f"expected a tokenizer that knows words, got none for {text[:40]!r}")
        return [*tokenization.opening(self.tokenizer), *found]

    def _ends(self) -> list[int]:
        """The marks with which this model may end an answer, its tokenizer's first."""
        own = self.model.generation_config.eos_token_id
        marks = [self.tokenizer.eos_token_id, *(own if isinstance(own, list) else [own])]
        return list(dict.fromkeys(mark for mark in marks if mark is not None))


def as_text(prompt: Prompt) -> str:
    """The segments in reading order, a blank line, and the cue, which the answer continues."""
    decode = weights.tokenizer().decode
    # As a whole: a segment may end inside a character.
    text = str(decode([token for segment in prompt.segments for token in segment])).strip()
    cue = str(decode(list(prompt.cue))).strip()
    return f"{text}\n\n{cue}"


def load(name: str) -> TextReader:
    """The model of a folder, or of "hub:owner/name", which alone uses the network. ValueError for
    any other name."""
    model, tokenizer = checkpoints.load(name)
    config = model.config.get_text_config()
    window = getattr(config, "max_position_embeddings", None) or tokenizer.model_max_length
    return TextReader(model, tokenizer, int(window))


def named() -> TextReader | None:
    """The model that the environment names in MEMLAB_LLM, if it names one."""
    name = runtime.path_setting("MEMLAB_LLM")
    return load(name) if name else None
