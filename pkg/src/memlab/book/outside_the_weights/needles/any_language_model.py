"""Any causal language model as a reader of the needle tasks: it gets the prompt as plain text, in
its own tokens.

    reader = any_language_model.load("hub:owner/name")     # or a folder with a checkpoint
    reader.answer(prompt)      # None where the prompt is longer than its window

Nothing is trained and nothing is tuned: the text, the cue, and what the model goes on with.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import torch

from memlab import weights
from memlab.corpora.needles import Prompt
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
        inputs = self.tokenizer(as_text(prompt), return_tensors="pt")
        length = inputs["input_ids"].shape[1]
        if length + NEW > self.window:
            return None
        pad = self.tokenizer.eos_token_id
        if pad is None:
            pad = self.tokenizer.pad_token_id
        with torch.no_grad():
            out = self.model.generate(
                **inputs.to(self.model.device),
                do_sample=False,
                max_new_tokens=NEW,
                pad_token_id=pad,
            )
        return str(self.tokenizer.decode(out[0, length:], skip_special_tokens=True))


def as_text(prompt: Prompt) -> str:
    """The segments in reading order, a blank line, and the cue, which the answer continues."""
    tokenizer = weights.tokenizer()
    segments = tokenizer.batch_decode([list(segment) for segment in prompt.segments])
    text = "".join(segments).strip()
    cue = tokenizer.decode(list(prompt.cue)).strip()
    return f"{text}\n\n{cue}"


def load(name: str) -> TextReader:
    """The model of a folder, or of "hub:owner/name", which alone uses the network. ValueError for
    any other name."""
    model, tokenizer = checkpoints.load(name)
    window = getattr(model.config, "max_position_embeddings", None) or tokenizer.model_max_length
    return TextReader(model, tokenizer, int(window))


def named() -> TextReader | None:
    """The model that the environment names in MEMLAB_LLM, if it names one."""
    name = os.environ.get("MEMLAB_LLM")
    return load(name) if name else None
