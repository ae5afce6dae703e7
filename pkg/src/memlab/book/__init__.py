"""The book in code: each chapter is a package at the path of its page.

    book/outside-the-weights/needles.md  ↔  memlab/book/outside_the_weights/needles/

A chapter holds `experiment.py` (what is run, its table, its verdicts), `measure.py` and `tables.py`
where they are needed, `exercises.py` (checks of the reader's own answers), and the machinery that
it alone uses. A check returns None and prints "ok", or raises AssertionError with a message that
says what to look at; it compares with a slow, obvious computation, never with a stored answer.

units        pieces of an experiment that can be measured on their own
experiments  the table of all experiments: find, measure, run, recorded
plots        a table in, axes out
marks        numbers printed with their tolerance
checks       what the checks of all exercises share: answers of any type, refused with a sentence
"""
