"""Any causal language model as a reader of the needle tasks: it gets the prompt as plain text, in
its own tokens.

    reader = any_language_model.load("hub:owner/name")     # or a folder with a checkpoint
    reader.answer(prompt)      # None where the prompt is longer than its window
    reader.reply(prompt)       # the same text and a question, in the model's own form of a chat

Nothing is trained and nothing is tuned: the text, the cue, and what the model goes on with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from memlab import runtime, weights
from memlab.corpora import tokenization
from memlab.corpora.needles import Prompt
from memlab.evaluation import greedy_texts
from memlab.models import checkpoints

NEW = 32  # tokens that an answer may have
AT_ONCE = {"cpu": 16, "cuda": 128}  # prompts of similar length that are read together
BRIEFLY = "Answer with a few words."


@dataclass(frozen=True)
class TextReader:
    """A model with its tokenizer; `window` is the longest input that its config allows, in its own
    tokens."""

    model: Any
    tokenizer: Any
    window: int

    @property
    def chats(self) -> bool:
        """Whether the tokenizer says how this model wants to be asked."""
        return getattr(self.tokenizer, "chat_template", None) is not None

    def answer(self, prompt: Prompt) -> str | None:
        """What the model writes greedily after text and cue; None if both and an answer do not fit
        into its window."""
        return self.continued([self.ids(as_text(prompt))])[0]

    def reply(self, prompt: Prompt) -> str | None:
        """What it replies to the text and the question about it; None as in `answer`."""
        return self.continued([self.turn(as_request([_haystack(prompt)], prompt.fact.question))])[0]

    def continued(self, prompts: Sequence[Sequence[int]], new: int = NEW) -> list[str | None]:
        """What the model writes greedily behind each prompt, at most `new` tokens; None where
        prompt and answer do not fit into its window. Prompts of similar length are read
        together."""
        fitting = [at for at, ids in enumerate(prompts) if len(ids) + new <= self.window]
        texts = greedy_texts(
            self.model,
            self.tokenizer,
            [torch.tensor(prompts[at]) for at in fitting],
            new=new,
            ends=self._ends(),
            at_once=AT_ONCE.get(self.model.device.type, 1),
        )
        said: list[str | None] = [None] * len(prompts)
        for at, text in zip(fitting, texts, strict=True):
            said[at] = text
        return said

    def ids(self, text: str) -> list[int]:
        """A text to go on with, in the model's own tokens: behind the start mark, where the
        tokenizer sets one, and without an end mark, even where the tokenizer would set that."""
        (found,) = tokenization.encoder(self.tokenizer)([text])
        if not found:  # as where a checkpoint came without the files of its tokenizer
            raise ValueError(f"expected a tokenizer that knows words, got none for {text[:40]!r}")
        return [*tokenization.opening(self.tokenizer), *found]

    def turn(self, request: str) -> list[int]:
        """A request as this model wants to be asked: in its chat template, up to where its reply
        begins. Where the tokenizer has none, plain, with "Answer:" in a line of its own. Marks of
        the template that stand in the request are letters."""
        if not self.chats:
            return self.ids(f"{request}\nAnswer:")
        message = {"role": "user", "content": request}
        whole = self.tokenizer.apply_chat_template(
            [message], add_generation_prompt=True, tokenize=False
        )
        encode = partial(self.tokenizer, add_special_tokens=False, verbose=False)
        if not any(mark in request for mark in self.tokenizer.all_special_tokens):
            found: list[int] = encode(whole).input_ids
            return found
        before, _, behind = whole.partition(request)
        (letters,) = tokenization.encoder(self.tokenizer)([request])
        return [*encode(before).input_ids, *letters, *encode(behind).input_ids]

    def _ends(self) -> list[int]:
        """The marks with which this model may end an answer, its tokenizer's first."""
        own = self.model.generation_config.eos_token_id
        marks = [self.tokenizer.eos_token_id, *(own if isinstance(own, list) else [own])]
        return list(dict.fromkeys(mark for mark in marks if mark is not None))


def as_text(prompt: Prompt) -> str:
    """The segments in reading order, a blank line, and the cue, which the answer continues."""
    cue = str(weights.tokenizer().decode(list(prompt.cue))).strip()
    return f"{_haystack(prompt)}\n\n{cue}"


def _haystack(prompt: Prompt) -> str:
    """The segments in reading order, decoded as a whole: one may end inside a character."""
    tokens = [token for segment in prompt.segments for token in segment]
    return str(weights.tokenizer().decode(tokens)).strip()


def as_request(lines: Sequence[str], question: str) -> str:
    """Lines of text, if there are any, the question, and that a few words will do."""
    asked = f"Question: {question}\n{BRIEFLY}"
    return "\n".join(["Text:", *lines, "", asked]) if lines else asked


def load(name: str) -> TextReader:
    """The model of a folder, or of "hub:owner/name", which alone uses the network. ValueError for
    any other name."""
    return reader(*checkpoints.load(name))


def reader(model: Any, tokenizer: Any) -> TextReader:
    """A model that is there already, with the window that its config says."""
    config = model.config.get_text_config()
    window = getattr(config, "max_position_embeddings", None) or tokenizer.model_max_length
    return TextReader(model, tokenizer, int(window))


def named() -> TextReader | None:
    """The model that the environment names in MEMLAB_LLM, if it names one."""
    name = runtime.path_setting("MEMLAB_LLM")
    return load(name) if name else None
