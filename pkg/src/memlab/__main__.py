"""The command line: `python -m memlab list`, `python -m memlab run EXPERIMENT [--profile quick]
[--out FILE]`, `python -m memlab gpu --minutes 12` (what a large GPU can do meanwhile), `python -m
memlab train memory-decoder|causal|fixed-memory --folder FOLDER` (how the shipped weights were
made).

Progress goes to stderr, the table and one line per claim to stdout. Exit status 0 means that the
experiment ran, whatever it found; 2 means that the request made no sense; 1, that nobody takes what
is printed (a closed pipe, a full disk), that another process of the group failed, or one of the
experiments of `gpu`; 130, Ctrl-C.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import io
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast

from memlab import results, runtime
from memlab.book import experiments, gpu
from memlab.results import Record

if TYPE_CHECKING:
    from memlab.training import Log


class _Unprinted(Exception):
    """Standard output does not take what is printed; the cause says why."""


def _say(text: str) -> None:
    """Print to standard output, now: when Python ends, nobody could catch what goes wrong."""
    line = f"{text}\n"  # in one piece: who has read it may close the pipe
    try:
        try:
            print(line, end="", flush=True)
        except UnicodeEncodeError:  # a stream that could not be told to write \xe4 for ä
            escaped = line.encode("ascii", "backslashreplace").decode("ascii")
            print(escaped, end="", flush=True)
    except OSError as problem:
        raise _Unprinted from problem


def _let_go(stream: Any) -> None:
    """What the stream still holds, and what comes, goes nowhere; else Python would complain of it
    when it ends."""
    with contextlib.suppress(OSError, ValueError):  # a stream without a file below it
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, stream.fileno())
        finally:
            os.close(nowhere)


class _Lenient:
    """A stream for what a run can do without: once it takes nothing more, the run goes on."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text, or lose it."""
        try:
            self._stream.write(text)
        except (OSError, ValueError):
            _let_go(self._stream)
        return len(text)

    def flush(self) -> None:
        """Write what was kept back, or lose it."""
        try:
            self._stream.flush()
        except (OSError, ValueError):
            _let_go(self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def _streams() -> Iterator[None]:
    """A block in which every letter can be printed, and nothing depends on whether somebody reads
    stderr. A stream that was closed before the start is a file that keeps nothing."""
    with contextlib.ExitStack() as stack:
        if sys.stdout is None:
            nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
            stack.enter_context(contextlib.redirect_stdout(nowhere))
        elif hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(errors="backslashreplace")
        stderr = sys.stderr
        if stderr is None:
            stderr = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
        stack.enter_context(contextlib.redirect_stderr(cast(TextIO, _Lenient(stderr))))
        try:
            yield
        finally:
            sys.stderr.flush()


class _Parser(argparse.ArgumentParser):
    def print_help(self, file: Any = None) -> None:
        """The help text, to standard output as all else."""
        if file is None:
            _say(self.format_help().rstrip("\n"))
        else:
            super().print_help(file)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m memlab", description="Experiments of Schrödinger's Memory.")
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
    _add_gpu(commands)
    kept = {run: "each record as it is measured", train: "the loss by step, at the end"}
    for command, what in kept.items():
        command.add_argument("--profile", default=None, help="quick (default), full or gpu")
        command.add_argument("--seed", type=int, default=0)
        command.add_argument("--threads", type=int, default=None, help="torch threads (default 1)")
        command.add_argument("--out", default=None, help=f"append to this .jsonl file {what}")
    return parser


def _add_gpu(commands: Any) -> None:
    command = commands.add_parser(
        "gpu", help="run the gpu profile in order of worth, as far as some minutes reach"
    )
    command.add_argument(
        "experiments", nargs="*", metavar="EXPERIMENT", help="these in this order (default: all)"
    )
    command.add_argument("--minutes", type=float, default=12.0, help="the budget (default 12)")
    command.add_argument(
        "--out", default=gpu.FOLDER, metavar="FOLDER", help=f"of the records (default {gpu.FOLDER})"
    )
    command.add_argument("--list", action="store_true", help="print the plan and run nothing")
    command.add_argument(
        "--device", choices=("cuda", "cpu"), default="cuda", help="cpu: go on where there is no GPU"
    )
    command.add_argument("--threads", type=int, default=None, help="torch threads (default 1)")


def _gpu(args: argparse.Namespace) -> int:
    """0, or 1 where an experiment failed."""
    names = gpu.order(args.experiments)
    if args.list:
        for line in gpu.listing(names, args.out):
            _say(line)
        return 0
    if runtime.processes() > 1:
        raise ValueError(f"expected one process for gpu, got {runtime.processes()} from torchrun")
    gpu.check_device(args.device)
    runtime.use_threads(args.threads)
    _check_folder(args.out, "--out")
    session = gpu.Session(args.out, args.minutes)
    session.run(names)
    for line in session.summary():
        _say(line)
    return 1 if session.failed else 0


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
        _say(table(data).to_string(index=False))
    for verdict in module.verdicts(data):
        _say(str(verdict))
    print(
        f"{args.experiment}: {watch.seconds:.0f} s, profile {profile}, seed {args.seed}",
        file=sys.stderr,
    )


def _train(args: argparse.Namespace) -> None:
    profile = runtime.profile(args.profile)
    if runtime.processes() > 1:
        raise ValueError(f"expected one process for train, got {runtime.processes()} from torchrun")
    runtime.use_threads(args.threads)
    _check_folder(args.folder, "--folder")
    made_by = runtime.provenance(profile=profile, seed=args.seed)
    with contextlib.ExitStack() as stack:
        # opened first: that a file cannot be written to is no news for the end of a training
        writer = None
        if args.out is not None:
            writer = stack.enter_context(results.Writer(args.out))
            writer.append((), made_by)
        log = _trainer(args.model)(profile, args.seed, args.folder)
        if writer is not None:
            rows = _loss_by_step(args.model, args.seed, log)
            writer.append(rows)
            writer.finish(records=len(rows), wall_seconds=round(log.seconds, 1))
    _say(f"{args.model}: {log.rows[-1]['step']} steps in {log.seconds:.0f} s")
    _say(f"config and weights: {Path(args.folder).absolute()}")
    if args.out is not None:
        _say(f"loss by step: {Path(args.out).absolute()}")


def _check_folder(folder: str, option: str) -> None:
    """Make the folder that an option names if there is none; ValueError if nothing can be written
    there."""
    try:
        if not folder:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as problem:
        raise ValueError(
            f"expected in {option} a folder that can be written to, got {folder!r}"
            f" ({problem.strerror})"
        ) from problem


def _loss_by_step(
    model: str,
    seed: int,
    log: Log,
) -> list[Record]:
    return [
        Record(
            "training",
            model,
            "training",
            "loss",
            row["loss"],
            seed,
            int(row["step"]),
            {"seconds": round(row["seconds"], 1)},
        )
        for row in log.rows
    ]


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


def _list(_: argparse.Namespace) -> None:
    _say("\n".join(experiments.names()))


COMMANDS: dict[str, Callable[[argparse.Namespace], int | None]] = {
    "list": _list,
    "run": _run,
    "gpu": _gpu,
    "train": _train,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    with _streams():
        try:
            args = _parser().parse_args(argv)
            return COMMANDS[args.command](args) or 0
        except _Unprinted as unprinted:
            _let_go(sys.stdout)
            return _unread(cast(OSError, unprinted.__cause__))
        except (runtime.PeerFailed, BrokenPipeError) as problem:  # the pipe of --out
            print(f"memlab: {problem}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("memlab: interrupted", file=sys.stderr)
            return 130
        except (ValueError, OSError, ModuleNotFoundError) as problem:
            print(f"memlab: {problem}", file=sys.stderr)
            return 2


def _unread(problem: OSError) -> int:
    """The exit status where standard output failed. Whoever closed a pipe has read enough, and is
    told nothing; a full disk is named."""
    if problem.errno not in (errno.EPIPE, errno.EINVAL):  # the second is what Windows says
        print(f"memlab: cannot print to standard output: {problem.strerror}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
