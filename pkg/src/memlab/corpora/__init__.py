"""Everything the book's models read: pure functions of (parameters, seed), no global random state.

poems     poems whose entropy is known in bits, and real ones where they are installed
text      generic sentences for training, and real English from the documentation that every Python has
tasks     passkeys and needles in a haystack: prompt, answer, depth
ruler     tasks in which one look-up is not enough, or the haystack has no answer
relations facts of 72 relations, and questions that share no word with them; 521 relations more to teach
edits     facts that change, and what to ask then
"""
