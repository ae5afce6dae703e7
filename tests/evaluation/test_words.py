"""Words of any script, by tables and by what must hold for every text."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memlab import evaluation
from memlab.evaluation import words


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The old bridge, at night!", ["The", "old", "bridge", "at", "night"]),
        ("snake_case don't x2", ["snake", "case", "don't", "x2"]),
        ("दिल्ली नमस्ते", ["दिल्ली", "नमस्ते"]),
        ("明月 moon光", ["明", "月", "moon", "光"]),
        ("東京タワーへ", ["東", "京", "タワー", "へ"]),
        ("ข้าวผัด 2 จาน", ["ข้าวผัด", "2", "จาน"]),
        ("karo입니다", ["karo", "입니다"]),
        ("می\u200cخواهم", ["می\u200cخواهم"]),
        ("👩\u200d🚀 …", []),
        ("naïve Ærø Straße", ["naïve", "Ærø", "Straße"]),
        ("Việt Nam", ["Việt", "Nam"]),
    ],
)
def test_words_keep_their_marks(text: str, found: list[str]) -> None:
    assert words.words(words.readable(text)) == found


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("1,234,567 or 1.234.567", "1234567 or 1234567"),
        ("1,234,567.5 and 1.234.567,5", "1234567.5 and 1234567,5"),
        ("1'234'567, 1\u00a0234\u00a0567", "1234567, 1234567"),
        ("1,234,56", "1, 234, 56"),
        ("1234,567", "1234,567"),
        ("3,14 and 3.14", "3,14 and 3.14"),
        ("12345,67890", "12345, 67890"),
        ("0,123", "0,123"),
        ("12,345-6", "12345-6"),
        ("١٬٢٣٤٬٥٦٧٫٥", "1234567.5"),
        ("１２，３４", "12,34"),
        ("12，34", "12, 34"),
        ("192.168.0.1", "192.168.0.1"),
        ("1 234 567", "1 234 567"),
        ("x_1,234", "x_1234"),
        ("1,234km", "1234km"),
        ("是1,234", "是1234"),
        ("key-1,234", "key-1234"),
        ("1234'567 and 0.5'678", "1234'567 and 0.5'678"),
        ("是1'234'567", "是1234567"),
        # in words and compounds
        ("ab12,345f6", "ab12, 345f6"),
        ("n1,2,3", "n1, 2, 3"),
        ("12,345f6", "12, 345f6"),
        ("555-1234,555-9876", "555-1234, 555-9876"),
        ("12:30,14:45", "12:30, 14:45"),
        ("ab-12,345-cd", "ab-12, 345-cd"),
        ("v1.234.567", "v1.234.567"),
        ("1.234.567f8", "1.234.567f8"),
    ],
)
def test_numbers_are_spelled_in_one_way(text: str, spelled: str) -> None:
    assert evaluation.plain_numbers(text) == spelled


@given(st.text(max_size=30))
def test_spelling_is_settled_at_once_for_composed_and_decomposed_text(text: str) -> None:
    composed, decomposed = (unicodedata.normalize(form, text) for form in ("NFC", "NFD"))
    assert words.readable(composed) == words.readable(decomposed)
    for word in words.words(words.readable(text)):
        assert word.strip() == word != ""


@given(st.integers(0, 10**12), st.sampled_from("०٠๐၀０𝟎"))
def test_digits_of_every_script_are_the_same_number(number: int, zero: str) -> None:
    other = "".join(chr(ord(zero) + int(digit)) for digit in str(number))
    assert evaluation.contains_number(f"it is {other}.", str(number))
    assert evaluation.contains_number(f"it is {number:,}.", other)
    assert not evaluation.contains_number(f"it is {other}{zero}.", str(number))


@given(st.lists(st.uuids(), min_size=2, max_size=4, unique=True), st.sampled_from([",", ", "]))
def test_identifiers_of_a_list_are_found_with_or_without_blanks(found: list, comma: str) -> None:
    *said, missing = map(str, found)
    assert evaluation.value_recall(comma.join(said), said) == 1
    assert not evaluation.contains_value(comma.join(said), missing)


@given(st.lists(st.integers(1, 10**8), min_size=2, max_size=4), st.sampled_from("①¹™º②½"))
def test_marks_above_the_line_are_no_part_of_a_number(numbers: list[int], mark: str) -> None:
    said = " ".join(f"{number}{mark}" for number in numbers)
    assert evaluation.value_recall(said, [str(number) for number in numbers]) == 1
    assert evaluation.value_recall(said.replace(mark, f"{mark}karo{mark}"), ["karo"]) == 1


@given(
    st.sampled_from("karo 北京 กรุงเทพ 서울 दिल्ली すし 🍣 שלום".split()),
    st.sampled_from([("", ""), ("_", "_"), ("**", "**"), ("“", "”"), ("(", ").")]),
)
def test_a_value_is_found_however_it_is_set_off(value: str, around: tuple[str, str]) -> None:
    before, after = around
    assert evaluation.contains_value(f"x {before}{value}{after} y", value)
    assert evaluation.content_words(f"x {before}{value}{after} y", value) == 1
    assert not evaluation.contains_value("x y", value)
