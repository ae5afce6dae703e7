"""What a word is, in any script, and whether a text holds it as a whole.

Text is compared as `readable` has it: one spelling for what a reader takes for the same. Combining
marks belong to the letter that they stand on. Chinese, Japanese, Thai, Lao, Khmer and Burmese are
written without blanks, so a word may begin and end anywhere in them; Korean words begin where a
reader sees it, and end anywhere, since particles are written on to them.
"""

from __future__ import annotations

import unicodedata

import regex

from memlab.corpora import spelling

_UNSPACED = r"\p{Han}\p{Hiragana}\p{Line_Break=SA}"  # SA: Thai, Lao, Khmer, Burmese and kin
_KATAKANA = r"\p{Katakana}ー"
_APART = rf"[{_UNSPACED}{_KATAKANA}\p{{Hangul}}]"
# A letter, digit or mark of the scripts with blanks; the joiners hold Persian words together.
_FIRST = rf"[[\p{{L}}\p{{N}}]--{_APART}]"
_ALPHA = rf"[[\p{{L}}\p{{M}}]--{_APART}]"
LETTER = rf"[[\p{{L}}\p{{M}}\p{{N}}\u200c\u200d]--{_APART}]"
_WORD = regex.compile(
    r"\p{Han}\p{M}*"
    r"|[\p{Hiragana}\p{Line_Break=SA}][\p{Hiragana}\p{Line_Break=SA}\p{M}ー]*"
    r"|\p{Katakana}[\p{Katakana}\p{M}ー]*"
    r"|\p{Hangul}[\p{Hangul}\p{M}]*"
    rf"|{_FIRST}{LETTER}*(?:'{_FIRST}{LETTER}*)*",
    regex.V1,
)
_GLUED = regex.compile(r"[\p{Hiragana}\p{Line_Break=SA}\p{Hangul}]", regex.V1)
_FREE = regex.compile(rf"[{_UNSPACED}\p{{So}}\U0001f3fb-\U0001f3ff]", regex.V1)
_IN_KATAKANA = regex.compile(rf"[{_KATAKANA}]", regex.V1)
_IN_HANGUL = regex.compile(r"\p{Hangul}")
_SYMBOL = regex.compile(r"\p{S}")
_ENDINGS = {"ll", "re", "ve"}

_SPELLING = str.maketrans(
    {
        **dict.fromkeys("’‘ʼ′´", "'"),
        **dict.fromkeys("‐‑‒–−־", "-"),
        "№": "No ",
    }
)
_MARKED = regex.compile(r"(?<![\w*`~])(_{1,3}|[*`~]{1,3})(?=\S)(.+?)(?<=\S)\1(?![\w*`~])")

# ---- numbers -------------------------------------------------------------------------------------

_FULL_COMMA = regex.compile(r"(?<![０-９])，|，(?![０-９])")
_FULL_POINT = regex.compile(r"(?<=[０-９])．(?=[０-９])")
_LOWERED = regex.compile(r"(?<=\p{Nd})(?=\p{dt=sub})")
# Commas between words and compounds with digits in them: ab12,345f6 and 555-1234,555-9876.
_OF_A_LIST = regex.compile(
    rf"(?<={_ALPHA})\d++(?:,\d++)+"
    rf"|(?<=\d),(?=\d++{_ALPHA}++(?:\d|-{LETTER}))"
    rf"|(?<={LETTER}[-:])\d++,(?=\d++[-:]{LETTER})",
    regex.V1,
)
_THREES = regex.compile(
    rf"(?<!{LETTER}|\d[.,，])\d{{3}}(?:[,，]\d{{3}})+(?!{LETTER}|[.,，]\d)", regex.V1
)
_GAPS = regex.compile(
    rf"(?<!{LETTER}|\d[.,])[1-9]\d{{0,2}}(['’\u00a0\u2009\u202f])\d{{3}}(?:\1\d{{3}})*(?!\d)",
    regex.V1,
)
_JOINED = regex.compile(rf"(?<!{LETTER}|\d[.,])\d++(?:[.,]\d++)++(?!{_ALPHA}+\d)", regex.V1)
_BY_COMMAS = regex.compile(r"[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?")
_BY_POINTS = regex.compile(r"[1-9]\d{0,2}(?:\.\d{3}){2,}(?:,\d+)?")


def plain_numbers(text: str) -> str:
    """The text with its numbers as 1234567.5: digits of any script in ASCII, no separators of
    thousands, a blank behind the commas of a list.

    Groups of three digits are thousands where commas, apostrophes or narrow blanks part them, or
    points at least twice: 1,234 and 1.234.567 are, 1.234 is not. Another single comma with up to
    three digits behind it is a decimal comma (3,5), and so is one behind a zero; all others part
    numbers (1234567,7654321), and so do those beside a word or compound with digits in it
    (ab12,345f6).
    """
    if not text.isascii():
        text = _FULL_POINT.sub(".", _FULL_COMMA.sub(", ", text)).replace("，", ",")
        text = text.translate({ord("٫"): ".", ord("٬"): ","})
        text = regex.sub(r"\p{Nd}", lambda digit: str(unicodedata.decimal(digit[0])), text)
    text = _GAPS.sub(lambda number: number[0].replace(number[1], ""), _parted(text))
    return _JOINED.sub(lambda number: _one_spelling(number[0]), text)


def _parted(text: str) -> str:
    return _OF_A_LIST.sub(lambda found: found[0].replace(",", ", "), text)


def listed_threes(text: str) -> str:
    """The text with blanks behind the commas of 123,456,789: the other reading of what may be one
    number or a list of numbers of three digits."""
    return _THREES.sub(lambda numbers: regex.sub("[,，]", ", ", numbers[0]), text)


def _one_spelling(number: str) -> str:
    if _BY_COMMAS.fullmatch(number):
        return number.replace(",", "")
    if _BY_POINTS.fullmatch(number):
        return number.replace(".", "")
    first, *rest = number.split(",")
    if len(rest) == 1 and (len(rest[0]) <= 3 or first == "0"):
        return number
    return number.replace(",", ", ")


# ---- words ---------------------------------------------------------------------------------------


def readable(text: str) -> str:
    """One spelling of a text: compatible forms composed (NFKC), `plain_numbers`, straight
    apostrophes and hyphens, blanks around what is raised or circled (karo¹, ①), nothing that cannot
    be seen, single blanks."""
    text = _LOWERED.sub(" ", spelling.RAISED.sub(r" \g<0> ", text))
    text = plain_numbers(text).translate(_SPELLING)
    text = spelling.UNSEEN.sub("", unicodedata.normalize("NFKC", text))
    return " ".join(text.split())


def without_markdown(text: str) -> str:
    """The text without the marks that set words off in Markdown: `x`, *x*, **x**, _x_, ~~x~~."""
    return _MARKED.sub(r"\2", text)


def words(text: str) -> list[str]:
    """The words of a readable text, without punctuation: a Chinese character each, a line of other
    scripts without blanks as a whole."""
    found: list[str] = _WORD.findall(text)
    return found


def parts(word: str) -> set[str]:
    """The words that an apostrophe joins, without endings of English: Anna in Anna's, eau in l'eau;
    none in don't, which says the opposite."""
    if word.endswith("n't"):
        return set()
    return {part for part in word.split("'") if len(part) > 1} - _ENDINGS


def symbols(text: str) -> list[str]:
    """Emoji and other symbols of a text, each as it is seen: a flag, a family are one."""
    if not _SYMBOL.search(text):
        return []
    return [one for one in regex.findall(r"\X", text) if _SYMBOL.search(one)]


def glued(word: str) -> bool:
    """Whether others may be written on to the word without a blank, so that it is looked for inside
    of a line."""
    return _GLUED.match(word) is not None


def holds(text: str, value: str) -> bool:
    """Whether a readable text holds a readable value of at least one letter as a whole: no word and
    no number goes on before or behind it, with or without a hyphen or underscore, and no mark or
    emoji is cut in two."""
    pattern = _limit(value[0], before=True) + regex.escape(value) + _limit(value[-1], before=False)
    if text.isascii():
        return regex.search(pattern, text, regex.V1) is not None
    edges = {piece.start() for piece in regex.finditer(r"\X", text)} | {len(text)}
    found = regex.finditer(pattern, text, regex.V1, overlapped=True)
    return any(one.start() in edges and one.end() in edges for one in found)


def _limit(letter: str, *, before: bool) -> str:
    """A pattern for what must not stand beside a value whose outermost letter this is."""
    if _FREE.match(letter):
        return ""
    if _IN_KATAKANA.match(letter):
        return rf"(?<![{_KATAKANA}])" if before else rf"(?![{_KATAKANA}])"
    if _IN_HANGUL.match(letter):
        return r"(?<!\p{Hangul})" if before else ""
    digit = letter.isdecimal()
    if before:
        return rf"(?<!{LETTER}(?:_*|-))" + r"(?<!\d[.,])" * digit
    return rf"(?!(?:_*|-){LETTER})" + r"(?![.,]\d)" * digit


def holds_number(text: str, number: str) -> bool:
    """Whether a readable text holds a readable number as a whole; a hyphen before it is no sign and
    no part of it."""
    before = rf"(?<!{LETTER}_*)(?<!\d[.,])"
    after = rf"(?!_*{LETTER}|[.,]\d)"
    return regex.search(before + regex.escape(number) + after, text, regex.V1) is not None
