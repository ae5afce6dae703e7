"""Does an answer say that nothing was said? The usual English ways to do so, clause by clause."""

from __future__ import annotations

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

_TEXT = (
    r"(?:(?:the|this|that|these|those|my|your|any|either) )?(?:\w+ )?"
    r"(?:text|passage|context|document|article|story|excerpt|paragraph|haystack|material"
    r"|transcript)s?(?: (?:provided|given|above|below|here|itself|you (?:gave|provided)(?: me)?))?"
)
_IN = r"(?:in|by|from|with|within|on|to|through|anywhere in)"
_WHERE = rf"(?: {_IN} (?:{_TEXT}|it|this|me|us|anyone))"
_HOW = r"(?:explicitly |directly |specifically |clearly |even |ever |actually )?"
_TOLD = (
    r"(?:mentioned|stated|specified|said|known|named|disclosed|revealed|indicated|documented"
    r"|referred to)"
)
_THERE = (
    r"(?:given|found|provided|available|present|contained|included|listed|there|shown|defined"
    r"|to be found)"
)
_WORKED_OUT = r"(?:determined|answered|inferred|deduced|established|identified|found|known)"
_END = rf"(?:{_WHERE}| here| there| anywhere| at all| explicitly| either| yet)*"
_REST = r"(?: .*)?"
_TELL = (
    r"(?:say|mention|state|tell|specify|reveal|indicate|name|disclose|refer to|(?:speak|talk) of)"
)
_GIVE = r"(?:contain|include|provide|give|answer|identify|describe|list|address|offer|cover)"
_FACT = (
    r"(?:answer|information|info|mention|reference|details?|data|evidence|indication|result|match"
    r"|value|variable|number|name|key|word|identifier|code|entry|record|response)s?"
)
_SUCH = r"(?:(?:the|that|this|any|an|a|such|enough|sufficient|relevant|specific|secret|exact) )*"
# Not "Returns None if the size is not specified", which says what happens in that case.
_SUBJECT = (
    r"(?:(?!(?:if|when|whether|unless|until|case)\b)\w+(?:'\w+)? ){1,9}?(?<!\b(?:that|which|who) )"
)
_IS = r"(?:is|are|was|were|has been|have been)"
_I = r"(?:i|we)(?: (?:really|honestly|just|also|still))?"
_CAN = r"(?:can|could|do|did|does)(?: really| simply)? not(?: really| currently)?"
_ASK = (
    r"(?:know|tell|say|answer|determine|recall|remember|infer|deduce|identify|be (?:sure|certain))"
)

_SILENT = (
    r"n a|(?:i am |we are )?(?:very |so )?sorry|i apologi[sz]e",
    # the text is silent
    rf"(?:{_TEXT}|it|this|{_SUCH}(?:source|page|book|author)s?) {_CAN} {_HOW}{_TELL}{_REST}",
    rf"{_TEXT} {_CAN} {_HOW}{_GIVE}{_REST}",
    rf"{_TEXT} {_CAN} (?:have|hold) {_SUCH}{_FACT}{_REST}",
    rf"(?:{_TEXT}|it) (?:never|nowhere) (?:{_TELL}s?|specifies){_REST}",
    rf"{_TEXT} (?:says|states|mentions|reveals|tells us|contains|provides|gives|has)"
    rf" (?:nothing|no {_SUCH}{_FACT}){_REST}",
    rf"(?:{_TEXT}|it) (?:makes|contains) no (?:mention|reference){_REST}",
    # it is not there
    rf"{_SUBJECT}{_IS} (?:not|never|nowhere) {_HOW}{_TOLD}{_END}",
    rf"{_SUBJECT}{_IS} (?:unknown|unspecified|undisclosed|unanswerable|undetermined){_END}",
    rf"{_SUBJECT}(?:{_IS}|can|could) (?:not|never|nowhere) (?:be )?{_HOW}{_THERE}{_WHERE}{_END}",
    rf"{_SUBJECT}(?:{_IS}|do|does|did) not (?:appear |occur )?(?:anywhere )?"
    rf"(?:in|within|part of) {_TEXT}",
    rf"{_SUBJECT}(?:can|could) not be {_HOW}{_WORKED_OUT}{_END}",
    rf"(?:{_SUCH}{_FACT}|it|this|that) {_IS} (?:not|never|nowhere) {_HOW}{_THERE}{_END}",
    rf"{_SUCH}{_FACT} (?:is|are) (?:none|nothing|missing|absent){_END}",
    r"(?:none|nothing)(?: of (?:them|these|those|the above))?"
    rf"(?:(?: {_IS})? (?:{_TOLD}|{_THERE}))?{_END}(?: about .*)?",
    rf"nothing in {_TEXT}{_REST}",
    rf"(?:{_SUCH}{_FACT} )?(?:not|nowhere) {_HOW}(?:{_TOLD}|{_THERE}){_END}",
    rf"not (?:(?:in|within|part of) {_TEXT}|here|there|that i know(?: of)?)",
    # I cannot tell
    rf"{_I} {_CAN} {_ASK}{_REST}",
    rf"{_I} {_CAN} (?:find|see|locate|have)"
    rf" (?:it|this|that|any.*|{_SUCH}{_FACT}{_REST}|.*{_WHERE})",
    rf"{_I} (?:am|are|was|were) (?:not able|unable) to (?:{_ASK}|find|locate|provide|give){_REST}",
    rf"{_I} have no (?:idea|clue|knowledge|memory|recollection|{_FACT}){_REST}",
    rf"{_I} (?:am|are) (?:not (?:sure|certain|aware)|unsure|uncertain){_REST}",
    r"(?:it (?:is|was) )?(?:can not|not able to|unable to|impossible to|not possible to|hard to)"
    rf" (?:{_ASK}|be {_WORKED_OUT}|find){_REST}",
    rf"it (?:is|was|remains) (?:unclear|not clear){_REST}",
    # there is none
    rf"there (?:is|are|was|were) (?:no|not any|not enough)"
    rf" (?:{_SUCH}{_FACT}{_REST}|.*{_WHERE}{_END})",
    rf"there (?:is|was) nothing (?:about|regarding|like|in {_TEXT}){_REST}",
    rf"no {_SUCH}{_FACT}(?: {_IS})?(?: (?:{_TOLD}|{_THERE}))?{_END}",
    r"no (?:mention|information|info|indication|reference|details?) (?:of|about|on|regarding) .*",
    r"(?:not enough|insufficient|no) (?:information|info|context|data|details)(?: to .*)?",
)
_SILENCE = regex.compile("|".join(_SILENT))
# What comes before a claim and is none.
_LEAD = regex.compile(
    rf"\A(?:(?:(?:based on|according to|judging by|given|from|in|within|by) {_TEXT}"
    r"|(?:as far as|from what) i (?:know|can (?:tell|see))|to my knowledge"
    r"|(?:the )?(?:final |short )?answer(?: is)?(?: that)?"
    r"|unfortunately|sadly|regrettably|apparently|actually|honestly|frankly|well|hmm+|oh|okay|ok"
    r"|and|so|then|that|as|because|since|my apologies|apologies"
    r"|it (?:seems|appears)(?: that)?|i (?:am afraid|fear|think|believe|guess)(?: that)?"
    r"|(?:i am )?(?:very )?sorry(?: to say)?(?: that)?"
    r"|probably|possibly|presumably|maybe|perhaps|likely) )*"
)
_REASON = regex.compile(r" (?:because|since|due to|as (?:it|its|this|there|the|no|i|we)) .*")
# A clause beside the claim that says nothing of its own.
_ASIDE = regex.compile(
    r"no|thank you|thanks|good question|as an ai .*"
    rf"|(?:{_TEXT}|it) (?:only |just |mainly |instead )*"
    r"(?:(?:discuss|talk|describe|focus|cover|deal)\w*|(?:is|are) (?:only )?about) .*"
    r"|(?:please|let me know|feel free|if you|could you|can you|you (?:may|can|could|might)) .*"
)
# Marks and words after which another claim may come, such as a guess.
_BREAK = regex.compile(
    r"[.,;:!?()\[\]{}…—|]+| -+ |\b(?:but|although|though|however)\b"
    r"|\b(?=(?:maybe|perhaps|probably|possibly|presumably|my guess"
    r"|i (?:would )?(?:think|guess|believe|suppose|assume|say))\b)"
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


def abstains(answer: str) -> bool:
    """Whether the answer says nothing, or in usual English words that it has nothing to say: "N/A",
    "I don't know.", "The text does not mention it." (`NO_ANSWER` holds the shortest).

    Every clause must say so, or be a reason or a phrase of politeness. An answer with a number in
    it never abstains, nor one that goes on to a guess: "I do not know, maybe karo" names a value,
    and "The unknown soldier stands in Vienna" tells something.
    """
    text = words.readable(answer.replace("\n", ". ")).casefold()
    if regex.search(r"\p{N}", text):
        return False
    for pattern, full in _CONTRACTED:
        text = pattern.sub(full, text)
    clauses = [" ".join(words.words(part)) for part in _BREAK.split(text)]
    if not any(clauses):
        return regex.search(r"\p{So}", text) is None  # an emoji says something
    told = [_is_silent(clause) for clause in clauses if not _is_aside(clause)]
    return bool(told) and all(told)


def _is_silent(clause: str) -> bool:
    """Whether a clause in small letters, its words parted by single blanks, says that nothing was
    said."""
    bare = _REASON.sub("", _LEAD.sub("", clause))
    return any(said in NO_ANSWER or _SILENCE.fullmatch(said) for said in (clause, bare))


def _is_aside(clause: str) -> bool:
    if clause in NO_ANSWER:
        return False
    return not _LEAD.sub("", clause + " ").strip() or _ASIDE.fullmatch(clause) is not None
