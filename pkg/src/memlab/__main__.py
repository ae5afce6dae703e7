"""The command line: `python -m memlab list`, `python -m memlab run EXPERIMENT [--profile quick] [--out FILE]`.

Progress goes to stderr, the table and one line per claim to stdout. Exit status 0 means that the experiment ran,
whatever it found; 2 means that the request made no sense.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence

from memlab import experiments, results, runtime
from memlab.results import Record


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m memlab", description="Experiments of Schrödinger's Memory.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="name the experiments")
    run = commands.add_parser("run", help="run one experiment and print its table and verdicts")
    run.add_argument("experiment")
    run.add_argument("--profile", default=None, help="quick (default), full or gpu")
    run.add_argument("--seed", type=int, default=0)
    run.add_argument("--threads", type=int, default=None, help="torch threads (default 1)")
    run.add_argument("--out", default=None, help="append each record to this .jsonl file as it is measured")
    return parser


def _kept(records: Iterable[Record], kept: list[Record]) -> Iterator[Record]:
    """Pass records through and remember them."""
    for record in records:
        kept.append(record)
        yield record


def _run(args: argparse.Namespace) -> None:
    profile = runtime.profile(args.profile)
    module = experiments.find(args.experiment)
    runtime.use_threads(args.threads)
    records: list[Record] = []
    with runtime.Stopwatch() as watch:
        if args.out:  # one by one, so that a run that is killed keeps what it had measured
            made_by = runtime.provenance(profile=profile, seed=args.seed)
            results.append(args.out, _kept(module.run(profile, args.seed), records), made_by)
        else:
            records.extend(module.run(profile, args.seed))
    if args.out:
        results.finish(args.out, records=len(records), wall_seconds=round(watch.seconds, 1),
                       peak_megabytes=runtime.peak_memory_bytes() >> 20)
    data = results.frame(records)
    for table in (module.table, *getattr(module, "more_tables", ())):
        print(table(data).to_string(index=False))
    for verdict in module.verdicts(data):
        print(verdict)
    print(f"{args.experiment}: {watch.seconds:.0f} s, profile {profile}, seed {args.seed}", file=sys.stderr)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    args = _parser().parse_args(argv)
    if args.command == "list":
        print("\n".join(experiments.names()))
        return 0
    try:
        _run(args)
    except (ValueError, OSError, ModuleNotFoundError) as problem:
        print(f"memlab: {problem}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
