"""`squeezerl study`: a whole grid, run, looked at and reported."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from squeezerl.cli.console import (
    JsonOption,
    err,
    print_json,
    print_table,
    reports_errors,
    say,
)
from squeezerl.cli.stopping import stop_on_signals
from squeezerl.cli.study_options import StoreOption, StudyArgument
from squeezerl.cli.study_progress import duration, job_name, study_progress
from squeezerl.cli.study_results import report, results
from squeezerl.cli.study_text import (
    counts_json,
    failure_json,
    hidden,
    say_end,
    say_failures,
    show_forecast,
)
from squeezerl.errors import InvalidArgumentError

if TYPE_CHECKING:
    from squeezerl.store.records import Failure
    from squeezerl.studies.run import Executor

FAILED = 1
_MOST_WORKERS = 4096

study = typer.Typer(
    name="study",
    help="Train, compress, evaluate and measure a whole grid; look at it, report it.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)


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
            "[dim]default: the study's, else named after the store, beside it[/dim]",
            show_default=False,
        ),
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Also do again what failed before.")
    ] = False,
    redo_missing: Annotated[
        bool,
        typer.Option(
            "--redo-missing",
            help="Also do again what is gone from the folder of artifacts, and what needed it.",
        ),
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
    from squeezerl.host.cores import count_cores
    from squeezerl.studies.run import prepare, run_plan

    many = workers or count_cores()
    plan, forecast = prepare(file, store=store, artifacts=artifacts, workers=many)
    if dry_run:
        show_forecast(plan.study.name, plan.study.store, plan.study.artifacts, forecast, as_json)
        return
    err.print(
        f"{plan.study.name}: {len(plan.jobs):,} jobs, about {duration(forecast.seconds)}; "
        f"{hidden(plan.study.store)}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    stopping = stop_on_signals(
        asked="trainings write checkpoints", ended="the same command goes on"
    )
    with stopping as stop, study_progress(plan.study.name, many) as show:
        done = run_plan(
            plan,
            workers=workers,
            executor=cast("Executor", executor),
            address=address,
            retry_failed=retry_failed,
            redo_missing=redo_missing,
            on_redo=_say_redo,
            on_status=show,
            should_stop=stop.is_asked,
        )
    counts = done.counts
    failures = _failures(done.name, done.store) if counts.failed else []
    if as_json:
        print_json(
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
                "store": hidden(url),
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
                "failures": [failure_json(failure) for failure in failures],
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
        say_failures(failures, full=errors)


for command in (results, report):
    study.command(no_args_is_help=True)(command)


def _say_redo(jobs: int) -> None:
    finished = "1 finished job" if jobs == 1 else f"{jobs:,} finished jobs"
    err.print(f"{finished} to be done again, with all that needs what was left")


def _failures(name: str, url: str) -> list[Failure]:
    from squeezerl.studies.run import open_existing

    with open_existing(url) as opened:
        return opened.failures(name)
