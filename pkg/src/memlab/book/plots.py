"""Figures: a DataFrame goes in, an Axes comes out. Nothing is computed here that a reader could not
see in a table.

Colour has one meaning in the whole book (COLOURS); marker and dash repeat it for those who do not
see the colour.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

# Okabe–Ito colours, one role each.
COLOURS = {
    "memory": "#0072B2",
    "control": "#7A7A7A",
    "people": "#D55E00",
    "theory": "#000000",
    "retrieval": "#009E73",
    "attention": "#CC79A7",
}
MARKERS = {
    "memory": "o",
    "control": "s",
    "people": "D",
    "theory": "",
    "retrieval": "^",
    "attention": "v",
}
WIDTH = 6.5


def style() -> None:
    """Set the look of every figure: seaborn ticks, 6.5 inches wide, an opaque light ground for both
    page modes."""
    sns.set_theme(
        context="notebook",
        style="ticks",
        rc={
            "figure.figsize": (WIDTH, 3.6),
            "figure.dpi": 110,
            "savefig.dpi": 110,
            "figure.facecolor": "#ffffff",
            "axes.facecolor": "#ffffff",
            "axes.titlesize": 11,
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
            "axes.labelsize": 10,
            "xtick.labelsize": 9,
            "ytick.labelsize": 9,
            "legend.fontsize": 9,
            "legend.frameon": False,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "font.family": "DejaVu Sans",
            "figure.constrained_layout.use": True,
            "svg.hashsalt": "memlab",
        },
    )


def line(
    data: pd.DataFrame,
    x: str,
    role: str,
    *,
    label: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """One curve with its interval: `data` has the columns x, mean, low, high (as
    `results.summarise` makes them)."""
    ax = ax if ax is not None else plt.gca()
    if role not in COLOURS:
        raise ValueError(f"unknown role {role!r}: expected one of {', '.join(COLOURS)}")
    data = data.sort_values(x)
    ax.plot(
        data[x],
        data["mean"],
        color=COLOURS[role],
        marker=MARKERS[role],
        label=label or role,
        clip_on=False,
    )
    ax.fill_between(
        data[x], data["low"], data["high"], color=COLOURS[role], alpha=0.18, linewidth=0
    )
    return ax
