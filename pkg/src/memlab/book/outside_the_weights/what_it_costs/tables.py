"""Chapter 12's tables: what the records of `what-it-costs` say, laws fitted to them, and what
follows from the laws."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from memlab.book.outside_the_weights.what_it_costs import clock_and_laws
from memlab.book.outside_the_weights.what_it_costs.clock_and_laws import Law

BILLION = 10**9
SYSTEMS = {
    "float32": "memory, float32",
    "int8": "memory, int8",
    "files": "memory, int8 in files",
    "bm25": "BM25",
    "sentences": "sentence encoder",
    "attention": "attention, with its cache",
    "linear": "linear, fixed size",
}

SAID = {  # the evidence of each claim, filled with `facts`
    "N2": (
        "from 4,096 to {longest:,.0f} tokens: bytes a token times {bytes growth:.2f}, seconds to"
        " encode one times {build growth:.2f}; a look-up {look-up ms:.1f} ms"
    ),
    "N40": (
        "{text growth:.0f} times the text: {working:.2f} times the memory beside the rows; no GPU"
        " measured"
    ),
    "N41": (
        "encoding takes {encode over rest:.0f} times as long as writing, look-up and answers"
        " together"
    ),
    "N42": (
        "one question: attention takes {dearer least:.1f} times as long at {dearer from:,.0f}"
        " tokens, {dearer most:.1f} times at {dearer to:,.0f}"
    ),
    "N43": (
        "the memory takes {bm25 least:.0f} to {bm25 most:.0f} times the time of BM25, at every"
        " length"
    ),
    "N44": (
        "write {write ratio:.1f} times, later reads {read ratio:.0f} times as fast; error"
        " {error:.0e}, its {old error:.0e}"
    ),
    "N45": "int8 rows: {int8 bytes:.0f} bytes a token; recall float32 minus int8 {recall lost:.3f}",
}


def numbers(data: pd.DataFrame, system: str, metric: str) -> pd.Series:
    """A metric of a system by length of the text, shortest first."""
    rows = data[(data.task == "length") & (data.model == system) & (data.metric == metric)]
    return rows.groupby("tokens").value.mean()


def law(data: pd.DataFrame, system: str, metric: str, terms: Sequence[int] = (0, 1)) -> Law:
    """The law of a cost over the length of the text."""
    found = numbers(data, system, metric)
    return clock_and_laws.law(found.index.tolist(), found.tolist(), terms=terms)


def fixed(data: pd.DataFrame) -> float:
    """Seconds of a question that are the same at every length: its query, the second look at the
    rows found, the answer (medians over lengths)."""
    return sum(
        float(numbers(data, "model", metric).median()) for metric in ("ask", "check", "answer")
    )


def stages(data: pd.DataFrame) -> pd.DataFrame:
    """By length, for rows in float32: seconds to encode and to write, milliseconds of a look-up and
    of an answer (its question encoded, the rows found looked at again, written out), bytes a token.
    Drawn rows have no text to encode."""
    write, read, held = (numbers(data, "float32", metric) for metric in ("write", "read", "bytes"))
    made, *parts = (
        numbers(data, "model", metric) for metric in ("build", "ask", "check", "answer")
    )
    found = pd.DataFrame(
        {
            "encode s": made,
            "write s": write,
            "look-up ms": 1e3 * read,
            "answer ms": 1e3 * sum(parts),
            "bytes/token": held / held.index,
        }
    )
    return found.round(
        {"encode s": 2, "write s": 4, "look-up ms": 2, "answer ms": 0, "bytes/token": 1}
    ).reset_index()


def systems(data: pd.DataFrame) -> pd.DataFrame:
    """Every system at the longest text it was measured on: microseconds a token to make it ready,
    milliseconds a question with its answer, bytes a token."""
    rows = []
    for system, name in SYSTEMS.items():
        held = numbers(data, system, "bytes")
        texts = (
            numbers(data, "model", "build")
            if system in ("float32", "int8", "files", "linear")
            else held
        )
        lengths = held.index.intersection(texts.index)
        if len(lengths):
            n = int(lengths[-1])
            rows.append(
                (
                    name,
                    n,
                    1e6 * _ready(data, system, n) / n,
                    1e3 * _question(data, system, n),
                    held[n] / n,
                )
            )
    return pd.DataFrame(
        rows, columns=["system", "tokens", "µs/token", "ms/question", "bytes/token"]
    ).round({"µs/token": 1, "ms/question": 1, "bytes/token": 1})


def _ready(data: pd.DataFrame, system: str, n: float | int) -> float:
    if system in ("bm25", "sentences", "attention"):
        return float(numbers(data, system, "build")[n])
    write = numbers(data, system, "write wall" if system == "files" else "write")[n]
    return float(numbers(data, "model", "build")[n] + write)


def _question(data: pd.DataFrame, system: str, n: float | int) -> float:
    if system == "attention":
        return float(numbers(data, system, "answer")[n])
    own = float(numbers(data, system, "read")[n])
    return own if system in ("bm25", "sentences") else own + fixed(data)


def memory_laws(data: pd.DataFrame, dtype: str = "float32") -> tuple[Law, Law]:
    """Seconds of the memory over tokens: to encode and write a text, and of one question with its
    answer."""
    made, write, read = (
        law(data, "model", "build", (1,)),
        law(data, dtype, "write"),
        law(data, dtype, "read"),
    )
    longest = made.longest
    return Law(write.a, made.b + write.b, 0.0, longest), Law(
        read.a + fixed(data), read.b, 0.0, longest
    )


def attention_laws(data: pd.DataFrame) -> tuple[Law, Law]:
    """Seconds of the causal transformer over tokens: to read a text into its cache, and of one
    question over it."""
    return law(data, "attention", "build", (0, 1, 2)), law(data, "attention", "answer")


def one_question(data: pd.DataFrame, system: str) -> pd.Series:
    """Seconds to read a text and answer one question about it, by the lengths that were measured
    whole."""
    lengths = numbers(data, system, "build" if system in ("bm25", "attention") else "bytes").index
    if system not in ("bm25", "attention"):
        lengths = lengths.intersection(numbers(data, "model", "build").index)
    return pd.Series({n: _total(data, system, n) for n in lengths})


def times_as_dear(data: pd.DataFrame, tokens: float | int, questions: float | int) -> float:
    """Seconds of attention over seconds of the memory for so many questions about one text of this
    length, by their laws; infinitely many: reading the text costs nothing any more."""
    (read, ask), (prefill, answer) = memory_laws(data), attention_laws(data)
    if math.isinf(questions):
        return float(answer(tokens) / ask(tokens))
    return float(
        (prefill(tokens) + questions * answer(tokens)) / (read(tokens) + questions * ask(tokens))
    )


def meetings(data: pd.DataFrame) -> pd.DataFrame:
    """How many times the memory's time attention takes, by length of the text and number of
    questions about it; and whether the length lies beyond what attention was measured on."""
    longest, rows = attention_laws(data)[0].longest, []
    for tokens in (2**10, 2**13, 2**16, 2**20):
        rows.append(
            (
                tokens,
                *(times_as_dear(data, tokens, m) for m in (1, 10, 1000, math.inf)),
                tokens > longest,
            )
        )
    names = ["tokens", "1 question", "10", "1000", "text read before", "extrapolated"]
    return pd.DataFrame(rows, columns=names).round(1)


def crossings(data: pd.DataFrame) -> dict[str, Any]:
    """Where one part of the cost overtakes another: from how many tokens on attention spends more
    on pairs of tokens than on tokens, the memory more on a look-up than on writing its answer out,
    and from how many questions about a million tokens on it spends more on answers than on having
    read. Infinite where that never comes."""
    (read, ask), (prefill, _) = memory_laws(data), attention_laws(data)
    return {
        "pairs over tokens": prefill.b / prefill.c if prefill.c else math.inf,
        "look-up over answer": fixed(data) / ask.b if ask.b else math.inf,
        "answers over reading": float(read(2**20) / ask(2**20)),
    }


def limits(data: pd.DataFrame) -> pd.DataFrame:
    """Each stage: milliseconds, those of its roofline, what that is made of, and the share of the
    limit reached."""
    found = data[data.task == "limit"].pivot_table("value", "model", "metric", sort=False)
    share = found["limit"] / found["seconds"]
    return (
        pd.DataFrame(
            {
                "ms": 1e3 * found["seconds"],
                "limit ms": 1e3 * found["limit"],
                "MFLOP": found["flops"] / 1e6,
                "MB": found["moved"] / 1e6,
                "share": share,
            }
        )
        .round(2)
        .rename_axis("stage")
        .reset_index()
    )


def whole(data: pd.DataFrame) -> pd.DataFrame:
    """Whole runs: CPU seconds in all and by stage, peak gigabytes, bytes of memory a token, right
    answers of two."""
    found = (
        data[data.task == "whole"].pivot_table("value", ["tokens", "model"], "metric").reset_index()
    )
    names = ["cpu", "text", "encode", "write"]
    table = found[["tokens", "model", *names]].rename(columns={name: f"{name} s" for name in names})
    table["peak GB"], table["bytes/token"] = found["peak"] / 1e9, found["bytes"] / found["length"]
    return table.rename(columns={"model": "rows"}).round(2)


def billion(data: pd.DataFrame, tokens: int = BILLION) -> pd.DataFrame:
    """Extrapolated, each by its own law, to so many tokens: hours to make ready on one core,
    seconds a question, gigabytes; and the longest text that the law was fitted on."""
    rows = []
    for system in ("float32", "int8", "bm25", "attention"):
        held = numbers(data, system, "bytes")
        if system == "attention":
            ready, ask = attention_laws(data)
        elif system == "bm25":
            ready, ask = law(data, system, "build", (1,)), law(data, system, "read")
        else:
            ready, ask = memory_laws(data, system)
        rows.append(
            (
                SYSTEMS[system],
                ready(tokens) / 3600,
                ask(tokens),
                held.iloc[-1] / held.index[-1] * tokens / 1e9,
                int(ready.longest),
            )
        )
    return pd.DataFrame(
        rows, columns=["system", "hours to read", "s a question", "GB", "fitted to"]
    ).round(1)


def facts(data: pd.DataFrame) -> dict[str, Any]:
    """The numbers that the verdicts rest on, by name."""
    held, made = numbers(data, "float32", "bytes"), numbers(data, "model", "build")
    per_token, build = held / held.index, made / made.index
    runs = (
        data[data.task == "whole"].pivot_table("value", ["model", "tokens"], "metric").loc["int8"]
    )
    short, long = runs.iloc[0], runs.iloc[-1]
    old = data[data.task == "historic"].pivot_table("value", "model", "metric")
    hits = data[data.metric == "recall"].groupby("model").value.mean()
    bm25 = [_total(data, "float32", n) / _total(data, "bm25", n) for n in made.index]
    return {
        "bytes growth": per_token.loc[made.index[-1]] / per_token.loc[4096],
        "build growth": build.iloc[-1] / build.loc[4096],
        "longest": float(made.index[-1]),
        "look-up ms": 1e3 * numbers(data, "float32", "read")[made.index[-1]],
        "working": (long["peak"] - long["bytes"]) / (short["peak"] - short["bytes"]),
        "text growth": long["length"] / short["length"],
        "encode over rest": long["encode"] / (long["write"] + long["read"] + long["answer"]),
        **_dearer(data),
        "bm25 least": min(bm25),
        "bm25 most": max(bm25),
        "write ratio": old["write"]["steps"] / old["write"]["exact"],
        "read ratio": old["read"]["steps"] / old["read"]["exact"],
        "error": old["error"]["exact"],
        "old error": old["error"]["steps"],
        "recall lost": hits["float32"] - hits["int8"],
        "int8 bytes": long["bytes"] / long["length"],
    }


def _dearer(data: pd.DataFrame) -> dict[str, Any]:
    """One question over attention and over the memory, at the shortest and the longest text both
    were measured on."""
    both = numbers(data, "attention", "build").index.intersection(
        numbers(data, "model", "build").index
    )
    ratio = [_total(data, "attention", n) / _total(data, "float32", n) for n in both]
    return {
        "dearer from": float(both[0]),
        "dearer least": ratio[0],
        "dearer to": float(both[-1]),
        "dearer most": ratio[-1],
    }


def _total(data: pd.DataFrame, system: str, n: float | int) -> float:
    return _ready(data, system, n) + _question(data, system, n)
