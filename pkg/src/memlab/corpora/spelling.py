"""What a reader passes over in a text, or reads apart from the words beside it: what scorers and
searches must agree on, in any script."""

from __future__ import annotations

import regex

# Nothing to see: soft hyphens, marks of direction, variation selectors, the frame of a keycap. And
# what Hebrew and Arabic are as often written without: points, and strokes that lengthen a line.
UNSEEN = regex.compile(
    r"[\u00ad\u061c\u180b-\u180f\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\u20e3"
    r"\ufe00-\ufe0f\ufeff\U000e0100-\U000e01ef"
    r"\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0640\u064b-\u0652\u0670]"
)
# What is written above the line or in a circle belongs to no word beside it; what is written below
# it belongs to a letter (H₂O).
RAISED = regex.compile(
    r"\p{dt=circle}|(?:[\p{No}--\p{dt=sub}]|[\p{So}&&\p{dt=super}]|[ªº])+", regex.V1
)
