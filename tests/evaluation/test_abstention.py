"""Which answers say that nothing was said."""

from __future__ import annotations

import pytest

from memlab import evaluation

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
