"""The command line: `python -m memlab list`, `python -m memlab run EXPERIMENT [--profile quick]
[--out FILE]`, `python -m memlab train memory-decoder|causal|fixed-memory --folder FOLDER` (how the
shipped weights were made).

Progress goes to stderr, the table and one line per claim to stdout. Exit status 0 means that the
experiment ran, whatever it found; 2 means that the request made no sense.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from memlab import results, runtime
from memlab.book import experiments
from memlab.results import Record

if TYPE_CHECKING:
    from memlab.training import Log


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m memlab", description="Experiments of Schrödinger's Memory."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="name the experiments")
    run = commands.add_parser("run", help="run one experiment and print its table and verdicts")
    run.add_argument("experiment")
    run.add_argument(
        "--resume", action="store_true", help="go on with the interrupted run in --out"
    )
    run.add_argument(
        "--only",
        action="append",
        metavar="UNIT",
        help=(
            "measure this unit alone (may be repeated) and print no table: parts of a run can be"
            " made side by side, each into a file, and joined by cat"
        ),
    )
    train = commands.add_parser(
        "train", help="train one of the book's models from scratch and save it"
    )
    train.add_argument("model", choices=("memory-decoder", "causal", "fixed-memory"))
    train.add_argument(
        "--folder", required=True, help="where config and float16 weights are written"
    )
    for command in (run, train):
        command.add_argument("--profile", default=None, help="quick (default), full or gpu")
        command.add_argument("--seed", type=int, default=0)
        command.add_argument("--threads", type=int, default=None, help="torch threads (default 1)")
        command.add_argument(
            "--out", default=None, help="append each record to this .jsonl file as it is measured"
        )
    return parser


def _run(args: argparse.Namespace) -> None:
    profile = runtime.profile(args.profile)
    module = experiments.find(args.experiment)
    if (args.resume or args.only) and not args.out:
        raise ValueError(
            f"expected --out FILE together with --{'resume' if args.resume else 'only'}: the file"
            " of the run to go on with"
        )
    if runtime.processes() > 1 and (args.resume or not getattr(module, "SHARED_OUT", False)):
        raise ValueError(
            f"expected one process for {args.experiment}{' --resume' * args.resume}, "
            f"got {runtime.processes()} from torchrun"
        )
    runtime.use_threads(args.threads)
    with runtime.Stopwatch() as watch, runtime.process_group() as rank:
        if rank:  # process 0 alone keeps records and prints
            args.out = None
        with contextlib.redirect_stderr(io.StringIO() if rank else sys.stderr):
            data = experiments.measure(
                args.experiment,
                profile,
                args.seed,
                only=args.only or (),
                out=args.out,
                resume=args.resume,
            )
    if rank or args.only:  # a part of a run has no table yet
        return
    for table in (module.table, *getattr(module, "more_tables", ())):
        print(table(data).to_string(index=False))
    for verdict in module.verdicts(data):
        print(verdict)
    print(
        f"{args.experiment}: {watch.seconds:.0f} s, profile {profile}, seed {args.seed}",
        file=sys.stderr,
    )


def _train(args: argparse.Namespace) -> None:
    profile = runtime.profile(args.profile)
    runtime.use_threads(args.threads)
    made_by = runtime.provenance(profile=profile, seed=args.seed)
    log = _trainer(args.model)(profile, args.seed, args.folder)
    if args.out:
        rows = [
            Record(
                "training",
                args.model,
                "training",
                "loss",
                row["loss"],
                args.seed,
                int(row["step"]),
                {"seconds": round(row["seconds"], 1)},
            )
            for row in log.rows
        ]
        results.append(args.out, rows, made_by)
        results.finish(args.out, records=len(rows), wall_seconds=round(log.seconds, 1))
    print(
        f"{args.model}: {log.rows[-1]['step']} steps in {log.seconds:.0f} s, saved in {args.folder}"
    )


def _trainer(model: str) -> Callable[[str, int, str], Log]:
    """What trains a model and saves it; imported here, because with it comes transformers: seconds
    that `list` should not cost."""
    if model == "fixed-memory":
        from memlab.book.outside_the_weights.one_matrix import training as one_matrix_training

        return one_matrix_training.make
    if model == "causal":
        from memlab.models import causal_baseline

        return causal_baseline.make
    from memlab.decoder import pretrained

    return pretrained.make


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
