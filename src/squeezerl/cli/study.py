"""`squeezerl study`: a whole grid, run, looked at and reported."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from squeezerl.cli.console import (
    INTERRUPTED,
    JsonOption,
    err,
    print_json,
    print_table,
    reports_errors,
    say,
)
from squeezerl.cli.study_progress import duration, job_name, study_progress
from squeezerl.errors import InvalidArgumentError

if TYPE_CHECKING:
    import pandas as pd

    from squeezerl.store.records import Counts, Failure
    from squeezerl.studies.forecast import Forecast
    from squeezerl.studies.run import Executor

FAILED = 1
_MOST_WORKERS = 4096
_MOST_FAILURES = 20

study = typer.Typer(
    name="study",
    help="Train, compress, evaluate and measure a whole grid; look at it, report it.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

StudyArgument = Annotated[
    str,
    typer.Argument(metavar="NAME|STUDY.yaml", help="A study's name, or its file."),
]
StoreOption = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="sqlite:///FILE.db or postgresql://USER@HOST/DATABASE. "
        "[dim]default: the study's, else sqlite:///NAME.db[/dim]",
        show_default=False,
    ),
]


@study.command(no_args_is_help=True)
@reports_errors
def run(
    file: Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="The study's file.")],
    workers: Annotated[
        int | None,
        typer.Option(help="Jobs side by side. [dim]default: one a core[/dim]", show_default=False),
    ] = None,
    executor: Annotated[str, typer.Option(help="local or ray.")] = "local",
    address: Annotated[
        str | None,
        typer.Option(help="Of the Ray cluster, as auto.", show_default=False),
    ] = None,
    store: StoreOption = None,
    artifacts: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Folder for what jobs leave; anything that fsspec can reach. "
            "[dim]default: the study's, else NAME-artifacts beside the store[/dim]",
            show_default=False,
        ),
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Also do again what failed before.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the plan and what it will take; run nothing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Run a study, or what is left of it.

    The file is checked as a whole before anything runs. Ctrl-C, and even kill -9, lose little: the
    same command goes on, and work that is done is never done again, also not for other studies in
    the same store.

    Example: squeezerl study run studies/quickstart.yaml
    """
    if executor not in ("local", "ray"):
        raise InvalidArgumentError(f"executor {executor!r} is not one of local, ray")
    if address is not None and executor != "ray":
        raise InvalidArgumentError("--address is for --executor ray")
    if workers is not None and not 1 <= workers <= _MOST_WORKERS:
        raise InvalidArgumentError(f"workers must be 1 to {_MOST_WORKERS:,}, not {workers}")
    from squeezerl.studies.run import prepare, run_plan

    many = workers or os.cpu_count() or 1
    plan, forecast = prepare(file, store=store, artifacts=artifacts, workers=many)
    if dry_run:
        _show_forecast(plan.study.name, plan.study.store, plan.study.artifacts, forecast, as_json)
        return
    err.print(
        f"{plan.study.name}: {len(plan.jobs):,} jobs, about {duration(forecast.seconds)}; "
        f"{_hidden(plan.study.store)}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    with _stop_on_signals() as stop, study_progress(plan.study.name, many) as show:
        done = run_plan(
            plan,
            workers=workers,
            executor=cast("Executor", executor),
            address=address,
            retry_failed=retry_failed,
            on_status=show,
            should_stop=stop.is_set,
        )
    counts = done.counts
    failures = _failures(done.name, done.store) if counts.failed else []
    if as_json:
        print_json(
            {
                "study": done.name,
                "store": _hidden(done.store),
                "artifacts": plan.study.artifacts,
                "jobs": counts_json(counts),
                "failures": [_failure_json(failure) for failure in failures],
            }
        )
    else:
        _say_end(done.name, file, counts, failures, stopped=stop.is_set())
    if counts.open and stop.is_set():
        raise typer.Exit(INTERRUPTED)
    if counts.failed or counts.open:
        raise typer.Exit(FAILED)


@study.command(no_args_is_help=True)
@reports_errors
def status(
    name: StudyArgument,
    store: StoreOption = None,
    errors: Annotated[
        bool, typer.Option("--errors", help="Show the tracebacks of failed jobs in full.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """How far a study is: jobs by state, what runs, what failed.

    Example: squeezerl study status quickstart
    """
    from squeezerl.studies.run import find_study, open_existing

    study_name, url = find_study(name, store)
    with open_existing(url) as opened:
        found = opened.status(study_name)
        failures = opened.failures(study_name)
    if as_json:
        print_json(
            {
                "study": study_name,
                "store": _hidden(url),
                "jobs": counts_json(found.counts),
                "kinds": [
                    {"kind": w.kind, "state": w.state, "jobs": w.jobs, "estimate_s": w.estimate_s}
                    for w in found.workloads
                ],
                "running": [
                    {
                        "job": job.job_id,
                        "kind": job.kind,
                        "label": dict(job.label),
                        "worker": job.worker,
                        "seconds": job.seconds,
                        "progress": job.progress,
                    }
                    for job in found.running
                ],
                "failures": [_failure_json(failure) for failure in failures],
            }
        )
        return
    kinds = list(dict.fromkeys(load.kind for load in found.workloads))
    states = ("done", "running", "pending", "failed")
    jobs = {(load.kind, load.state): 0 for load in found.workloads}
    for load in found.workloads:
        jobs[load.kind, load.state] += load.jobs
    print_table(
        ("kind", *states),
        [(kind, *(f"{jobs.get((kind, state), 0):,}" for state in states)) for kind in kinds],
    )
    if found.counts.blocked:
        say(f"\n{found.counts.blocked:,} of the pending jobs need one that failed.")
    for job in found.running:
        progress = "" if job.progress is None else f"{job.progress:.0%}, "
        say(
            f"running: {job_name(job.kind, job.label)} ({progress}{duration(job.seconds)}) "
            f"by {job.worker}"
        )
    if failures:
        say()
        _say_failures(failures, full=errors)


@study.command(no_args_is_help=True)
@reports_errors
def results(
    name: StudyArgument,
    store: StoreOption = None,
    csv: Annotated[bool, typer.Option("--csv", help="Print comma-separated values.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Every policy's size, return and retention, as far as the study is.

    Example: squeezerl study results quickstart --csv
    """
    if csv and as_json:
        raise InvalidArgumentError("choose --csv or --json")
    import numpy as np

    from squeezerl.studies.run import find_study, open_existing

    study_name, url = find_study(name, store)
    with open_existing(url) as opened:
        from squeezerl.analysis.cells import cells
        from squeezerl.studies.results import load_study

        data = load_study(opened, study_name)
    table = cells(data, np.random.default_rng(0))
    if csv:
        sys.stdout.write(table.to_csv(index=False))
        return
    if as_json:
        rows = [
            {key: _plain(value) for key, value in row.items()} for row in table.to_dict("records")
        ]
        print_json({"study": study_name, "cells": rows})
        return
    print_table(
        ("agent", "method", "bytes", "return [95 %]", "retention [95 %]", "verdict at 90 %"),
        [_cell_row(row) for _, row in table.iterrows()],
        left=(0, 1),
    )


@study.command(no_args_is_help=True)
@reports_errors
def report(
    name: StudyArgument,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="DIR", help="Folder to write.", show_default=False),
    ],
    store: StoreOption = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the report at DIR.")] = False,
) -> None:
    """Tables, figures and tested findings, as far as the study is.

    Example: squeezerl study report quickstart -o quickstart-report
    """
    from squeezerl.studies.run import find_study, open_existing

    study_name, url = find_study(name, store)
    with open_existing(url) as opened:
        from squeezerl.report.study_markdown import FailedJob
        from squeezerl.report.study_report import write_study_report
        from squeezerl.studies.results import load_study

        data = load_study(opened, study_name)
        counts = opened.counts(study_name)
        failures = opened.failures(study_name)
    if data.returns.empty:
        raise InvalidArgumentError(f"{study_name}: no evaluation is done yet; see study status")
    write_study_report(
        data,
        output,
        force=force,
        unfinished={
            state: count
            for state in ("pending", "running", "blocked")
            if (count := getattr(counts, state))
        },
        failures=[
            FailedJob(
                kind=failure.job.kind,
                label=failure.label,
                error=failure.error,
                attempts=failure.attempts,
            )
            for failure in failures
        ],
    )
    say(f"{output / 'report.md'}")


def counts_json(counts: Counts) -> dict[str, int]:
    """Jobs by state."""
    states = ("pending", "running", "done", "failed", "blocked", "total")
    return {state: getattr(counts, state) for state in states}


def _show_forecast(
    name: str, store: str, artifacts: str, forecast: Forecast, as_json: bool
) -> None:
    if as_json:
        print_json(
            {
                "study": name,
                "store": _hidden(store),
                "artifacts": artifacts,
                "workers": forecast.workers,
                "estimate_s": forecast.seconds,
                "stored_bytes": forecast.stored_bytes,
                "scratch_bytes": forecast.scratch_bytes,
                "kinds": [
                    {
                        "kind": kind.kind,
                        "jobs": kind.jobs,
                        "done": kind.done,
                        "worker_s": kind.seconds,
                        "stored_bytes": kind.stored_bytes,
                    }
                    for kind in forecast.kinds
                ],
            }
        )
        return
    print_table(
        ("kind", "jobs", "done already", "of one worker", "disk"),
        [
            (
                kind.kind,
                f"{kind.jobs:,}",
                f"{kind.done:,}",
                duration(kind.seconds),
                _bytes(kind.stored_bytes),
            )
            for kind in forecast.kinds
        ],
    )
    places = f"store: {_hidden(store)}\nartifacts: {artifacts}"
    if all(kind.done == kind.jobs for kind in forecast.kinds):
        say(f"\nAll is done.\n{places}")
        return
    scratch = ""
    if forecast.scratch_bytes:
        scratch = f", and up to {_bytes(forecast.scratch_bytes)} for checkpoints while it trains"
    source = (
        f"{forecast.from_finished:,} of the jobs are estimated from finished ones in the store, "
        "the others"
        if forecast.from_finished
        else "All is estimated"
    )
    say(
        f"\nAbout {duration(forecast.seconds)} with {forecast.workers} workers, "
        f"{_bytes(forecast.stored_bytes)} of disk{scratch}.\n"
        f"{source} from rates of a two-core virtual machine (AMD EPYC), with episodes that go to "
        "their limit: good for the order of magnitude.\n"
        f"{places}"
    )


def _say_end(
    name: str, file: Path, counts: Counts, failures: list[Failure], *, stopped: bool
) -> None:
    if failures:
        _say_failures(failures, full=False)
        say()
    line = f"{name}: {counts.done:,} of {counts.total:,} jobs done"
    if counts.failed:
        line += f", {counts.failed:,} failed"
    if counts.blocked:
        line += f", {counts.blocked:,} need one that failed"
    say(line)
    if counts.open:
        say(f"{'stopped; go' if stopped else 'Go'} on with: squeezerl study run {file}")
    elif not counts.failed:
        say(f"See squeezerl study results {file}, or: squeezerl study report {file} -o {name}")
    if counts.failed:
        say(
            f"Tracebacks: squeezerl study status {file} --errors\n"
            f"Once more: squeezerl study run {file} --retry-failed"
        )


def _say_failures(failures: list[Failure], *, full: bool) -> None:
    for failure in failures if full else failures[:_MOST_FAILURES]:
        title = f"failed: {job_name(failure.job.kind, failure.label)}"
        if full:
            say(f"{title}, {failure.attempts} attempts, job {failure.job.id}\n{failure.error}")
        else:
            say(f"{title}: {_last_line(failure.error)}")
    if not full and len(failures) > _MOST_FAILURES:
        say(f"and {len(failures) - _MOST_FAILURES:,} more")


def _failures(name: str, url: str) -> list[Failure]:
    from squeezerl.studies.run import open_existing

    with open_existing(url) as opened:
        return opened.failures(name)


def _failure_json(failure: Failure) -> dict[str, Any]:
    return {
        "job": failure.job.id,
        "kind": failure.job.kind,
        "label": dict(failure.label),
        "attempts": failure.attempts,
        "error": failure.error,
    }


def _last_line(error: str) -> str:
    lines = [line for line in error.strip().splitlines() if line.strip()]
    return lines[-1].strip() if lines else "no reason was given"


def _cell_row(row: pd.Series) -> tuple[str, ...]:
    ratio = _plain(row["ratio"])
    method = row["method"] if ratio is None else f"{row['method']} {ratio:.0%}"

    def interval(name: str, times: float, digits: int, unit: str) -> str:
        values = [_plain(row[f"{name}{bound}"]) for bound in ("", "_low", "_high")]
        if values[0] is None:
            return "–"
        estimate, low, high = (
            "–" if value is None else f"{value * times:,.{digits}f}" for value in values
        )
        return f"{estimate}{unit} [{low}, {high}]"

    trained, verdict = _plain(row["trained"]), _plain(row["verdict"])
    size = _plain(row["file_bytes"])
    return (
        str(row["agent"]),
        method,
        "–" if size is None else f"{size:,.0f}",
        interval("mean_return", 1, 1, ""),
        interval("retention", 100, 1, " %"),
        "untrained" if trained is False else str(verdict or "–"),
    )


def _plain(value: Any) -> Any:
    """What JSON takes: missing values as `None`, numpy's numbers as Python's."""
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and value != value else value


def _bytes(count: float) -> str:
    from squeezerl.report.text import format_si

    return format_si(count, "B")


def _hidden(url: str) -> str:
    """A store's URL without its password."""
    scheme, separator, rest = url.partition("://")
    user, at, host = rest.rpartition("@")
    return f"{scheme}{separator}{user.partition(':')[0]}{at}{host}"


@contextmanager
def _stop_on_signals() -> Iterator[threading.Event]:
    """Ctrl-C and SIGTERM ask the study to stop; a second one ends it at once."""
    stop = threading.Event()

    def ask(number: int, frame: FrameType | None) -> Any:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        err.print("stopping: trainings write checkpoints (again to end at once)", style="yellow")

    before: dict[int, Any] = {
        number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield stop
    except KeyboardInterrupt:
        err.print("ended at once; the same command goes on", style="yellow")
        raise typer.Exit(INTERRUPTED) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
