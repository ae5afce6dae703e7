"""Scorers of answers, by tables."""

from __future__ import annotations

import pytest

from memlab import evaluation

NUMBER_LAST = "1a2b3c4d-0000-4000-8000-00000000ab12"
NUMBER_FIRST = "345f0000-1111-4111-8111-0000000000aa"


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
        ("cafe\u0301", "caf\u00e9", True),
        ("नमस्ते", "नमसते", False),
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
        # lists
        ("1234567,7654321", "1234567", True),
        ("1234567,7654321", "7654321", True),
        ("12,34,56", "34", True),
        ("12,34,56", "5", False),
        ("1234567;7654321/99", "7654321", True),
        ("密码是1234567，7654321。", "7654321", True),
        # decimals
        ("3,5", "5", False),
        ("3,5", "3,5", True),
        ("0,12345", "12345", False),
        ("3,5kg", "3", False),
        # one number, or a list of numbers with three digits
        ("123,456,789", "123456789", True),
        ("123,456,789", "123", True),
        ("123,456,789", "456", True),
        ("123,456,789", "789", True),
        ("１２３，４５６", "456", True),
        ("007,008", "008", True),
        ("是123,456。", "456", True),
        ("123,456,789", "45", False),
        ("123,456,789", "123456", False),
        ("123,456.5", "123", False),
        ("12,345", "345", False),
        ("a123,456", "123", False),
        # raised and circled
        ("①12345 ②67890", "12345", True),
        ("①12345 ②67890", "67890", True),
        ("①②", "2", True),
        ("12345º", "12345", True),
        ("12345¹²", "12345", True),
        ("12345₂", "12345", True),
        ("12345¹²", "12", True),
        ("the code is ①2345", "12345", False),
        ("12345¹²", "123451", False),
        ("5½", "51", False),
        ("1234567¹", "1234567", True),
        # thousands
        ("1,234,567", "1234567", True),
        ("1,234", "1234", True),
        ("1234", "1,234", True),
        ("1,234,567.89", "1234567.89", True),
        ("1,234,567", "567", False),
        ("1.234.567", "1234567", True),
        ("1.234", "1234", False),
        ("1’234’567", "1234567", True),
        ("1\u202f234\u202f567", "1234567", True),
        ("0,123", "123", False),
        # digits of other scripts
        ("कुंजी १२३४५६७ है", "1234567", True),
        ("المفتاح ١٢٣٤٥٦٧", "1234567", True),
        ("๑๒๓๔๕๖๗", "1234567", True),
        ("1234567", "१२३४५६७", True),
        ("١٢٫٥", "12.5", True),
        ("１，２３４，５６７", "1234567", True),
        ("१२३४५६७८", "1234567", False),
        # what may stand beside a number
        ("_1234567_", "1234567", True),
        ("**1234567**", "1234567", True),
        ("`1234567`", "1234567", True),
        ("№1234567", "1234567", True),
        ("1234567입니다", "1234567", True),
        ("1234567です", "1234567", True),
        ("1234567км", "1234567", False),
        ("a_1234567", "1234567", False),
        ("7️⃣", "7", True),
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
        # scripts without blanks
        ("我住在北京。", "北京", True),
        ("答案是karo。", "karo", True),
        ("我住在南京。", "北京", False),
        ("東京に住んでいます", "東京", True),
        ("すしを食べる", "すし", True),
        ("カロリー", "カロ", False),
        ("カロさん", "カロ", True),
        ("ฉันอยู่ที่กรุงเทพ", "กรุงเทพ", True),
        ("ខ្ញុំនៅភ្នំពេញ", "ភ្នំពេញ", True),
        ("저는 서울에 삽니다", "서울", True),
        ("남서울", "서울", False),
        ("정답은 karo입니다", "karo", True),
        # combining marks
        ("यह कि है", "क", False),
        ("क्ष", "ष", False),
        ("यह दिल्ली है।", "दिल्ली", True),
        ("दिल्लीवाला", "दिल्ली", False),
        ("cafe\u0301", "cafe", False),
        ("caf\u00e9", "cafe\u0301", True),
        ("กิน", "ก", False),
        # points that are as often left out
        ("שָׁלוֹם לך", "שלום", True),
        ("شاهد كَتَبَ", "كتب", True),
        ("שלומי", "שלום", False),
        ("کتاب\u200cها", "کتاب", False),
        # apostrophes, hyphens, Markdown, what cannot be seen
        ("d’Artagnan", "d'artagnan", True),
        ("5d302e5f‑611e‑4d9e‑b54e‑0d8688e3fe50", "5d302e5f-611e-4d9e-b54e-0d8688e3fe50", True),
        ("karo–2", "karo", False),
        ("karo — the second", "karo", True),
        ("-karo", "karo", True),
        ("_karo_", "karo", True),
        ("__karo__.", "karo", True),
        ("**karo**", "karo", True),
        ("`karo`", "karo", True),
        ("“karo”", "karo", True),
        ("my_karo_", "karo", False),
        ("**San** Francisco", "San Francisco", True),
        ("_San_ Francisco", "San Francisco", True),
        ("karo¹", "karo", True),
        ("karo™", "karo", True),
        ("karo℠", "karo", True),
        ("karoª", "karo", True),
        ("karo①", "karo", True),
        ("①karo", "karo", True),
        ("Ⓐkaro", "karo", True),
        ("karo¹", "karo¹", True),
        ("H₂O", "H2O", True),
        ("C₁₂H₂₂O₁₁", "C12H22O11", True),
        ("karo₁", "karo", False),
        ("5㎏", "5 kg", False),
        ("5㎏", "5kg", True),
        ("call ``f(x) + 1``", "``f(x)", True),
        ("ka\u00adro", "karo", True),
        ("\ufeffkaro", "karo", True),
        # compounds with digits in lists without blanks
        ("ab12,345f6", "ab12", True),
        ("ab12,345f6", "345f6", True),
        ("ab12,345f6", "12345", False),
        ("ab12,3456", "ab12", True),
        ("2024-01-02,2024-01-03", "2024-01-03", True),
        ("555-1234,555-9876", "555-9876", True),
        ("1,234 km", "1234 km", True),
        ("room 7,5", "room 7", False),
        ("room7.5", "room7", False),
        # emoji
        ("eat 🍣 today", "🍣", True),
        ("sushi🍣", "🍣", True),
        ("👩\u200d🚀", "👩", False),
        ("👍🏽", "👍", False),
        ("❤️", "❤", True),
        ("🇦🇹🇩🇪", "🇹🇩", False),
        ("🇦🇹🇩🇪", "🇩🇪", True),
        # numbers that are parts of values
        ("room 7.5", "room 7", False),
        ("room ７", "room 7", True),
        ("−5 °C", "-5", True),
        ("-5.3", "-5", False),
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
        ("答案是北京和上海。", ("北京", "上海"), 1.0),
        (f"{NUMBER_LAST},{NUMBER_FIRST}", (NUMBER_LAST, NUMBER_FIRST), 1.0),
        (f"{NUMBER_FIRST},{NUMBER_LAST}", (NUMBER_LAST, NUMBER_FIRST), 1.0),
        (f"{NUMBER_LAST},{NUMBER_FIRST}", (NUMBER_LAST[:-2], NUMBER_FIRST[3:]), 0.0),
        ("I do not know, maybe 12345", (), 0.0),
        ("I do not know, maybe 12345", ("12345",), 1.0),
        ("I don’t know.", (), 1.0),
        ("I don’t know.", ("12345",), 0.0),
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
        ("don't go", "don’t", 1.0),
        ("don't go", "don't", 1.0),
        ("don't go", "don", 0.0),
        ("I can't", "can", 0.0),
        ("It is Anna's.", "Anna", 1.0),
        ("It is Anna’s.", "Anna’s", 1.0),
        ("It is Anna.", "Anna's", 0.0),
        ("Bananas", "Anna", 0.0),
        ("l’eau", "eau", 1.0),
        ("they've", "ve", 0.0),
        ("Anna's", "s", 0.0),
        ("明月", "床前明月", 0.5),
        ("the river 12", "river 12 boats", 2 / 3),
        ("मेरा दिल", "दिल्ली", 0.0),
        ("मैं दिल्ली में हूँ", "दिल्ली", 1.0),
        ("ฉันอยู่ที่กรุงเทพ", "กรุงเทพ", 1.0),
        ("すしを食べる", "すし", 1.0),
        ("서울은 크다", "서울", 1.0),
        ("cafe\u0301 noir", "café noir", 1.0),
        ("שָׁלוֹם", "שלום", 1.0),
        ("１２ boats", "12 boats", 1.0),
        ("1,234 boats", "1234 boats", 1.0),
        ("eat 🍣", "🍣", 1.0),
        ("eat", "🍣", 0.0),
        ("sushi", "sushi 🍣", 1.0),
        ("👩\u200d🚀", "👩", 0.0),
        ("𠮷野家", "𠮷", 1.0),
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
