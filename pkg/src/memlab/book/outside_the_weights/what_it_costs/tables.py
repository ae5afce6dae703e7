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
QUESTION = ("ask", "check", "answer")  # its stages that do not depend on what is stored
MEMORIES = ("float32", "int8", "files", "linear")  # they share the decoder and its encoder

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


def numbers(
    data: pd.DataFrame,
    system: str,
    metric: str,
) -> pd.Series:
    """A metric of a system by length of the text, shortest first."""
    of_system = data[(data.task == "length") & (data.model == system)]
    rows = of_system[of_system.metric == metric]
    return rows.groupby("tokens").value.mean()


def law(
    data: pd.DataFrame,
    system: str,
    metric: str,
    terms: Sequence[int] = (0, 1),
) -> Law:
    """The law of a cost over the length of the text."""
    found = numbers(data, system, metric)
    return clock_and_laws.law(found.index.tolist(), found.tolist(), terms=terms)


def fixed(data: pd.DataFrame) -> float:
    """Seconds of a question that are the same at every length: its query, the second look at the
    rows found, the answer (medians over lengths)."""
    return sum(float(numbers(data, "model", metric).median()) for metric in QUESTION)


def stages(data: pd.DataFrame) -> pd.DataFrame:
    """By length, for rows in float32: seconds to encode and to write, milliseconds of a look-up and
    of an answer (its question encoded, the rows found looked at again, written out), bytes a token.
    Drawn rows have no text to encode."""
    answer = sum(numbers(data, "model", metric) for metric in QUESTION)
    held = numbers(data, "float32", "bytes")
    found = pd.DataFrame(
        {
            "encode s": numbers(data, "model", "build"),
            "write s": numbers(data, "float32", "write"),
            "look-up ms": 1e3 * numbers(data, "float32", "read"),
            "answer ms": 1e3 * answer,
            "bytes/token": held / held.index,
        }
    )
    digits = {"encode s": 2, "write s": 4, "look-up ms": 2, "answer ms": 0, "bytes/token": 1}
    return found.round(digits).reset_index()


def systems(data: pd.DataFrame) -> pd.DataFrame:
    """Every system at the longest text it was measured on: microseconds a token to make it ready,
    milliseconds a question with its answer, bytes a token."""
    rows = []
    for system, name in SYSTEMS.items():
        held = numbers(data, system, "bytes")
        lengths = held.index
        if system in MEMORIES:  # some were measured on drawn rows too, which no text was read for
            lengths = lengths.intersection(numbers(data, "model", "build").index)
        if len(lengths):
            n = int(lengths[-1])
            ready = 1e6 * _ready(data, system, n) / n
            question = 1e3 * _question(data, system, n)
            rows.append((name, n, ready, question, held[n] / n))
    names = ["system", "tokens", "µs/token", "ms/question", "bytes/token"]
    return pd.DataFrame(rows, columns=names).round(dict.fromkeys(names[2:], 1))


def _ready(
    data: pd.DataFrame,
    system: str,
    n: float | int,
) -> float:
    """Seconds until questions about a text of n tokens can be asked."""
    if system not in MEMORIES:
        return float(numbers(data, system, "build")[n])
    write = numbers(data, system, "write wall" if system == "files" else "write")[n]
    return float(numbers(data, "model", "build")[n] + write)


def _question(
    data: pd.DataFrame,
    system: str,
    n: float | int,
) -> float:
    """Seconds of one question about a text of n tokens, its answer included."""
    if system == "attention":
        return float(numbers(data, system, "answer")[n])
    own = float(numbers(data, system, "read")[n])
    return own if system in ("bm25", "sentences") else own + fixed(data)


def memory_laws(data: pd.DataFrame, dtype: str = "float32") -> tuple[Law, Law]:
    """Seconds of the memory over tokens: to encode and write a text, and of one question with its
    answer."""
    encode = law(data, "model", "build", (1,))
    write = law(data, dtype, "write")
    look_up = law(data, dtype, "read")
    longest = encode.longest
    read = Law(write.a, encode.b + write.b, 0.0, longest)
    ask = Law(look_up.a + fixed(data), look_up.b, 0.0, longest)
    return read, ask


def attention_laws(data: pd.DataFrame) -> tuple[Law, Law]:
    """Seconds of the causal transformer over tokens: to read a text into its cache, and of one
    question over it."""
    prefill = law(data, "attention", "build", (0, 1, 2))
    answer = law(data, "attention", "answer")
    return prefill, answer


def one_question(data: pd.DataFrame, system: str) -> pd.Series:
    """Seconds to read a text and answer one question about it, by the lengths that were measured
    whole."""
    if system in ("bm25", "attention"):
        lengths = numbers(data, system, "build").index
    else:
        lengths = numbers(data, system, "bytes").index
        lengths = lengths.intersection(numbers(data, "model", "build").index)
    return pd.Series({n: _total(data, system, n) for n in lengths})


def times_as_dear(
    data: pd.DataFrame,
    tokens: float | int,
    questions: float | int,
) -> float:
    """Seconds of attention over seconds of the memory for so many questions about one text of this
    length, by their laws; infinitely many: reading the text costs nothing any more."""
    read, ask = memory_laws(data)
    prefill, answer = attention_laws(data)
    if math.isinf(questions):
        return float(answer(tokens) / ask(tokens))
    attention = prefill(tokens) + questions * answer(tokens)
    memory = read(tokens) + questions * ask(tokens)
    return float(attention / memory)


def meetings(data: pd.DataFrame) -> pd.DataFrame:
    """How many times the memory's time attention takes, by length of the text and number of
    questions about it; and whether the length lies beyond what attention was measured on."""
    longest = attention_laws(data)[0].longest
    rows = []
    for tokens in (2**10, 2**13, 2**16, 2**20):
        times = [times_as_dear(data, tokens, questions) for questions in (1, 10, 1000, math.inf)]
        rows.append((tokens, *times, tokens > longest))
    names = ["tokens", "1 question", "10", "1000", "text read before", "extrapolated"]
    return pd.DataFrame(rows, columns=names).round(1)


def crossings(data: pd.DataFrame) -> dict[str, Any]:
    """Where one part of the cost overtakes another: from how many tokens on attention spends more
    on pairs of tokens than on tokens, the memory more on a look-up than on writing its answer out,
    and from how many questions about a million tokens on it spends more on answers than on having
    read. Infinite where that never comes."""
    read, ask = memory_laws(data)
    prefill, _ = attention_laws(data)
    return {
        "pairs over tokens": prefill.b / prefill.c if prefill.c else math.inf,
        "look-up over answer": fixed(data) / ask.b if ask.b else math.inf,
        "answers over reading": float(read(2**20) / ask(2**20)),
    }


def limits(data: pd.DataFrame) -> pd.DataFrame:
    """Each stage: milliseconds, those of its roofline, what that is made of, and the share of the
    limit reached."""
    rows = data[data.task == "limit"]
    found = rows.pivot_table("value", "model", "metric", sort=False)
    table = pd.DataFrame(
        {
            "ms": 1e3 * found["seconds"],
            "limit ms": 1e3 * found["limit"],
            "MFLOP": found["flops"] / 1e6,
            "MB": found["moved"] / 1e6,
            "share": found["limit"] / found["seconds"],
        }
    )
    return table.round(2).rename_axis("stage").reset_index()


def whole(data: pd.DataFrame) -> pd.DataFrame:
    """Whole runs: CPU seconds in all and by stage, peak gigabytes, bytes of memory a token, right
    answers of two."""
    runs = data[data.task == "whole"]
    found = runs.pivot_table("value", ["tokens", "model"], "metric").reset_index()
    names = ["cpu", "text", "encode", "write"]
    seconds = {name: f"{name} s" for name in names}
    table = found[["tokens", "model", *names]].rename(columns=seconds)
    table["peak GB"] = found["peak"] / 1e9
    table["bytes/token"] = found["bytes"] / found["length"]
    return table.rename(columns={"model": "rows"}).round(2)


def billion(data: pd.DataFrame, tokens: int = BILLION) -> pd.DataFrame:
    """Extrapolated, each by its own law, to so many tokens: hours to make ready on one core,
    seconds a question, gigabytes; and the longest text that the law was fitted on."""
    rows = []
    for system in ("float32", "int8", "bm25", "attention"):
        ready, ask = _laws(data, system)
        held = numbers(data, system, "bytes")
        gigabytes = held.iloc[-1] / held.index[-1] * tokens / 1e9
        hours = ready(tokens) / 3600
        rows.append((SYSTEMS[system], hours, ask(tokens), gigabytes, int(ready.longest)))
    names = ["system", "hours to read", "s a question", "GB", "fitted to"]
    return pd.DataFrame(rows, columns=names).round(1)


def _laws(data: pd.DataFrame, system: str) -> tuple[Law, Law]:
    """Seconds of a system over tokens: to make a text ready, and of one question."""
    if system == "attention":
        return attention_laws(data)
    if system == "bm25":
        return law(data, "bm25", "build", (1,)), law(data, "bm25", "read")
    return memory_laws(data, system)


def facts(data: pd.DataFrame) -> dict[str, Any]:
    """The numbers that the verdicts rest on, by name."""
    hits = data[data.metric == "recall"].groupby("model").value.mean()
    return {
        **_growth(data),
        **_of_whole_runs(data),
        **_dearer(data),
        **_beside_bm25(data),
        **_of_larimar(data),
        "recall lost": hits["float32"] - hits["int8"],
    }


def _growth(data: pd.DataFrame) -> dict[str, Any]:
    """Bytes and seconds a token, at the longest text over those at 4,096 tokens."""
    held = numbers(data, "float32", "bytes")
    made = numbers(data, "model", "build")
    bytes_a_token = held / held.index
    seconds_a_token = made / made.index
    longest = made.index[-1]
    return {
        "bytes growth": bytes_a_token.loc[longest] / bytes_a_token.loc[4096],
        "build growth": seconds_a_token.iloc[-1] / seconds_a_token.loc[4096],
        "longest": float(longest),
        "look-up ms": 1e3 * numbers(data, "float32", "read")[longest],
    }


def _of_whole_runs(data: pd.DataFrame) -> dict[str, Any]:
    """The longest whole run with int8 rows, alone and over the shortest."""
    whole_runs = data[data.task == "whole"]
    runs = whole_runs.pivot_table("value", ["model", "tokens"], "metric").loc["int8"]
    beside = runs["peak"] - runs["bytes"]
    short = runs.iloc[0]
    long = runs.iloc[-1]
    rest = long["write"] + long["read"] + long["answer"]
    return {
        "working": beside.iloc[-1] / beside.iloc[0],
        "text growth": long["length"] / short["length"],
        "encode over rest": long["encode"] / rest,
        "int8 bytes": long["bytes"] / long["length"],
    }


def _dearer(data: pd.DataFrame) -> dict[str, Any]:
    """One question over attention and over the memory, at the shortest and the longest text both
    were measured on."""
    of_attention = numbers(data, "attention", "build").index
    both = of_attention.intersection(numbers(data, "model", "build").index)
    ratio = [_total(data, "attention", n) / _total(data, "float32", n) for n in both]
    return {
        "dearer from": float(both[0]),
        "dearer least": ratio[0],
        "dearer to": float(both[-1]),
        "dearer most": ratio[-1],
    }


def _beside_bm25(data: pd.DataFrame) -> dict[str, Any]:
    """One question over the memory and over BM25: the least and the most over all lengths."""
    lengths = numbers(data, "model", "build").index
    ratio = [_total(data, "float32", n) / _total(data, "bm25", n) for n in lengths]
    return {"bm25 least": min(ratio), "bm25 most": max(ratio)}


def _of_larimar(data: pd.DataFrame) -> dict[str, Any]:
    """Its iteration over its solution, and the errors of both."""
    found = data[data.task == "historic"].pivot_table("value", "model", "metric")
    return {
        "write ratio": found["write"]["steps"] / found["write"]["exact"],
        "read ratio": found["read"]["steps"] / found["read"]["exact"],
        "error": found["error"]["exact"],
        "old error": found["error"]["steps"],
    }


def _total(
    data: pd.DataFrame,
    system: str,
    n: float | int,
) -> float:
    return _ready(data, system, n) + _question(data, system, n)
