"""Which answers say that nothing was said."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import pytest
import regex

from memlab import evaluation
from memlab.evaluation import abstention

ABSTENTIONS = """
None.
nothing
N/A
n.a.
Unknown
No answer
Not mentioned.
Not stated in the text.
Not specified.
Not found
not in the given context
I don't know.
I don’t know
I dont know
I do not know!
I don't know who the king was.
I'm not sure.
I have no idea.
I cannot answer this question.
I can't tell from the text.
I could not find the answer in the document.
I'm sorry, but I don't know.
I am sorry, but the provided text does not contain information about the secret number.
Sorry, I can't find any mention of it.
The answer is not in the text.
The answer is unknown.
Answer: none
The text does not mention it.
The text doesn't say.
The text does not say which.
The passage never mentions a lantern.
The document does not provide this information.
The text says nothing about the lantern.
The context contains no information about karo.
This is not mentioned in the text.
It is not stated anywhere.
It isn't mentioned.
Its number is not given in the text.
The secret number of the quiet amber lantern is not mentioned.
The number cannot be determined from the passage.
Based on the text, it is not possible to say.
It is unclear from the text.
There is no answer.
There is no mention of a lantern in the text.
There's no information about that.
No information is given.
No such number.
Not enough information.
Unfortunately, the text does not specify the number. Please provide more context.
The text does not say. It only talks about birds.
None of them.
The text does not mention the “quiet amber lantern”.
I do not know, as the text does not mention it.
I cannot say because there is no such key.
...
**Unknown**
-
=
I apologise. The text does not say.
That's not mentioned.
That is not stated in the text.
That's unknown.
Never mentioned.
Does not say.
It has none.
It makes no mention of a lantern.
The text lacks this information.
Its number could not be found in the text.
The lantern does not appear in the text.
It does not exist.
The value is missing.
Nothing in the text says so.
Don't know.
Nobody knows.
We cannot see it.
I've no idea.
I have no recollection of that.
We're not sure.
I was unable to find it.
There is none.
There are none.
There isn't any.
There is nothing about a lantern.
No such variable exists.
No variable has this value.
No secret number belongs to it.
No mention of a lantern.
As far as I know there is no answer.
From what I can tell I do not know.
To my knowledge there is no answer.
As an AI language model I cannot answer.
It seems that I do not know.
I am afraid that I do not know.
My apologies, I do not know.
Sadly I do not know.
Apparently I do not know.
Well, I do not know.
Hmm, I do not know.
Oh, I do not know.
Okay, I do not know.
And I do not know.
Probably none.
Possibly none.
Presumably none.
Maybe none.
Perhaps none.
No, I do not know.
Thank you, but I do not know.
Good question. I do not know.
I really do not know.
I do not know the day and/or the hour.
I do not know what it might be.
I do not know what the answer is.
I do not know, so there is no answer.
The text does not say so.
It is not mentioned because the text is about birds.
It is unknown since there is no such key.
It is unknown as it is not mentioned.
Let me know if you have more information. I do not know.
I do not know. Feel free to ask another question.
I do not know. Could you provide the full text?
I do not know. If you need anything else, please ask.
"""
ANSWERS = """
The unknown soldier stands in Vienna
I do not know, maybe 12345
I don't know, but I guess it is karo.
I don't know. Karo?
the text does not say so: 12345
The text does not mention it, however the value is karo.
Nonesuch
nothing but karo
Nothing compares to karo
karo
No
Nobody
No man is an island
Not karo but lumi
He is not in Vienna
The king is not in the castle.
The water is not clear.
The treasure was never found.
He does not say much, he is karo.
Unknown Pleasures
The None type
Sugar: the cake does not contain it
There is no place like home
I said nothing to the king in the garden of karo
12
🍣
北京
The answer is karo.
I know that it is karo.
Not only karo
I think it is karo.
Returns None if the module cannot be found.
If the size is not specified, the default is used.
An empty string stands for a value that is unknown.
None as an argument is a special case.
No variable has the value 1234567.
∞
€
→
Sorry, you could try karo.
I don't know / karo
I don't know/karo
I don't know /karo
I don't know/ karo
I don't know → karo
I don't know -> karo
I don't know = karo
I don't know ~ karo
I don't know。Karo。
I don't know · karo
I don't know - karo
I don't know so I answer karo
I do not know it might be karo
I do not know I think karo
I do not know perhaps karo
I don't know, if you ask me it is karo
I do not know if you ask me it is karo
I do not know the answer is karo
I don't know. Please try karo.
I don't know. Let me know karo.
I don't know. Feel free to say karo.
I'm not certain. You may find it under karo.
The text does not mention any value other than karo.
The text does not mention a name only karo
There is no answer other than karo.
There is no answer besides karo.
There is no answer except karo.
There is no answer apart from karo.
I do not know but karo fits
I do not know although karo fits
I do not know though karo fits
I do not know however karo fits
I do not know maybe karo
I do not know probably karo
I do not know possibly karo
I do not know presumably karo
I do not know my guess is karo
I do not know I guess karo
I do not know I believe karo
I do not know I suppose karo
I do not know I assume karo
I do not know I would say karo
I do not know it may be karo
I do not know it could be karo
I do not know it must be karo
It is unknown because karo
It is not mentioned as it is karo.
As far as I know it is karo
As an AI I say karo
Good karo
Really
N/A karo
I apologize to karo
Do not say karo
It has no wheels.
He lacks courage.
Karo was not found guilty in Rome.
It cannot be beaten.
It is not there to stay.
Dragons do not exist.
The value is nothing to sneeze at.
None the wiser
Nothing in life is free.
Never said a word.
Not in Vienna.
Nobody is perfect.
I cannot see Rome.
I have no sister.
I am certain it is karo.
It is hard to beat karo.
It is clear.
There are nine.
There is nothing new in Rome.
No name is karo.
No variable equals karo.
No information technology
These cannot be given as a command later.
"""


@pytest.mark.parametrize("answer", ["", " \n", *ABSTENTIONS.strip().split("\n")])
def test_the_usual_ways_to_say_nothing(answer: str) -> None:
    assert evaluation.abstains(answer)
    assert evaluation.value_recall(answer, ()) == 1


@pytest.mark.parametrize("answer", ANSWERS.strip().split("\n"))
def test_what_tells_something_is_an_answer(answer: str) -> None:
    assert not evaluation.abstains(answer)
    assert evaluation.value_recall(answer, ()) == 0


@pytest.mark.parametrize("phrase", evaluation.NO_ANSWER)
def test_every_phrase_counts_in_any_case_and_with_any_mark_behind_it(phrase: str) -> None:
    for answer in (phrase, phrase.upper(), phrase.capitalize() + ".", f"“{phrase}”", f"_{phrase}_"):
        assert evaluation.abstains(answer), answer


@pytest.mark.parametrize(
    ("sentence", "words"),
    [
        (
            "The text does not {} it.",
            "say mention state tell specify reveal indicate name disclose refer+to speak+of talk+of"
            " contain include provide give answer identify describe list address offer cover have",
        ),
        ("The {} does not say.", "text passage context document article story excerpt paragraph"),
        ("The {} does not say.", "haystack material transcript source page book author"),
        (
            "The secret of the king is not {}.",
            "mentioned stated specified said known named disclosed revealed indicated documented"
            " referred+to",
        ),
        ("The secret of the king is {}.", "unknown unspecified undisclosed undetermined"),
        ("The secret of the king is not mentioned{}.", "+here +there +anywhere +at+all +either"),
        ("The secret of the king is not mentioned {} the text.", "in by within on anywhere+in"),
        ("The secret of the king {} not mentioned.", "is are was were has+been have+been"),
        (
            "It is not {}.",
            "given found provided available present contained included listed there shown defined"
            " to+be+found",
        ),
        ("It {} not given.", "is was has+been"),
        (
            "The secret of the king cannot be {}.",
            "determined answered inferred deduced established identified found known",
        ),
        (
            "There is no {} about it.",
            "answer information info mention reference detail details data evidence indication"
            " result match value variable number name key word identifier code entry record"
            " response",
        ),
        (
            "I cannot {}.",
            "know tell say answer determine recall remember infer deduce identify be+sure"
            " be+certain",
        ),
        ("I {} not know.", "can could do did really+do honestly+do still+do"),
        ("We do not {} it.", "find see locate have"),
        ("I have no {}.", "idea clue knowledge memory recollection answer"),
        ("I am {}.", "not+sure not+certain not+aware unsure uncertain"),
        ("It is {} say.", "not+possible+to impossible+to hard+to"),
        ("It {} what it was.", "is+unclear remains+unclear was+not+clear"),
        ("{} text I do not know.", "based+on+the according+to+the judging+by+the from+the in+the"),
        ("{} I do not know.", "it+appears it+seems+that i+think i+fear i+believe i+guess"),
        ("{} I do not know.", "the+final+answer+is+that i+am+very+sorry sorry+to+say"),
    ],
)
def test_every_word_of_the_usual_ways(sentence: str, words: str) -> None:
    told = [sentence.format(word.replace("+", " ")) for word in words.split()]
    assert [one for one in told if not evaluation.abstains(one)] == []


class AnyOf:
    """What some alternatives match together, each of them compiled once."""

    def __init__(self, parts: Sequence[str]) -> None:
        self.parts = parts

    def fullmatch(self, clause: str) -> bool | None:
        return any(fits(part, clause) for part in self.parts) or None


@cache
def fits(part: str, clause: str) -> bool:
    return regex.fullmatch(part, clause, regex.V1) is not None


def a_wrong_one() -> str | None:
    """A case of the tables that the grammar as it is takes for the other."""
    rows = [(answer, True) for answer in ABSTENTIONS.strip().split("\n")]
    rows += [(answer, False) for answer in ANSWERS.strip().split("\n")]
    return next((one for one, silent in rows if evaluation.abstains(one) is not silent), None)


@pytest.mark.parametrize(
    ("name", "parts", "compiled"),
    [
        ("_SILENCE", abstention._SILENT, AnyOf),
        ("_ASIDE", abstention._ASIDES, AnyOf),
        ("_LEAD", abstention._LEADS, abstention._all_before),
        ("_BREAK", abstention._BREAKS, abstention._any_of),
        ("_CONTRACTED", abstention._CONTRACTED, tuple),
    ],
)
def test_every_entry_of_the_grammar_is_needed_by_some_case(
    name: str, parts: Sequence, compiled: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(abstention, name, compiled(parts))
    assert a_wrong_one() is None
    for left_out in range(len(parts)):
        rest = [*parts[:left_out], *parts[left_out + 1 :]]
        monkeypatch.setattr(abstention, name, compiled(rest))
        assert a_wrong_one() is not None, parts[left_out]
