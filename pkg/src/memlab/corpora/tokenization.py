"""The book's small tokenizer: byte-level BPE in which every digit is a token of its own, so that
numbers can be copied one digit at a time. It is trained on the same text as the models and travels
with their weights. And texts in tokens of any tokenizer, where every text is text: `<eos>` in a
sentence is letters and not the mark."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

PAD = 0
BOS = 1
EOS = 2
SEP = 3
SPECIAL = ("<pad>", "<bos>", "<eos>", "<sep>")


def train_tokenizer(sentences: Iterable[str], vocabulary: int = 2048) -> PreTrainedTokenizerFast:
    """A tokenizer of `vocabulary` entries trained on `sentences`; every byte string can be encoded
    and decoded."""
    if vocabulary < 256 + len(SPECIAL):
        raise ValueError(
            f"expected a vocabulary of at least {256 + len(SPECIAL)} (all bytes), got {vocabulary}"
        )
    core = Tokenizer(models.BPE())
    digits = pre_tokenizers.Digits(individual_digits=True)
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [digits, pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    core.decoder = decoders.ByteLevel()
    core.train_from_iterator(
        sentences,
        trainers.BpeTrainer(
            vocab_size=vocabulary,
            special_tokens=list(SPECIAL),
            show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        ),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        sep_token="<sep>",
        clean_up_tokenization_spaces=False,
    )


@dataclass(frozen=True, eq=False)
class TextEncoder:
    """Texts → lists of token ids without special tokens: what `corpora.needles` takes.

    Marks of the tokenizer that stand in a text, such as `</s>`, are letters. ValueError for what is
    no text.
    """

    tokenizer: Any

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        """The token ids of each text, in order."""
        check(texts)
        if not texts:
            return []
        found: list[list[int]] = self.tokenizer(
            list(texts), add_special_tokens=False, split_special_tokens=True, verbose=False
        ).input_ids
        for row, text in enumerate(texts):
            if self._read_as_mark(text, found[row]):
                found[row] = self._spelt(text)
        return found

    def _read_as_mark(self, text: str, ids: Sequence[int]) -> bool:
        return any(mark in text and number in ids for mark, number in self._marks.items())

    def _spelt(self, text: str) -> list[int]:
        """The ids of a text whose marks the tokenizer itself does not take for letters."""
        fast = getattr(self.tokenizer, "is_fast", False)
        ids = self._without_marks.encode(text, add_special_tokens=False).ids if fast else []
        if not ids or self._read_as_mark(text, ids):
            raise ValueError(
                f"expected a tokenizer that spells {', '.join(sorted(self._marks))} in letters, got"
                f" {type(self.tokenizer).__name__}, which takes them for its marks in {text[:40]!r}"
            )
        return ids

    @cached_property
    def _marks(self) -> dict[str, int]:
        """The marks and their ids. A mark such as "!" or an empty line is text as well, and the one
        for what is unknown may stand for anything."""
        names = set(self.tokenizer.all_special_tokens) - {self.tokenizer.unk_token}
        own = [name for name in names if len(name) > 2 and name[0] in "<[" and name[-1] in ">]"]
        return {name: int(self.tokenizer.convert_tokens_to_ids(name)) for name in own}

    @cached_property
    def _without_marks(self) -> Tokenizer:
        return without_marks(self.tokenizer, self._marks)

    @cached_property
    def inside(self) -> frozenset[int]:
        """The tokens of a byte-level tokenizer that begin inside a character: no text may be cut
        before one."""
        core = getattr(self.tokenizer, "backend_tokenizer", None)
        if core is None or not isinstance(core.decoder, decoders.ByteLevel):
            return frozenset()
        spell = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str
        # U+0080 to U+00BF are two bytes each, of which the second takes all values that go on with
        # a character.
        continuing = {spell(chr(code))[0][0][1] for code in range(0x80, 0xC0)}
        vocabulary = self.tokenizer.get_vocab()
        return frozenset(i for entry, i in vocabulary.items() if entry[:1] in continuing)


def encoder(tokenizer: Any) -> TextEncoder:
    """A function from texts to lists of token ids without special tokens, for any tokenizer."""
    return TextEncoder(tokenizer)


def without_marks(tokenizer: Any, marks: Collection[str]) -> Tokenizer:
    """The same tokenizer with marks that no text holds; it cuts nothing off and fills nothing up.

    Some models (Unigram, whole words) find a mark among their words even where it is not looked
    for as a mark; renamed, it keeps its number and is not found.
    """
    core = json.loads(tokenizer.backend_tokenizer.to_str())

    def renamed(entry: str) -> str:
        return "\ufffe" + entry if entry in marks else entry

    words = core["model"]["vocab"]
    if isinstance(words, dict):
        core["model"]["vocab"] = {renamed(entry): i for entry, i in words.items()}
    else:
        core["model"]["vocab"] = [[renamed(entry), score] for entry, score in words]
    for added in core["added_tokens"]:
        added["content"] = renamed(added["content"])
    return Tokenizer.from_str(json.dumps(core | {"truncation": None, "padding": None}))


def check(texts: Sequence[str]) -> None:
    """ValueError if these are not several texts, or one of them is none: not a string, or with half
    a character in it (a lone surrogate, which UTF-8 cannot write)."""
    if isinstance(texts, str | bytes | Mapping) or not hasattr(texts, "__getitem__"):
        raise ValueError(f"expected a sequence of texts, got {type(texts).__name__} {texts!r:.40}")
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(f"expected texts, got {type(text).__name__} as text {number}")
        try:
            text.encode()
        except UnicodeEncodeError as problem:
            raise ValueError(
                f"expected text that UTF-8 can write, got {text[problem.start]!r} in text {number}"
            ) from problem


def is_blank(text: str) -> bool:
    """Whether nothing in a text can be seen: it is empty, or all white space and invisible
    signs."""
    kinds = map(unicodedata.category, text)
    return all(kind[0] == "Z" or kind in ("Cc", "Cf") for kind in kinds)


def opening(tokenizer: Any) -> list[int]:
    """The special tokens that a tokenizer puts in front of a text, such as its start mark; not
    those that it puts behind."""
    alone = tokenizer("a", add_special_tokens=False).input_ids
    marked = tokenizer("a").input_ids
    starts = range(len(marked) - len(alone) + 1)
    return next((marked[:at] for at in starts if marked[at : at + len(alone)] == alone), [])


def until(ids: Sequence[int], marks: Sequence[int]) -> list[int]:
    """The ids before the first of the `marks`."""
    end = next((place for place, token in enumerate(ids) if token in marks), len(ids))
    return list(ids[:end])
