"""The command line: `python -m memlab list`, `python -m memlab run EXPERIMENT [--profile quick] [--out FILE]`,
`python -m memlab train memory-decoder|causal|fixed-memory --folder FOLDER` (how the shipped weights were made).

Progress goes to stderr, the table and one line per claim to stdout. Exit status 0 means that the experiment ran,
whatever it found; 2 means that the request made no sense.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pandas as pd

from memlab.book import experiments
from memlab import results, runtime
from memlab.book import units
from memlab.results import Record


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m memlab", description="Experiments of Schrödinger's Memory.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="name the experiments")
    run = commands.add_parser("run", help="run one experiment and print its table and verdicts")
    run.add_argument("experiment")
    run.add_argument("--resume", action="store_true", help="go on with the interrupted run in --out")
    run.add_argument("--only", action="append", metavar="UNIT", help="measure this unit alone (may be repeated) and "
                     "print no table: parts of a run can be made side by side, each into a file, and joined by cat")
    train = commands.add_parser("train", help="train one of the book's models from scratch and save it")
    train.add_argument("model", choices=("memory-decoder", "causal", "fixed-memory"))
    train.add_argument("--folder", required=True, help="where config and float16 weights are written")
    for command in (run, train):
        command.add_argument("--profile", default=None, help="quick (default), full or gpu")
        command.add_argument("--seed", type=int, default=0)
        command.add_argument("--threads", type=int, default=None, help="torch threads (default 1)")
        command.add_argument("--out", default=None, help="append each record to this .jsonl file as it is measured")
    return parser


def _kept(records: Iterable[Record], kept: list[Record]) -> Iterator[Record]:
    """Pass records through and remember them."""
    for record in records:
        kept.append(record)
        yield record


def _chosen(args: argparse.Namespace, profile: str) -> list[units.Unit]:
    """The units of the run, or those that --only names; ValueError for a name that there is not."""
    units = list(experiments.units(experiments.find(args.experiment), profile, args.seed))
    names = [unit.name for unit in units]
    if wrong := sorted(set(args.only or ()) - set(names)):
        raise ValueError(f"unknown unit {wrong[0]!r} of {args.experiment}: expected {', '.join(names)}")
    return [unit for unit in units if not args.only or unit.name in args.only]


def _measure(args: argparse.Namespace, profile: str) -> pd.DataFrame:
    """Measure all units and return their records; with --out each record is written as soon as it is measured."""
    asked = {"experiment": args.experiment, "profile": profile, "seed": args.seed}
    done = results.resume(args.out, **asked) if args.resume else set()
    old = []
    if args.out and not args.resume and Path(args.out).is_file():
        results.append(args.out, ())  # sets a line aside that was cut off, and says so
        old = results.provenances(args.out)
    if any(asked.items() <= session.items() for session in old):
        raise ValueError(f"{args.out} already holds {args.experiment} of profile {profile} and seed {args.seed}: "
                         f"expected --resume to go on with it, or another file")
    data, units = [results.load(args.out)] if done else [], _chosen(args, profile)
    if args.out:
        results.append(args.out, (), runtime.provenance(**asked))
    records: list[Record] = []
    with runtime.Stopwatch() as watch:
        for unit in units:
            if unit.name in done:
                continue
            if unit.name != "all":
                print(f"{args.experiment}: {unit.name}", file=sys.stderr)
            if args.out:
                results.append(args.out, _kept(unit.measure(), records))
                results.close_unit(args.out, unit.name, seconds=round(watch.lap(), 1))
            else:
                records.extend(unit.measure())
    if args.out:
        results.finish(args.out, records=len(records), wall_seconds=round(watch.seconds, 1),
                       peak_megabytes=runtime.peak_memory_bytes() >> 20)
    return pd.concat([*data, results.frame(records)], ignore_index=True)


def _run(args: argparse.Namespace) -> None:
    profile = runtime.profile(args.profile)
    module = experiments.find(args.experiment)
    if (args.resume or args.only) and not args.out:
        raise ValueError(f"expected --out FILE together with --{'resume' if args.resume else 'only'}: the file of the "
                         "run to go on with")
    if runtime.processes() > 1 and (args.resume or not getattr(module, "SHARED_OUT", False)):
        raise ValueError(f"expected one process for {args.experiment}{' --resume' * args.resume}, "
                         f"got {runtime.processes()} from torchrun")
    runtime.use_threads(args.threads)
    with runtime.Stopwatch() as watch, runtime.process_group() as rank:
        if rank:  # process 0 alone keeps records and prints
            args.out = None
        with contextlib.redirect_stderr(io.StringIO() if rank else sys.stderr):
            data = _measure(args, profile)
    if rank or args.only:  # a part of a run has no table yet
        return
    for table in (module.table, *getattr(module, "more_tables", ())):
        print(table(data).to_string(index=False))
    for verdict in module.verdicts(data):
        print(verdict)
    print(f"{args.experiment}: {watch.seconds:.0f} s, profile {profile}, seed {args.seed}", file=sys.stderr)


def _train(args: argparse.Namespace) -> None:
    from memlab.book.outside_the_weights.one_matrix import training as one_matrix_training
    from memlab.decoder import pretrained  # with them comes transformers: seconds that `list` should not cost

    profile = runtime.profile(args.profile)
    runtime.use_threads(args.threads)
    made_by = runtime.provenance(profile=profile, seed=args.seed)
    log = (one_matrix_training.make(profile, args.seed, args.folder) if args.model == "fixed-memory" else
           pretrained.make(args.model, profile, args.seed, args.folder))
    if args.out:
        rows = [Record("training", args.model, "training", "loss", row["loss"], args.seed, int(row["step"]),
                       {"seconds": round(row["seconds"], 1)}) for row in log.rows]
        results.append(args.out, rows, made_by)
        results.finish(args.out, records=len(rows), wall_seconds=round(log.seconds, 1))
    print(f"{args.model}: {log.rows[-1]['step']} steps in {log.seconds:.0f} s, saved in {args.folder}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    args = _parser().parse_args(argv)
    if args.command == "list":
        print("\n".join(experiments.names()))
        return 0
    try:
        _run(args) if args.command == "run" else _train(args)
    except (ValueError, OSError, ModuleNotFoundError) as problem:
        print(f"memlab: {problem}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
