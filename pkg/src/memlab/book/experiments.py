"""The table of the book's experiments: find one, measure it, run it for a page, read what was
recorded.

An experiment is a module with `run(profile, seed)`, an iterator of records, or `units(profile,
seed)`, an iterator of pieces that can be measured on their own; `table(data)`, the DataFrame that
is printed; and `verdicts(data)`, one line for every claim it bears on. The command line, the
chapters and the recorded results all call these three. One that asks a model of others says in
`sources()` which one it is.
"""

from __future__ import annotations

import importlib
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd

from memlab import results, runtime
from memlab.book.units import WHOLE, Progress, Unit, say
from memlab.results import Record

PAGE_WIDTH = 88  # characters that a page shows in one line

# Name → module below memlab.book, in the order of the book. Names stand in records and commands and
# do not change.
TABLE = {
    "poem-in-the-box": "argument.poem_in_the_box.experiment",
    "universal-approximation": "argument.universal_approximation.experiment",
    "dynamic-sum": "argument.dynamic_sum.experiment",
    "where-is-the-memory": "argument.where_is_the_memory.experiment",
    "reciting": "opening_the_box.reciting.experiment",
    "reciting-pretrained": "opening_the_box.reciting.experiment_pretrained",
    "how-much-fits": "opening_the_box.how_much_fits.experiment",
    "before-you-ask": "opening_the_box.before_you_ask.experiment",
    "before-you-ask-pretrained": "opening_the_box.before_you_ask.experiment_pretrained",
    "by-heart": "opening_the_box.before_you_ask.experiment_by_heart",
    "the-right-question": "opening_the_box.the_right_question.experiment",
    "the-right-question-pretrained": "opening_the_box.the_right_question.experiment_pretrained",
    "associative-memories": "outside_the_weights.associative_memories.experiment",
    "memory-decoder": "outside_the_weights.memory_decoder.experiment",
    "bridge": "outside_the_weights.memory_decoder.experiment_bridge",
    "one-matrix": "outside_the_weights.one_matrix.experiment",
    "understanding": "outside_the_weights.understanding.experiment",
    "editing": "outside_the_weights.editing.experiment",
    "needles": "outside_the_weights.needles.experiment",
    "needles-reader": "outside_the_weights.needles.experiment_reader",
    "harder-needles": "outside_the_weights.needles.experiment_harder",
    "causal-training": "outside_the_weights.needles.experiment_causal",
    "what-it-costs": "outside_the_weights.what_it_costs.experiment",
    "what-it-costs-pretrained": "outside_the_weights.what_it_costs.experiment_pretrained",
}


def names() -> list[str]:
    """The experiments there are, as the command line spells them, in the order of the book."""
    return list(TABLE)


def find(name: str) -> ModuleType:
    """The module of an experiment; ValueError with the list of names if there is none."""
    if name not in TABLE:
        raise ValueError(f"unknown experiment {name!r}: expected one of {', '.join(TABLE)}")
    return importlib.import_module(f"memlab.book.{TABLE[name]}")


def units(
    module: ModuleType,
    profile: str,
    seed: int,
) -> Iterator[Unit]:
    """The pieces of an experiment; one that knows no pieces is a single one."""
    if hasattr(module, "units"):
        yield from module.units(profile, seed)
    else:
        yield Unit(WHOLE, lambda: module.run(profile, seed))


def chosen(
    name: str,
    profile: str,
    seed: int,
    only: Sequence[str] = (),
) -> list[Unit]:
    """The units of an experiment, or those that `only` names; ValueError for a name that there is
    not."""
    found = list(units(find(name), profile, seed))
    there = [unit.name for unit in found]
    if wrong := sorted(set(only) - set(there)):
        raise ValueError(f"unknown unit {wrong[0]!r} of {name}: expected {', '.join(there)}")
    return [unit for unit in found if not only or unit.name in only]


def _check_new(writer: results.Writer, asked: dict[str, str | int | float]) -> None:
    """ValueError if a file already holds a run of what is asked for; sets a line aside that was cut
    off."""
    if writer.stream:
        return
    writer.append(())
    if any(asked.items() <= session.items() for session in results.provenances(writer.path)):
        raise ValueError(
            f"{writer.path} already holds {asked['experiment']} of profile {asked['profile']} and"
            f" seed {asked['seed']}: expected --resume to go on with it, or another file"
        )


def _measured(
    pieces: Sequence[Unit],
    progress: Progress,
    writer: results.Writer | None,
) -> list[Record]:
    """The records of some units, each written as soon as it is there."""
    records: list[Record] = []

    def kept(unit: Unit) -> Iterator[Record]:
        for record in unit.measure():
            records.append(record)
            progress.record()
            yield record

    with runtime.Stopwatch() as watch, progress:
        for unit in pieces:
            progress.begin(unit.name)
            if writer is None:
                for _ in kept(unit):
                    pass
            else:
                writer.append(kept(unit))
                writer.close_unit(unit.name, seconds=round(watch.lap(), 1))
            progress.end()
    if writer is not None:
        peak = runtime.peak_memory_bytes() >> 20
        wall = round(watch.seconds, 1)
        writer.finish(records=len(records), wall_seconds=wall, peak_megabytes=peak)
    return records


def measure(
    name: str,
    profile: str,
    seed: int = 0,
    *,
    only: Sequence[str] = (),
    out: str | Path | None = None,
    resume: bool = False,
) -> pd.DataFrame:
    """Measure an experiment and return its records, those of an interrupted run in `out` included;
    stderr says how far it is.

    With `out` each record is appended to that file as soon as it is measured, and every unit that
    is whole is closed, so that the run can go on from there with `resume`. Nobody else can write to
    the file meanwhile. ValueError for an unknown unit in `only`, for a file that already holds this
    run, and for one that another run is writing to.
    """
    asked: dict[str, str | int | float] = {"experiment": name, "profile": profile, "seed": seed}
    asked.update(getattr(find(name), "sources", dict)())
    pieces = chosen(name, profile, seed, only)
    if out is None:
        return results.frame(_measured(pieces, Progress(name, pieces), None))
    with results.Writer(out) as writer:
        done = writer.resume(**asked) if resume else set()
        if not resume:
            _check_new(writer, asked)
        data = [results.load(writer.path)] if done else []
        writer.append((), runtime.provenance(**asked))
        progress = Progress(name, pieces, done)
        records = _measured([unit for unit in pieces if unit.name not in done], progress, writer)
    say(f"{name}: {len(records)} records appended to {writer.path}")
    return pd.concat([*data, results.frame(records)], ignore_index=True)


def run(
    name: str,
    profile: str | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Run an experiment and return its records as a DataFrame; nothing is printed, as a page wants
    it."""
    runtime.use_threads()
    records: list[Record] = []
    for unit in units(find(name), runtime.profile(profile), seed):
        records.extend(unit.measure())
    return results.frame(records)


def _model_of(made: Mapping[str, Any]) -> str:
    """The model of others that a session asked; nothing if it asked none."""
    said = [made[key] for key in ("llm_package", "llm_checkpoint") if key in made]
    return f", {': '.join(said)}" if said else ""


def recorded(name: str, folder: str | Path = "../results") -> pd.DataFrame:
    """The records of `folder`/`name`.jsonl, after a printed line a session that says who made
    them, or two.

    Where there is no such file (a notebook on its own, a run not made yet) it says so, and the
    frame is empty.
    """
    path = Path(folder) / f"{name}.jsonl"
    if not path.exists():
        command = f"  python -m memlab run {name} --profile full --out {path.name}"
        print("no recorded run here; to make one:")
        print(
            command if len(command) <= PAGE_WIDTH else command.replace(" --out", " \\\n    --out")
        )
        return pd.DataFrame()
    for made in results.provenances(path):
        seconds = made.get("wall_seconds")
        took = "not finished" if seconds is None else f"{seconds / 60:.0f} min"
        who = (
            f"recorded {made['date'][:10]}: profile {made['profile']}, {took},"
            f" {made['device']}, {made['threads']} thread{'s' * (made['threads'] != 1)}, torch"
            f" {made['torch']}{_model_of(made)}"
        )
        print(textwrap.fill(who, PAGE_WIDTH, subsequent_indent="  "))
    return results.load(path)
