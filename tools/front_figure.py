"""Draw the figure of the front page from the recorded results of the chapter on needles.

    python tools/front_figure.py [book/results/needles.jsonl]

Writes web/static/front.html (two versions of the drawing, for wide and narrow screens, and the
caption) for the page and web/static/front.svg to be used elsewhere. Refuses, with one sentence and
status 1, if the records are missing or no longer show what the page says.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from memlab import results

ROOT = Path(__file__).resolve().parents[1]
RECORDS = ROOT / "book/results/needles.jsonl"
MODELS = {"memory": "memory", "attention": "causal"}  # as the records call them
TASK, METRIC, WINDOW = "needle", "recall", 384
TITLE = "Two models of one size, trained on at most 384 tokens. One can be asked at a million. Why?"
INK, SOFT, RULE = "var(--fig-ink,#22262b)", "var(--fig-soft,#565b62)", "var(--fig-rule,#dcd8d0)"
BLUE, PURPLE = "var(--fig-memory,#0072B2)", "var(--fig-attention,#CC79A7)"
PURPLE_TEXT = "var(--fig-attention-text,#9a3f72)"


@dataclass(frozen=True)
class Frame:
    """Sizes of one version in SVG units: the plot lies between left and right, top and bottom."""

    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int
    font: int
    lengths: tuple[float, float]

    def x(self, tokens: float) -> float:
        """Horizontal place of a length, on a logarithmic axis."""
        low, high = (math.log2(v) for v in self.lengths)
        return round(
            self.left + (math.log2(tokens) - low) / (high - low) * (self.right - self.left), 1
        )

    def y(self, recall: float) -> float:
        """Vertical place of a recall between 0 and 1."""
        return round(self.bottom - recall * (self.bottom - self.top), 1)


def short(tokens: float) -> str:
    """384 → "384", 4000 or 4096 → "4K", 1000000 or 1048576 → "1M"."""
    base = 1024 if math.log2(tokens).is_integer() else 1000
    for unit, mark in ((base**2, "M"), (base, "K")):
        if tokens >= unit:
            return f"{round(tokens / unit)}{mark}"
    return str(round(tokens))


def curve(data: pd.DataFrame, model: str) -> pd.DataFrame:
    """Mean recall and Wilson interval by length for one model. ValueError if there are no such
    records."""
    rows = data[(data["model"] == model) & (data["task"] == TASK) & (data["metric"] == METRIC)]
    if rows.empty:
        have = sorted(
            {
                (str(m), str(t), str(k))
                for m, t, k in zip(data["model"], data["task"], data["metric"], strict=True)
            }
        )
        raise ValueError(
            f"expected records of model {model!r}, task {TASK!r}, metric {METRIC!r}, got {have}"
        )
    return results.summarise(rows, ["tokens"]).sort_values("tokens")


def check(memory: pd.DataFrame, attention: pd.DataFrame) -> None:
    """ValueError unless memory stays up to its longest text and attention starts well and falls."""
    if memory["mean"].min() < 0.95 or memory["tokens"].max() < 900_000:
        raise ValueError(
            "expected the memory decoder at 0.95 or more up to a million tokens, got a minimum of "
            f"{memory['mean'].min():.2f} up to {short(memory['tokens'].max())}"
        )
    if attention["mean"].iloc[0] < 0.9 or attention["mean"].iloc[-1] > 0.5:
        raise ValueError(
            "expected the causal transformer to start at 0.9 or more and end at 0.5 or less, got "
            f"{attention['mean'].iloc[0]:.2f} and {attention['mean'].iloc[-1]:.2f}"
        )


def text(
    x: float, y: float, words: str, fill: str, size: float, anchor: str = "start", weight: int = 400
) -> str:
    """One line of text as SVG."""
    return (
        f'<text x="{x:g}" y="{y:g}" fill="{fill}" style="fill:{fill}" font-size="{size:g}" '
        f'text-anchor="{anchor}" font-weight="{weight}">{words}</text>'
    )


def axes(frame: Frame, ticks: list[float]) -> list[str]:
    """Grid lines, tick labels and the mark at the training length."""
    parts, size = [], frame.font
    for recall in (0, 0.5, 1):
        y = frame.y(recall)
        parts += [
            f'<path d="M{frame.left} {y}H{frame.right}" style="stroke:{RULE}" stroke-width="1"/>',
            text(frame.left - 10, y + size * 0.35, f"{recall:.0%}", SOFT, size, "end"),
        ]
    for tokens in ticks if frame.width > 500 else ticks[-1::-2]:
        parts.append(
            text(frame.x(tokens), frame.bottom + size * 1.5, short(tokens), SOFT, size, "middle")
        )
    x = frame.x(WINDOW)
    return [
        *parts,
        (
            f'<path d="M{x} {frame.top - 6}V{frame.bottom}" style="stroke:{INK}" stroke-width="1.4"'
            ' stroke-dasharray="5 4"/>'
        ),
        text(x, frame.bottom + size * 1.5, str(WINDOW), INK, size, "middle", 600),
        text(
            frame.right,
            frame.bottom + size * 3.1,
            "length of the text, in tokens",
            SOFT,
            size,
            "end",
        ),
    ]


def line(frame: Frame, data: pd.DataFrame, colour: str, mark: str) -> list[str]:
    """One curve: its interval as a band, the line, and a marker (circle or triangle) at every
    length."""
    xs = [frame.x(t) for t in data["tokens"]]
    low, mid, high = ([frame.y(v) for v in data[c]] for c in ("low", "mean", "high"))
    band = " ".join(
        f"{x},{y}"
        for x, y in [*zip(xs, high, strict=True), *reversed(list(zip(xs, low, strict=True)))]
    )
    path = " ".join(f"{x},{y}" for x, y in zip(xs, mid, strict=True))
    shapes = {
        "circle": '<circle cx="{x}" cy="{y}" r="4.6" style="fill:{c}"/>',
        "triangle": '<path d="M{x} {y}m-5.4 -4.2h10.8l-5.4 9.4z" style="fill:{c}"/>',
    }
    return [
        f'<polygon points="{band}" style="fill:{colour}" opacity=".17"/>',
        (
            f'<polyline points="{path}" fill="none" style="stroke:{colour}" stroke-width="3"'
            ' stroke-linejoin="round"/>'
        ),
        *(shapes[mark].format(x=x, y=y, c=colour) for x, y in zip(xs, mid, strict=True)),
    ]


def labels(frame: Frame, attention: pd.DataFrame) -> list[str]:
    """Direct labels: each next to its curve, in words."""
    size, end = frame.font, attention.iloc[-1]
    below = frame.y(1) + size * 2.3
    x, y = (
        frame.x(end["tokens"]) + 14,
        min(frame.y(end["mean"]) + size * 0.3, frame.bottom - size * 1.7),
    )
    return [
        text(frame.right, below, "memory outside the weights", BLUE, size, "end", 650),
        text(x, y, "attention alone,", PURPLE_TEXT, size, "start", 650),
        text(x, y + size * 1.25, "same size", PURPLE_TEXT, size, "start", 650),
        text(frame.x(WINDOW) + 7, frame.bottom - size * 1.75, "longest text", INK, size * 0.92),
        text(frame.x(WINDOW) + 7, frame.bottom - size * 0.6, "in training", INK, size * 0.92),
    ]


def describe(memory: pd.DataFrame, attention: pd.DataFrame) -> str:
    """The figure in one sentence, for those who do not see it."""
    a, b = attention.iloc[0], attention.iloc[-1]
    low, high = f"{memory['mean'].min():.0%}", f"{memory['mean'].max():.0%}"
    stays = f"at {low}" if low == high else f"between {low} and {high}"
    return (
        f"Share of questions answered against length of text. The memory decoder stays {stays} from"
        f" {short(memory['tokens'].min())} to {short(memory['tokens'].max())} tokens; the causal"
        f" transformer falls from {a['mean']:.0%} at {short(a['tokens'])} tokens to {b['mean']:.0%}"
        f" at {short(b['tokens'])}."
    )


def draw(memory: pd.DataFrame, attention: pd.DataFrame, name: str) -> str:
    """The whole SVG of the wide or the narrow version."""
    ticks = [t for t in memory["tokens"] if t > 1.7 * WINDOW]
    lengths = (
        0.8 * min(256.0, memory["tokens"].min(), attention["tokens"].min()),
        float(memory["tokens"].max()),
    )
    frame = (
        Frame(920, 304, 54, 902, 22, 244, 15, lengths)
        if name == "wide"
        else Frame(380, 350, 50, 364, 30, 282, 14, lengths)
    )
    body = [
        *axes(frame, ticks),
        *line(frame, attention, PURPLE, "triangle"),
        *line(frame, memory, BLUE, "circle"),
        *labels(frame, attention),
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="front-{name}" viewBox="0 0 {frame.width}'
        f' {frame.height}" role="img" font-family="system-ui, sans-serif"'
        f' aria-labelledby="front-{name}-title">\n<title'
        f' id="front-{name}-title">{describe(memory, attention)}</title>\n'
        + "\n".join(body)
        + "\n</svg>\n"
    )


def caption(memory: pd.DataFrame, attention: pd.DataFrame, data: pd.DataFrame) -> str:
    """What the points are made of: questions, seeds, intervals."""
    n, seeds = int(min(memory["n"].min(), attention["n"].min())), data["seed"].nunique()
    return (
        f"Share of questions answered about one sentence hidden in a longer text. At least {n}"
        f" questions a point, {seeds} seed{'s' if seeds != 1 else ''}; bands are 95&nbsp;% Wilson"
        " intervals."
    )


def page(wide: str, narrow: str, words: str) -> str:
    """The figure as it stands on the front page."""
    source = '<a class="reference internal" href="outside-the-weights/needles.html">Chapter 11</a>'
    return (
        f'<figure class="front-figure">\n<p class="figure-title">{TITLE}</p>\n{wide}{narrow}'
        f"<figcaption>{words} {source}</figcaption>\n</figure>\n"
    )


def main(argv: list[str]) -> int:
    """Draw both versions; 0 on success, 1 if the records do not allow it."""
    path = Path(argv[0]) if argv else RECORDS
    try:
        data = results.load(path)
        memory, attention = (curve(data, MODELS[role]) for role in ("memory", "attention"))
        check(memory, attention)
    except (ValueError, FileNotFoundError, KeyError) as problem:
        print(f"front_figure: {problem}", file=sys.stderr)
        return 1
    wide, narrow = (draw(memory, attention, name) for name in ("wide", "narrow"))
    (ROOT / "web/static/front.svg").write_text(wide, "utf-8")
    (ROOT / "web/static/front.html").write_text(
        page(wide, narrow, caption(memory, attention, data)), "utf-8"
    )
    print(describe(memory, attention), caption(memory, attention, data))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
