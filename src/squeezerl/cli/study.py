"""`squeezerl study`: run a whole grid, look at it and report it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from squeezerl.cli import console
from squeezerl.cli.squeeze import TrackOption
from squeezerl.cli.stopping import stop_on_signals
from squeezerl.cli.study_text import (
    counts_json,
    duration,
    failure_json,
    hidden,
    job_name,
    say_end,
    say_failures,
    show_forecast,
    study_progress,
)
from squeezerl.errors import InvalidArgumentError, MissingArtifactsError, StudyError
from squeezerl.records import to_json

if TYPE_CHECKING:
    from squeezerl.jobs.job import Failure

StudyArgument = Annotated[
    str, typer.Argument(metavar="NAME|STUDY.yaml", help="A study's name, or its file.")
]
StoreOption = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="sqlite:///FILE.db or postgresql://USER@HOST/DATABASE. "
        "[dim]default: the study's, else sqlite:///NAME.db[/dim]",
    ),
]
FAILED = 1
_MOST_WORKERS = 4096

study = typer.Typer(
    name="study",
    help="Train, compress, evaluate and measure a whole grid; look at it and report it.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)


@study.command(no_args_is_help=True)
@console.reports_errors
def run(
    file: Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="The study's file.")],
    workers: Annotated[
        int | None,
        typer.Option(help="How many jobs run side by side. [dim]default: one per core[/dim]"),
    ] = None,
    executor: Annotated[str, typer.Option(help="local, ray, or one of a plugin.")] = "local",
    address: Annotated[
        str | None, typer.Option(help="Address of the Ray cluster, for example auto.")
    ] = None,
    store: StoreOption = None,
    artifacts: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Folder for the files of jobs; anything that fsspec can reach. "
            "[dim]default: the study's, else named after the store, beside it[/dim]",
        ),
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Also repeat jobs that failed before.")
    ] = False,
    redo_missing: Annotated[
        bool,
        typer.Option(
            "--redo-missing",
            help="Also repeat jobs whose files are missing from the folder of artifacts, and all "
            "jobs that need them.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the plan and its forecast; run nothing.")
    ] = False,
    as_json: console.JsonOption = False,
) -> None:
    """Run a study, or what is left of it.

    The file is checked as a whole before anything runs. Ctrl-C and even kill -9 lose little: the
    same command goes on. Finished work is never repeated, not even for other studies in the same
    store.

    Example: squeezerl study run studies/quickstart.yaml
    """
    run_file(
        file,
        workers=workers,
        executor=executor,
        address=address,
        store=store,
        artifacts=artifacts,
        retry_failed=retry_failed,
        redo_missing=redo_missing,
        dry_run=dry_run,
        as_json=as_json,
    )


def run_file(
    file: Path,
    *,
    workers: int | None = None,
    executor: str = "local",
    address: str | None = None,
    store: str | None = None,
    artifacts: str | None = None,
    retry_failed: bool = False,
    redo_missing: bool = False,
    dry_run: bool = False,
    as_json: bool = False,
) -> None:
    """What `squeezerl study run` does, with its options."""
    if address is not None and executor == "local":
        raise InvalidArgumentError("--address is for --executor ray")
    if workers is not None and not 1 <= workers <= _MOST_WORKERS:
        raise InvalidArgumentError(f"--workers must be 1 to {_MOST_WORKERS:,}, not {workers}")
    from squeezerl.host.cores import count_cores
    from squeezerl.studies.run import check_executor, prepare, run_study

    many = workers or count_cores()
    plan, forecast = prepare(file, store=store, artifacts=artifacts, workers=many)
    check_executor(executor)
    if dry_run:
        show_forecast(plan.study.name, plan.study.store, plan.study.artifacts, forecast, as_json)
        return
    console.err.print(
        f"{plan.study.name}: {len(plan.jobs):,} jobs, about {duration(forecast.estimate_s)}; "
        f"{hidden(plan.study.store)}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    stopping = stop_on_signals(
        asked="trainings write checkpoints", ended="the same command goes on"
    )
    with stopping as stop, study_progress(plan.study.name, many) as show:
        try:
            done = run_study(
                plan,
                workers=workers,
                executor=executor,
                address=address,
                retry_failed=retry_failed,
                redo_missing=redo_missing,
                on_redo=_say_redo,
                on_status=show,
                should_stop=stop.is_asked,
            )
        except MissingArtifactsError as error:
            raise StudyError(
                f"{error.problem}; name the folder that has it with --artifacts, or repeat these "
                "jobs, and all that need them, with --redo-missing"
            ) from error
    counts = done.counts
    failures = _failures(done.name, done.store) if counts.failed else []
    if as_json:
        console.print_json(
            {
                "study": done.name,
                "store": hidden(done.store),
                "artifacts": plan.study.artifacts,
                "jobs": counts_json(counts),
                "failures": [failure_json(failure) for failure in failures],
            }
        )
    else:
        options = "" if store is None else f" --store {hidden(store)}"
        more = "" if artifacts is None else f" --artifacts {artifacts}"
        say_end(done.name, f"{file}{options}", more, counts, failures, stopped=stop.is_asked())
    if counts.open and stop.is_asked():
        raise typer.Exit(stop.exit_code)
    if counts.failed or counts.open:
        raise typer.Exit(FAILED)


@study.command(no_args_is_help=True)
@console.reports_errors
def status(
    name: StudyArgument,
    store: StoreOption = None,
    errors: Annotated[
        bool, typer.Option("--errors", help="Show the full tracebacks of failed jobs.")
    ] = False,
    as_json: console.JsonOption = False,
) -> None:
    """Show how far a study is: jobs by state, running jobs and failures.

    Example: squeezerl study status quickstart
    """
    from squeezerl.studies.run import find_study, open_existing

    study_name, url = find_study(name, store)
    with open_existing(url) as opened:
        found = opened.status(study_name)
        failures = opened.failures(study_name)
    if as_json:
        console.print_json(
            {
                "study": study_name,
                "store": hidden(url),
                "jobs": counts_json(found.counts),
                "kinds": to_json(found.workloads),
                "running": to_json(found.running),
                "failures": [failure_json(failure) for failure in failures],
            }
        )
        return
    kinds = list(dict.fromkeys(load.kind for load in found.workloads))
    states = ("done", "running", "pending", "failed")
    jobs = {(load.kind, load.state): 0 for load in found.workloads}
    for load in found.workloads:
        jobs[load.kind, load.state] += load.jobs
    console.print_table(
        ("kind", *states),
        [(kind, *(f"{jobs.get((kind, state), 0):,}" for state in states)) for kind in kinds],
    )
    if found.counts.blocked:
        console.say(f"\n{found.counts.blocked:,} of the pending jobs need a job that failed.")
    for job in found.running:
        progress = "" if job.progress is None else f"{job.progress:.0%}, "
        console.say(
            f"running: {job_name(job.kind, job.label)} ({progress}{duration(job.seconds)}) "
            f"by {job.worker}"
        )
    if failures:
        console.say()
        say_failures(failures, full=errors)


@study.command(no_args_is_help=True)
@console.reports_errors
def results(
    name: StudyArgument,
    store: StoreOption = None,
    csv: Annotated[bool, typer.Option("--csv", help="Print comma-separated values.")] = False,
    as_json: console.JsonOption = False,
) -> None:
    """Show each policy's size, return and retention, as far as the study has come.

    Example: squeezerl study results quickstart --csv
    """
    if csv and as_json:
        raise InvalidArgumentError("choose --csv or --json")
    import numpy as np

    from squeezerl.studies.run import find_study, open_existing

    study_name, url = find_study(name, store)
    with open_existing(url) as opened:
        from squeezerl.analysis.cells import cells
        from squeezerl.analysis.frames import plain
        from squeezerl.report.study_tables import cells_table
        from squeezerl.studies.results import load_study

        data = load_study(opened, study_name)
    table = cells(data, np.random.default_rng(0))
    if csv:
        sys.stdout.write(table.to_csv(index=False))
        return
    if as_json:
        rows = [
            {key: plain(value) for key, value in row.items()} for row in table.to_dict("records")
        ]
        console.print_json({"study": study_name, "cells": rows})
        return
    console.show((cells_table(table, data.methods),))


@study.command(no_args_is_help=True)
@console.reports_errors
def report(
    name: StudyArgument,
    output: console.OutputOption,
    store: StoreOption = None,
    track: TrackOption = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the report at DIR.")] = False,
) -> None:
    """Write tables, figures and tested findings, as far as the study has come.

    Example: squeezerl study report quickstart -o quickstart-report
    """
    from squeezerl.report.tracking import log_report, study_scalars
    from squeezerl.studies.run import find_study, open_existing
    from squeezerl.training.config import check_tracker

    check_tracker(track)
    study_name, url = find_study(name, store)
    with open_existing(url) as opened:
        from squeezerl.report.study_report import write_study_report
        from squeezerl.studies.results import load_study

        data = load_study(opened, study_name)
        counts = opened.counts(study_name)
        failures = opened.failures(study_name)
    if data.returns.empty:
        raise InvalidArgumentError(
            f"{study_name}: no evaluation is done yet; see squeezerl study status"
        )
    write_study_report(
        data,
        output,
        force=force,
        unfinished={
            state: count
            for state in ("pending", "running", "blocked")
            if (count := getattr(counts, state))
        },
        failures=failures,
    )
    if track is not None:
        log_report(output, study_name, study_scalars(output), track)
    console.say(f"{output / 'report.md'}; look at {output / 'index.html'}")


def _say_redo(jobs: int) -> None:
    finished = "1 finished job" if jobs == 1 else f"{jobs:,} finished jobs"
    console.err.print(f"repeating {finished} whose files are missing, and all that need them")


def _failures(name: str, url: str) -> list[Failure]:
    from squeezerl.studies.run import open_existing

    with open_existing(url) as opened:
        return opened.failures(name)
