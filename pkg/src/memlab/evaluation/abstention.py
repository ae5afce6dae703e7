"""Does an answer say that nothing was said? The usual English ways to do so, clause by clause."""

from __future__ import annotations

from collections.abc import Iterable

import regex

from memlab.evaluation import words

NO_ANSWER = (
    "not in the text",
    "the text does not say",
    "i do not know",
    "none",
    "nothing",
    "unknown",
    "no answer",
    "not mentioned",
    "n/a",
    "null",
    "nil",
    "not applicable",
    "does not apply",
    "not sure",
    "unanswerable",
    "unspecified",
    "undisclosed",
    "undetermined",
    "no idea",
    "no clue",
    "no comment",
    "beats me",
    "who knows",
    "idk",
    "dunno",
    "sorry",
)

# ---- what clauses are made of --------------------------------------------------------------------

_KIND_OF_TEXT = (
    r"(?:text|passage|context|document|article|story|excerpt|paragraph|haystack|material"
    r"|transcript)s?"
)
_TEXT = (
    r"(?:(?:the|this|that|these|those|my|your|any|either) )?(?:\w+ )?"
    rf"{_KIND_OF_TEXT}(?: (?:provided|given|above|below|here|itself|you (?:gave|provided)"
    r"(?: me)?))?"
)
_SOURCE = rf"(?:{_TEXT}|it|this|that|the (?:source|page|book|author)s?)"
_IN = r"(?:in|by|from|with|within|on|to|through|anywhere in)"
_WHERE = rf"(?: {_IN} (?:{_TEXT}|it|this|me|us|anyone))"
_TOLD = (
    r"(?:mentioned|stated|specified|said|known|named|disclosed|revealed|indicated|documented"
    r"|referred to)"
)
_THERE = (
    r"(?:given|found|provided|available|present|contained|included|listed|there|shown|defined"
    r"|to be found)"
)
_WORKED_OUT = r"(?:determined|answered|inferred|deduced|established|identified|found|known)"
_END = rf"(?:{_WHERE}| here| there| anywhere| at all| either| yet)*"
_REST = r"(?: .*)?"
_TELL = (
    r"(?:say|mention|state|tell|specif(?:y|ie)|reveal|indicate|name|disclose|refer to"
    r"|(?:speak|talk) of)s?"
)
_GIVE = r"(?:contain|include|provide|give|answer|identify|describe|list|address|offer|cover|have)"
_FACT = (
    r"(?:answer|information|info|mention|reference|details?|data|evidence|indication|result|match"
    r"|value|variable|number|name|key|word|identifier|code|entry|record|response)s?"
)
_SUCH = r"(?:(?:the|that|this|any|an|a|such|enough|sufficient|relevant|specific|secret|exact) )*"
# Not "Returns None if the size is not specified", which says what happens in that case.
_SUBJECT = (
    r"(?:(?!(?:if|when|whether|unless|until|case)\b)\w+(?:'\w+)? ){1,9}?(?<!\w (?:that|which|who) )"
)
_IS = r"(?:is|are|was|were|has been|have been)"
_NOT = r"(?:not|never|nowhere)"
_I = r"(?:i|we)"
_I_AM = rf"(?:{_I} (?:am|are|was|were) )"
_CAN_NOT = r"(?:can|could|do|did|does) not"
_ASK = (
    r"(?:know|tell|say|answer|determine|recall|remember|infer|deduce|identify|be (?:sure|certain))"
)

_SILENT = (
    r"n a",
    r"i apologi[sz]e",
    # the text is silent
    rf"(?:{_SOURCE} (?:{_CAN_NOT}|never|nowhere)|does not) {_TELL}{_REST}",
    rf"{_TEXT} {_CAN_NOT} {_GIVE}{_REST}",
    rf"{_SOURCE} (?:says|states|mentions|reveals|tells us|contains|provides|gives|has|makes)"
    rf" (?:none|nothing|no {_SUCH}{_FACT}){_REST}",
    rf"{_TEXT} lacks .*",
    # it is not there
    rf"{_SUBJECT}{_IS} (?:{_NOT} {_TOLD}|un(?:known|specified|disclosed|answerable|determined))"
    rf"{_END}",
    rf"{_SUBJECT}(?:{_IS}|can|could) {_NOT} (?:be )?{_THERE}{_WHERE}{_END}",
    rf"{_SUBJECT}(?:{_IS}|do|does|did) not (?:appear |occur )?(?:anywhere )?"
    rf"(?:in|within|part of) {_TEXT}",
    rf"{_SUBJECT}(?:can|could) not be {_WORKED_OUT}{_END}",
    rf"(?:{_SUCH}{_FACT}|it|this|that) (?:{_IS} {_NOT} {_THERE}|(?:do|does|did) not exist){_END}",
    rf"{_SUCH}{_FACT} {_IS} (?:none|nothing|missing|absent){_END}",
    r"(?:none|nothing)(?: of (?:them|these|those|the above))?"
    rf"(?:(?: {_IS})? (?:{_TOLD}|{_THERE}))?{_END}(?: about .*)?",
    rf"nothing in {_TEXT}{_REST}",
    rf"(?:{_SUCH}{_FACT} )?{_NOT} (?:{_TOLD}|{_THERE}){_END}",
    rf"not (?:(?:in|within|part of) {_TEXT}|here|there|that i know(?: of)?)",
    # I cannot tell
    rf"(?:{_I} {_CAN_NOT} {_ASK}|do not know|(?:nobody|no one) knows){_REST}",
    rf"{_I} {_CAN_NOT} (?:find|see|locate|have)"
    rf" (?:it|this|that|any.*|{_SUCH}{_FACT}{_REST}|.*{_WHERE})",
    rf"{_I} have no (?:idea|clue|knowledge|memory|recollection|{_FACT}){_REST}",
    rf"{_I_AM}?(?:not (?:sure|certain|aware)|unsure|uncertain){_REST}",
    rf"(?:{_I_AM}|it (?:is|was) )?"
    r"(?:can not|not able to|unable to|impossible to|not possible to|hard to)"
    rf" (?:{_ASK}|be {_WORKED_OUT}|find|locate|provide|give){_REST}",
    rf"it (?:is|was|remains) (?:unclear|not clear){_REST}",
    # there is none
    rf"there {_IS} (?:none|nothing|not any)(?: (?:about|regarding|like) .*)?{_END}",
    rf"there {_IS} (?:no|not any|not enough) (?:{_SUCH}{_FACT}{_REST}|.*{_WHERE}{_END})",
    rf"no {_SUCH}{_FACT}(?: {_IS})?(?: (?:{_TOLD}|{_THERE}))?{_END}",
    rf"no {_SUCH}{_FACT} (?:exists?{_END}|(?:has|have|belongs? to) .*)",
    r"(?:not enough|insufficient|no) (?:mention|information|info|indication|reference|context|data"
    r"|details?)(?: (?:of|about|on|regarding|to) .*)?",
)
# What comes before a claim and is none.
_LEADS = (
    rf"(?:based on|according to|judging by|given|from|in|within|by) {_TEXT}",
    r"(?:as far as|from what) i (?:know|can (?:tell|see))",
    r"to my knowledge",
    r"as an ai(?: language)?(?: model| assistant)?",
    r"(?:the )?(?:final |short )?answer(?: is)?(?: that)?",
    r"it (?:seems|appears)(?: that)?",
    r"i (?:am afraid|fear|think|believe|guess)(?: that)?",
    r"(?:i am )?(?:very |so )?sorry(?: to say)?(?: that)?",
    r"(?:my )?apologies",
    r"unfortunately",
    r"sadly",
    r"apparently",
    r"well",
    r"hmm+",
    r"oh",
    r"ok(?:ay)?",
    r"and",
    r"probably",
    r"possibly",
    r"presumably",
    r"maybe",
    r"perhaps",
)
# A clause beside the claim that says nothing of its own. Of a request every word is known, so that
# none of them is a value: not so in "Please try karo".
_ASIDES = (
    r"no",
    r"thank you|thanks",
    r"good question",
    rf"(?:{_TEXT}|it) (?:is )?(?:only |mainly |instead )*"
    r"(?:(?:discuss|talk|describe|focus|cover|deal)\w*|about) .*",
    r"(?:please|let me know|feel free|(?:if|could|can) you)(?: (?:please|if|could|can|have|need"
    r"|want|like|provide|give|share|specify|clarify|rephrase|check|ask|help|try|again|let|know|tell"
    r"|to|i|me|us|you|the|a|any|some|more|other|another|additional|further|full|with|for|of|or|and"
    rf"|about|it|this|that|your|questions?|something|anything|else|would|{_FACT}|{_KIND_OF_TEXT}))*",
)
# Marks and words after which another claim may come, such as a guess or a reason.
_BREAKS = (
    r"[[\p{Terminal_Punctuation}\p{Ps}\p{Pe}\p{Sm}…—·]--[„‚]]+",
    r" -+ ",
    r" /|/ |(?<=\bknow)/",
    r"\b(?:but|although|though|however)\b",
    r"\bso(?= (?:i|we|it|this|that|there|the|my|you|no)\b)",
    r"\b(?:because|since|(?<!\bfar )as)(?= (?:it|its|this|that|there|the|no|i|we)\b)",
    r"\b(?=(?:other than|apart from|besides|except)\b)",
    r"\bonly\b(?! (?:discuss|talk|describe|focus|cover|deal|about))",
    r"\b(?=(?:maybe|perhaps|probably|possibly|presumably|my guess|if you ask me)\b)",
    r"\b(?=i (?:would )?(?:think|guess|believe|suppose|assume|say)\b)",
    r"(?<!\b(?:if|whether|that|what|who|where|when|how) )\b(?=it (?:might|may|could|must) be\b)",
    r"(?<!\b(?:if|whether|that|what) )\b(?=the answer is\b)",
)
_CONTRACTED = (
    (regex.compile(r"\bn ?[/.] ?a\b"), "n a"),
    (regex.compile(r"\bcan(?:not|'?t)\b"), "can not"),
    (regex.compile(r"(?<=\b(?:do|does|did|is|are|was|were|has|have|could))n'?t\b"), " not"),
    (regex.compile(r"\bi'm\b"), "i am"),
    (regex.compile(r"\bwe're\b"), "we are"),
    (regex.compile(r"\b(i|we)'ve\b"), r"\1 have"),
    (regex.compile(r"\b(it|that|there|answer)'s\b"), r"\1 is"),
)
_ADVERB = regex.compile(
    r"\b(?:explicitly|directly|specifically|clearly|even|ever|actually|really|honestly|simply|just"
    r"|also|still|currently) ?"
)


def _any_of(parts: Iterable[str]) -> regex.Pattern[str]:
    return regex.compile("|".join(parts), regex.V1)


def _all_before(parts: Iterable[str]) -> regex.Pattern[str]:
    return regex.compile(rf"\A(?:(?:{'|'.join(parts)}) )*", regex.V1)


_SILENCE = _any_of(_SILENT)
_LEAD = _all_before(_LEADS)
_ASIDE = _any_of(_ASIDES)
_BREAK = _any_of(_BREAKS)


def abstains(answer: str) -> bool:
    """Whether the answer says nothing, or in usual English words that it has nothing to say: "N/A",
    "I don't know.", "The text does not mention it." (`NO_ANSWER` holds the shortest).

    Every clause must say so, or be a reason or a phrase of politeness. An answer with a number in
    it never abstains, be it the question's own, nor one that goes on to a guess: "I do not know,
    maybe karo" names a value, and "The unknown soldier stands in Vienna" tells something. A symbol
    alone, such as 🍣 or ∞, says something, marks such as "-" or "=" do not.
    """
    text = words.readable(answer.replace("\n", ". ")).casefold()
    if regex.search(r"\p{N}", text):
        return False
    for pattern, full in _CONTRACTED:
        text = pattern.sub(full, text)
    clauses = [" ".join(words.words(part)) for part in _BREAK.split(text)]
    if not any(clauses):
        return regex.search(r"[\p{S}--\p{ASCII}]", text, regex.V1) is None
    plain = [_ADVERB.sub("", clause).strip() for clause in clauses]
    told = [_is_silent(clause) for clause in plain if not _is_aside(clause)]
    return bool(told) and all(told)


def _is_silent(clause: str) -> bool:
    """Whether a clause in small letters, its words parted by single blanks, says that nothing was
    said."""
    return any(
        said in NO_ANSWER or _SILENCE.fullmatch(said) for said in (clause, _LEAD.sub("", clause))
    )


def _is_aside(clause: str) -> bool:
    if clause in NO_ANSWER:
        return False
    return not _LEAD.sub("", clause + " ").strip() or _ASIDE.fullmatch(clause) is not None
