"""The book's small tokenizer: byte-level BPE in which every digit is a token of its own, so that
numbers can be copied one digit at a time. It is trained on the same text as the models and travels
with their weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

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


def encoder(tokenizer: PreTrainedTokenizerFast) -> Callable[[Sequence[str]], list[list[int]]]:
    """A function from texts to lists of token ids without special tokens: what `corpora.needles`
    takes."""

    def encode(texts: Sequence[str]) -> list[list[int]]:
        return tokenizer(list(texts), add_special_tokens=False).input_ids if texts else []

    return encode


def until(ids: Sequence[int], marks: Sequence[int]) -> list[int]:
    """The ids before the first of the `marks`."""
    end = next((place for place, token in enumerate(ids) if token in marks), len(ids))
    return list(ids[:end])
