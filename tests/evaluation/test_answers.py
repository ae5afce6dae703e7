"""Scorers of answers, by tables."""

from __future__ import annotations

import pytest

from memlab import evaluation


@pytest.mark.parametrize(
    ("answer", "target", "right"),
    [
        ("one two", "one two", True),
        (" one\n  two ", "one two", True),
        ("one\u3000two", "one two", True),
        ("One two", "one two", False),
        ("one two.", "one two", False),
        ("one", "one two", False),
        ("", "", True),
        ("ﬁsh", "fish", True),
        ("床前明月光，", "床前明月光，", True),
        ("床前明月光", "床前明月光，", False),
    ],
)
def test_exact(answer: str, target: str, right: bool) -> None:
    assert evaluation.exact(answer, target) is right


@pytest.mark.parametrize(
    ("answer", "target", "right"),
    [
        ("99123456799", "1234567", False),
        ("The pass key is 1234567.", "1234567", True),
        ("1234567", "1234567", True),
        ("1234567, I think", "1234567", True),
        ("(1234567)", "1234567", True),
        ("#1234567!", "1234567", True),
        ("11234567", "1234567", False),
        ("12345678", "1234567", False),
        ("A1234567", "1234567", False),
        ("1234567kg", "1234567", False),
        ("1234567_b", "1234567", False),
        ("1234567.5", "1234567", False),
        ("3.1234567", "1234567", False),
        ("1,234,567", "234", False),
        ("12 34567", "1234567", False),
        ("密码是1234567。", "1234567", True),
        ("１２３４５６７", "1234567", True),
        ("", "1234567", False),
        ("key-1234567", "1234567", True),
        ("007", "7", False),
        ("007", "007", True),
        ("it is 12.5.", "12.5", True),
        ("it is 12x5", "12.5", False),
        ("112.5", "12.5", False),
        ("12\n34", "34", True),
        (" 34 ", " 34 ", True),
    ],
)
def test_contains_number(answer: str, target: str, right: bool) -> None:
    assert evaluation.contains_number(answer, target) is right


@pytest.mark.parametrize(
    ("answer", "target", "right"),
    [
        ("It is karo.", "karo", True),
        ("KARO", "karo", True),
        ("karos", "karo", False),
        ("karo-2", "karo", False),
        ("a-karo", "karo", False),
        ("'karo'", "karo", True),
        ("kar o", "karo", False),
        ("karo_1", "karo", False),
        ("WNXPY, CBMBE", "CBMBE", True),
        ("WNXPYCBMBE", "CBMBE", False),
        ("", "karo", False),
        ("x 12345", "1234", False),
        ("5d302e5f-611e-4d9e-b54e-0d8688e3fe50", "5d302e5f-611e-4d9e-b54e-0d8688e3fe50", True),
        ("15d302e5f-611e-4d9e-b54e-0d8688e3fe50", "5d302e5f-611e-4d9e-b54e-0d8688e3fe50", False),
        ("5d302e5f-611e-4d9e-b54e-0d8688e3fe50-9", "5d302e5f-611e-4d9e-b54e-0d8688e3fe50", False),
        ("1.5", "5", False),
        ("a.b", "a.b", True),
        ("axb", "a.b", False),
    ],
)
def test_contains_value(answer: str, target: str, right: bool) -> None:
    assert evaluation.contains_value(answer, target) is right


@pytest.mark.parametrize(
    ("answer", "targets", "share"),
    [
        ("12, 34 and 56", ("12", "34", "56"), 1.0),
        ("12 and 345", ("12", "34"), 0.5),
        ("nothing", ("12",), 0.0),
        ("karo; 12", ("KARO", "12", "99"), 2 / 3),
        ("", (), 1.0),
        ("...", (), 1.0),
        ("None.", (), 1.0),
        ("The text does not say which.", (), 1.0),
        ("none of them is 12", (), 0.0),
        ("Nonesuch", (), 0.0),
        ("nothing but 12", (), 0.0),
        ("I do not know!", (), 1.0),
        ("12", (), 0.0),
    ],
)
def test_value_recall(answer: str, targets: tuple[str, ...], share: float) -> None:
    assert evaluation.value_recall(answer, targets) == pytest.approx(share)


def test_a_value_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a value as target, got ' '"):
        evaluation.contains_value("x", " ")


@pytest.mark.parametrize("target", ["", "seven", "12a", "-", "1.", "1 2"])
def test_a_target_that_is_no_number_is_refused(target: str) -> None:
    with pytest.raises(ValueError, match="expected digits"):
        evaluation.contains_number("1 2", target)


@pytest.mark.parametrize(
    ("answer", "target", "share"),
    [
        ("Sit in the park on a sunny day", "sit in the park", 1.0),
        ("sit", "sit in the park", 0.5),
        ("PARK, SIT!", "sit in the park", 1.0),
        ("parking sitting", "sit in the park", 0.0),
        ("", "park", 0.0),
        ("the of in", "sit in the park", 0.0),
        ("the", "the", 1.0),
        ("who is it", "it", 1.0),
        ("plum plum plum", "plum pear plum", 0.5),
        ("don't go", "don’t", 0.0),
        ("don't go", "don't", 1.0),
        ("明月", "床前明月", 0.5),
        ("the river 12", "river 12 boats", 2 / 3),
    ],
)
def test_content_words(answer: str, target: str, share: float) -> None:
    assert evaluation.content_words(answer, target) == pytest.approx(share)


def test_a_target_without_words_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one word"):
        evaluation.content_words("anything", " …!")


@pytest.mark.parametrize(
    ("answer", "target", "share"),
    [
        ("abcd", "abcd", 1.0),
        ("abxd", "abcd", 0.75),
        ("abcd!", "abcd", 0.8),
        ("ab", "abcd", 0.5),
        ("", "ab", 0.0),
        ("", "", 1.0),
        ("bcd", "abcd", 0.0),
        ("ab  cd", "ab cd", 1.0),
    ],
)
def test_char_accuracy(answer: str, target: str, share: float) -> None:
    assert evaluation.char_accuracy(answer, target) == pytest.approx(share)


def test_memory_ability_is_the_share_of_whole_poems() -> None:
    assert evaluation.memory_ability(["a b", "a c", "a  b", ""], ["a b"] * 4) == 0.5
    for answers, targets in ((["a"], ["a", "b"]), ([], [])):
        with pytest.raises(ValueError, match="one answer a target"):
            evaluation.memory_ability(answers, targets)
