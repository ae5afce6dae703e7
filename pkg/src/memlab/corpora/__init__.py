"""Everything the book's models read: pure functions of (parameters, seed), no global random state.

poems             poems whose entropy is known in bits, and real ones where they are installed
verse             Tang poems and English verse from packages of the distribution, where they are
                  installed
rhymes            poems with a rhyme, and keys asked both ways
cues              ways to ask for a poem: beginnings, typing errors, other words, wrong keys
text              generic sentences for training, and real English from the documentation that every
                  Python has
tokenization      the book's byte-pair tokenizer, in which every digit is a token
spelling          what a reader passes over in a text, or reads apart from the words beside it
memory_episodes   what a memory decoder is trained on
copying_episodes  what the causal baseline is trained on
needles           passkeys and needles in a haystack: prompt, answer, depth
ruler             tasks in which one look-up is not enough, or the haystack has no answer
keys_and_values   new keys and values, near keys, haystacks of keys
no_shared_words   needles whose question shares no word with them
relations         facts of 72 relations, and questions that share no word with them; 521 relations
                  more to teach
relation_table    those 72 relations
edits             facts that change, and what to ask then
patterns          random patterns for associative memories
"""

__all__ = [
    "copying_episodes",
    "cues",
    "edits",
    "keys_and_values",
    "memory_episodes",
    "needles",
    "no_shared_words",
    "patterns",
    "poems",
    "relation_table",
    "relations",
    "rhymes",
    "ruler",
    "spelling",
    "text",
    "tokenization",
    "verse",
]
