"""The command line: ``semigroup methods · run · claims · board · cite · tour``.

A command is a function of this module: its options are the signature, its help the docstring. The options of
``semigroup run <slug>`` are those of the method's constructor. Nothing heavy is imported before a command needs it, so
that the help answers at once.
"""

import dataclasses
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

import semigroup

if TYPE_CHECKING:
    from rich.table import Table

    from semigroup.catalog import Method
    from semigroup.claims import Record

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns
    -------
    int
        Exit status: 0 done, 1 a claim does not hold, 2 bad input, 130 stopped by Ctrl-C.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help"):
        print(_help())
        return 0
    if words[0] == "--version":
        print(semigroup.__version__)
        return 0
    if words[0] not in (*_COMMANDS, "run"):
        print(f"semigroup: no command '{words[0]}'\n\n{_help()}", file=sys.stderr)
        return 2
    try:
        _refuse_repeated(words[1:])
        if words[0] == "run":
            status = run(words[1:])
        else:
            status = tyro.cli(_COMMANDS[words[0]], args=words[1:], prog=f"semigroup {words[0]}")
        sys.stdout.flush()
        return status
    except KeyboardInterrupt as stop:
        print(f"semigroup: {stop or 'stopped'}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader has seen enough, as in `semigroup methods | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, TypeError, ImportError, RuntimeError, OSError) as error:
        if os.environ.get("SEMIGROUP_DEBUG"):
            raise
        print(f"semigroup: {error}\n(SEMIGROUP_DEBUG=1 shows where)", file=sys.stderr)
        return 2


def _refuse_repeated(words: list[str]) -> None:
    """An option given twice would silently lose its first values."""
    names = [word.partition("=")[0] for word in words if word.startswith("--")]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{name} is given {names.count(name)} times; give all its values after one {name}")


def methods(*, words: Annotated[str, tyro.conf.arg(name="for")] = "") -> int:
    """List the methods, or find one by words.

    Parameters
    ----------
    words
        What you want to do, in your own words.
    """
    from rich.table import Table

    from semigroup.catalog import METHODS, find

    rows = find(words) if words else METHODS
    if not rows:
        print(f"no method matches '{words}'; `semigroup methods` lists them all")
        return 0
    table = Table(box=None, pad_edge=False)
    for heading in ("method", "job", "takes", "gives", "paper"):
        table.add_column(heading, no_wrap=heading == "method", overflow="fold")
    for row in rows:
        table.add_row(row.slug, row.job, row.takes, row.gives, f"arXiv:{row.paper.arxiv} ({row.paper.year})")
    _print(table)
    return 0


def run(words: Sequence[str]) -> int:
    """Run a method on your data and leave model, results, figures and report in a folder."""
    from semigroup.catalog import METHODS, method

    if not words or words[0] in ("-h", "--help"):
        print("usage: semigroup run METHOD [--data FILE...] [--out DIR] [options]\n")
        print(f"METHOD is one of {', '.join(row.slug for row in METHODS)};")
        print("`semigroup run METHOD --help` shows its options.")
        return 0
    row = method(words[0])
    options = tyro.cli(
        _run_options(row),
        args=words[1:],
        prog=f"semigroup run {row.slug}",
        description=f"{row.job}\n\nTakes {row.takes}. Gives {row.gives}.",
        config=(tyro.conf.OmitArgPrefixes,),
    )
    from semigroup.report.run import perform_run

    try:
        section = perform_run(
            row,
            options.estimator,
            options.data,
            options.out,
            command=shlex.join(["semigroup", "run", *words]),
            resume=options.resume,
            overwrite=options.overwrite,
            progress=sys.stderr.isatty(),
        )
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(f"{stop or 'stopped'}; the same command with --resume continues") from stop
    print(section.summary)
    print(f"report: {options.out / 'report.html'}")
    return 0


def _run_options(row: "Method") -> Any:
    """The constructor's options and those of every run, as a dataclass for the parser."""
    fields: tuple[tuple[str, Any, Any, str], ...] = (
        ("data", tuple[Path, ...], (), f"Your files: {row.takes}. Without them the shipped example is used."),
        ("out", Path, Path("runs") / row.slug, "Folder for model, results, figures and report."),
        ("resume", bool, False, "Continue a run that was stopped."),
        ("overwrite", bool, False, "Replace the folder if it is there."),
    )
    common = [
        (name, Annotated[kind, tyro.conf.arg(help=text, help_behavior_hint=_default)], dataclasses.field(default=value))
        for name, kind, value, text in fields
    ]
    return dataclasses.make_dataclass("Run", [*common, ("estimator", row.load())], kw_only=True)


def _default(value: str) -> str:
    """What the help says of a default; nothing where there is none."""
    return f"(default: {value})" if value else ""


def claims(
    slugs: tyro.conf.Positional[tuple[str, ...]] = (),
    *,
    scale: Literal["cpu", "gpu", "paper"] = "cpu",
    number: tuple[int, ...] = (),
    jobs: int = 1,
    out: Path = Path("runs/claims"),
) -> int:
    """Measure the papers' claims anew, print a table, and store measurements and figures.

    The exit status is 1 if a claim does not hold.

    Parameters
    ----------
    slugs
        Methods; all of them by default.
    scale
        Size of the experiments: cpu takes at most three minutes a claim on two cores, gpu needs a CUDA device.
    number
        Only the claims with these numbers.
    jobs
        Methods measured side by side.
    out
        Folder for the measurements.
    """
    import joblib
    from rich.table import Table

    from semigroup.base import check_integer
    from semigroup.catalog import METHODS, method
    from semigroup.claims import claims_of
    from semigroup.report.page import format_number

    check_integer(jobs, "jobs", minimum=1)
    chosen = [method(slug).slug for slug in slugs] or [row.slug for row in METHODS]
    known = {claim.number for slug in chosen for claim in claims_of(slug)} if number else set()
    if set(number) - known:
        raise ValueError(f"number must be among {sorted(known)} for {', '.join(chosen)}, got {list(number)}")
    tasks = (joblib.delayed(_measure_method)(slug, scale, number, jobs, out) for slug in chosen)
    records = [record for batch in joblib.Parallel(n_jobs=jobs)(tasks) for record in batch]
    table = Table(box=None, pad_edge=False)
    for heading in ("claim", "says", "figure", "baseline", "paper", "threshold", "verdict", "s"):
        table.add_column(heading, overflow="fold", no_wrap=heading in ("claim", "s"))
    for record in records:
        m = record.measurement
        cells = ["", "", "", record.error]
        if m is not None:
            spread = "" if m["spread"] is None else f" ± {format_number(m['spread'])}"
            cells = [
                f"{format_number(m['figure'])}{spread} {m['unit']}",
                format_number(m["baseline"]),
                m["paper"],
                m["threshold"],
            ]
        table.add_row(f"{record.slug} {record.number}", record.says, *cells, record.verdict, f"{record.seconds:.0f}")
    _print(table)
    return int(any(record.verdict == "does not hold" for record in records))


def _measure_method(
    slug: str, scale: Literal["cpu", "gpu", "paper"], numbers: tuple[int, ...], jobs: int, out: Path
) -> "list[Record]":
    """The claims of one method, in one process, so that they share what they fit."""
    import torch

    from semigroup.claims import claims_of, measure

    torch.set_num_threads(max(1, torch.get_num_threads() // jobs))
    records = []
    for claim in claims_of(slug):
        if not numbers or claim.number in numbers:
            print(f"{slug} {claim.number}: {claim.says}", file=sys.stderr, flush=True)
            records.append(measure(claim, scale, out))
    return records


def board(
    *, out: Path = Path("runs/board/index.html"), claims: Path = Path("runs/claims"), runs: Path = Path("runs")
) -> int:
    """Show all stored measurements and figures as one static page.

    Parameters
    ----------
    out
        The page.
    claims
        Folder of measurements taken here; they replace the ones that come with the package.
    runs
        Folder of runs, whose pictures are shown.
    """
    from semigroup.report.board import write_board

    print(write_board(out, claims=claims, runs=runs))
    return 0


def cite(slug: tyro.conf.Positional[str]) -> int:
    """Print the BibTeX entry of a method's paper.

    Parameters
    ----------
    slug
        The method.
    """
    from semigroup.catalog import method

    print(method(slug).paper.bibtex(slug))
    return 0


def tour(slugs: tyro.conf.Positional[tuple[str, ...]] = (), *, out: Path = Path("runs/tour")) -> int:
    """Fit every method on the data that comes with the package: one page with its figure and its measured claims.

    Parameters
    ----------
    slugs
        Methods; all of them by default.
    out
        Folder for the report.
    """
    from semigroup.report.tour import write_tour

    print(f"report: {write_tour(slugs, out, progress=sys.stderr.isatty())}")
    return 0


def _print(table: "Table") -> None:
    from rich.console import Console

    console = Console()
    # Without a terminal there is no width to fold to.
    (console if console.is_terminal else Console(width=200)).print(table)


_COMMANDS: dict[str, Callable[..., int]] = {
    "methods": methods,
    "claims": claims,
    "board": board,
    "cite": cite,
    "tour": tour,
}


def _help() -> str:
    lines = [
        f"  {name:<8} {(function.__doc__ or '').splitlines()[0]}"
        for name, function in {"run": run, **_COMMANDS}.items()
    ]
    return (
        "usage: semigroup COMMAND [options]\n\n"
        + "\n".join(lines)
        + "\n\n`semigroup COMMAND --help` shows a command's options, `semigroup run METHOD --help` a method's."
    )
