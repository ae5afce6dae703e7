"""What did it remember? Scorers for answers as text, measures of a model that was to learn poems,
and thresholds.

answers     is this answer that target? exactly, in its number, its value, its content words; or
            does it abstain
recitation  poems put before a model word by word, or asked for by their keys
thresholds  scores of what was told and of what was not: area under the curve, false answers
"""

from memlab.evaluation.answers import (
    NO_ANSWER,
    Answerer,
    abstains,
    char_accuracy,
    contains_number,
    contains_value,
    content_words,
    exact,
    memory_ability,
    value_recall,
)
from memlab.evaluation.recitation import Reading, fingerprint, read, recite, reciter, stored_bits
from memlab.evaluation.thresholds import auc, detector

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
    "memory_ability",
    "read",
    "recite",
    "reciter",
    "stored_bits",
    "value_recall",
]
