"""What did it remember? Scorers for answers as text, measures of a model that was to learn poems,
and thresholds.

answers     is this answer that target? exactly, in its number, its value, its content words
abstention  does it say that nothing was said?
words       what is compared: one spelling for words and numbers of any script
recitation  poems put before a model word by word, or asked for by their keys; greedy decoding
thresholds  scores of what was told and of what was not: area under the curve, false answers
"""

from memlab.evaluation.abstention import NO_ANSWER, abstains
from memlab.evaluation.answers import (
    Answerer,
    char_accuracy,
    contains_number,
    contains_value,
    content_words,
    exact,
    memory_ability,
    value_recall,
)
from memlab.evaluation.recitation import (
    Reading,
    fingerprint,
    greedy,
    greedy_texts,
    read,
    recite,
    reciter,
    stored_bits,
)
from memlab.evaluation.thresholds import auc, detector, true_positives
from memlab.evaluation.words import plain_numbers

__all__ = [
    "NO_ANSWER",
    "Answerer",
    "Reading",
    "abstains",
    "auc",
    "char_accuracy",
    "contains_number",
    "contains_value",
    "content_words",
    "detector",
    "exact",
    "fingerprint",
    "greedy",
    "greedy_texts",
    "memory_ability",
    "plain_numbers",
    "read",
    "recite",
    "reciter",
    "stored_bits",
    "true_positives",
    "value_recall",
]
