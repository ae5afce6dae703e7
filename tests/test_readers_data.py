"""The three doors through which readers' data come: texts into a memory, record files, poem files.

Each test draws a thousand cases and knows which are well formed. Those are taken whole and right;
every other one is refused with one sentence that says where the fault is, and nothing is written.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memlab import results, weights
from memlab.corpora import poems
from memlab.decoder import OwnKeys, TextMemory, pretrained
from memlab.decoder.text_memory import token_ids
from memlab.results import Record

CASES = settings(max_examples=1000)
BLANK = st.sampled_from(["", " ", "\t", "\u3000", " \n "])
HALF = st.sampled_from(["\ud83d", "a \udc00 b", "\ud800"])  # half of a surrogate pair is no text
WORD = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=8)
MARK = st.sampled_from(["<eos>", "<pad>", "<sep>", "</s>", "<|endoftext|>", "[CLS]", "%s", "\\n"])
LINE = st.lists(st.one_of(WORD, WORD, MARK), min_size=1, max_size=5).map(" ".join)
NUMBER = st.one_of(st.integers(-9, 9), st.floats(-1e9, 1e9, allow_nan=False))
NO_TEXT: st.SearchStrategy[Any] = st.one_of(st.none(), st.integers(), st.lists(LINE, max_size=2))


def spaced(lines: list[bytes], gaps: list[int], end: bytes) -> bytes:
    """The lines of a file with empty ones between them, each with the same line end."""
    return b"".join(line + end * (1 + gap) for line, gap in zip(lines, gaps, strict=True))


@st.composite
def files(
    draw: st.DrawFn,
    row: st.SearchStrategy[Any],
    fault: st.SearchStrategy[bytes],
) -> tuple[list[Any], bytes, int]:
    """Rows, a file of them, and the number of its only faulty line (0: there is none)."""
    rows = draw(st.lists(row, min_size=1, max_size=4))
    as_escapes = draw(st.booleans())
    lines = [json.dumps(r, ensure_ascii=as_escapes).encode() for r in rows]
    place = draw(st.integers(0, len(lines))) if draw(st.booleans()) else -1
    if place >= 0:
        lines.insert(place, draw(fault))
    gaps = draw(st.lists(st.integers(0, 2), min_size=len(lines), max_size=len(lines)))
    end = draw(st.sampled_from([b"\n", b"\r\n"]))
    number = 1 + place + sum(gaps[:place]) if place >= 0 else 0
    return rows, spaced(lines, gaps, end), number


def one_sentence(raised: pytest.ExceptionInfo[ValueError], *named: str) -> None:
    """The error is one line that says what was expected or what is wrong, and names the place."""
    said = str(raised.value)
    assert "\n" not in said and len(said) < 400
    assert "expected" in said
    for name in named:
        assert name in said


def broken(row: dict[str, Any], **instead: Any) -> bytes:
    return json.dumps({**row, **instead}).encode()


POEM = st.fixed_dictionaries(
    {"author": LINE, "title": LINE, "text": st.lists(LINE, min_size=1, max_size=3).map("\n".join)},
    optional={"dynasty": st.one_of(st.just(""), LINE)},
)
NO_JSON = st.sampled_from([b"{", b"not json", b'{"author": "A"', b"\xff\xfe", b"[1, 2]", b"7"])
NO_POEM = st.one_of(
    NO_JSON,
    st.builds(
        lambda row, name, wrong: broken(row, **{name: wrong}),
        POEM,
        st.sampled_from(["author", "title", "text"]),
        st.one_of(BLANK, HALF, NO_TEXT),
    ),
)


@CASES
@given(case=files(POEM, NO_POEM), bom=st.booleans())
def test_poem_files(tmp_path_factory: pytest.TempPathFactory, case: Any, bom: bool) -> None:
    rows, data, fault = case
    path = tmp_path_factory.mktemp("poems") / "mine.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" * bom + data)
    if fault:
        with pytest.raises(ValueError, match=r"mine\.jsonl") as raised:
            poems.jsonl(path)
        one_sentence(raised, f"line {fault}")
        return
    read = poems.jsonl(path)
    assert [{"dynasty": "", **row} for row in rows] == [
        {name: asdict(poem)[name] for name in ("dynasty", "author", "title", "text")}
        for poem in read
    ]


RECORD = st.fixed_dictionaries(
    {
        "experiment": LINE,
        "model": LINE,
        "task": LINE,
        "metric": LINE,
        "value": NUMBER,
        "seed": st.integers(0, 9),
        "index": st.integers(0, 9),
        "meta": st.dictionaries(st.sampled_from("pqrs"), st.one_of(NUMBER, LINE), max_size=3),
    }
)
HEADER = st.sampled_from([{"provenance": {"commit": "x"}}, {"unit": "a"}, {"finished": {}}])
NO_RECORD = st.one_of(
    NO_JSON,
    st.builds(broken, RECORD, value=st.one_of(LINE, st.none())),
    st.builds(broken, RECORD, meta=st.one_of(LINE, st.integers(), st.none())),
    st.builds(broken, RECORD, unknown_field=LINE),
    st.just(b'{"experiment": "a"}'),
)


@CASES
@given(case=files(st.one_of(RECORD, HEADER), NO_RECORD))
def test_record_files(tmp_path_factory: pytest.TempPathFactory, case: Any) -> None:
    rows, data, fault = case
    path = tmp_path_factory.mktemp("records") / "mine.jsonl"
    path.write_bytes(data)
    if fault:
        with pytest.raises(ValueError, match=r"mine\.jsonl") as raised:
            results.load(path)
        one_sentence(raised, f"line {fault}")
    else:
        kept = [{**row, "value": float(row["value"])} for row in rows if "value" in row]
        wanted = results.frame(Record(**row) for row in kept)
        pd.testing.assert_frame_equal(results.load(path), wanted)
    assert path.read_bytes() == data


@pytest.fixture(scope="module")
def memory() -> TextMemory:
    model = pretrained.shipped()
    return TextMemory(model, OwnKeys(model))


TOO_LONG = WORD.map(lambda word: " ".join([word] * 80))
NO_LINE = st.one_of(BLANK, HALF, TOO_LONG)


@CASES
@given(texts=st.lists(LINE, min_size=1, max_size=3), wrong=st.one_of(st.none(), NO_LINE))
def test_texts_into_a_memory(memory: TextMemory, texts: list[str], wrong: Any) -> None:
    known = memory.write(memory.empty(), ["The kettle stands in the kitchen."])
    longest = memory.model.config.segment_tokens
    if wrong is not None:
        with pytest.raises(ValueError, match="expected") as raised:
            memory.write(known, [*texts, wrong])
        one_sentence(raised)
        assert len(known) == 1
        return
    ids = token_ids(texts)
    assert [weights.tokenizer().decode(row) for row in ids] == [f" {text}" for text in texts]
    if any(len(row) > longest for row in ids):
        with pytest.raises(ValueError, match="expected") as raised:
            memory.write(known, texts)
        one_sentence(raised)
        return
    state = memory.write(known, texts)
    _, rows = memory.address(state, texts)
    found = [["", *texts][int(row)] for row in rows[:, 0]]
    assert len(state) == 1 + len(texts)
    assert found == texts
