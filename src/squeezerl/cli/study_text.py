"""What `squeezerl study` prints: names, plans, progress, ends and failures."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.live import Live
from rich.table import Table

from squeezerl.cli.console import err, print_json, print_table, say
from squeezerl.records import to_json

if TYPE_CHECKING:
    from squeezerl.jobs.job import Counts, Failure, RunningJob, Status
    from squeezerl.studies.forecast import Forecast

_MOST_FAILURES = 20
_LINE_SECONDS = 60.0
_MOST_SHOWN = 16
_BAR = 30


def job_name(kind: str, label: Mapping[str, Any]) -> str:
    """For example "evaluate ppo-Hopper-v4/3 l2-30"."""
    agent = label.get("agent") or label.get("env_id") or ""
    if label.get("train_seed") is not None:
        agent += f"/{label['train_seed']:g}"
    method = label.get("method") or ""
    if label.get("ratio") is not None:
        method += f"-{label['ratio'] * 100:g}"
    return " ".join(filter(None, (kind, agent, method)))


def duration(seconds: float) -> str:
    """For example "2 h 05 min", "3 min", "40 s"; days where there are many."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes:02d} min"
    return f"{hours / 24:,.0f} days"


def seconds_left(status: Status, workers: int) -> float | None:
    """Estimated from how long finished jobs took; `None` while there is nothing to go by.

    Measurements have their host to themselves; all other jobs share the workers.
    """
    taken = {w.kind: (w.seconds, w.estimate_s) for w in status.workloads if w.state == "done"}

    def corrected(kind: str, estimate_s: float) -> float:
        seconds, estimated = taken.get(kind, (0.0, 0.0))
        return estimate_s * (seconds / estimated if estimated > 0 and seconds > 0 else 1.0)

    alone = shared = 0.0
    for load in status.workloads:
        if load.state not in ("pending", "running"):
            continue
        if load.estimated < load.jobs:
            return None
        if load.exclusive:
            alone += corrected(load.kind, load.estimate_s)
        else:
            shared += corrected(load.kind, load.estimate_s)
    for job in status.running:
        if job.estimate_s is not None and job.progress is not None:
            shared -= min(1.0, job.progress) * corrected(job.kind, job.estimate_s)
    return alone + max(0.0, shared) / workers


@contextmanager
def study_progress(name: str, workers: int) -> Iterator[Callable[[Status], None]]:
    """Give a function that shows a status: live in a terminal, a line per minute elsewhere."""
    if not err.is_terminal:
        yield _Lines(name, workers)
        return
    with Live(console=err, transient=True, refresh_per_second=4) as live:
        yield lambda status: live.update(_picture(name, status, workers))


class _Lines:
    """Prints one line per minute, for logs."""

    def __init__(self, name: str, workers: int) -> None:
        self._name, self._workers = name, workers
        self._last = time.monotonic()

    def __call__(self, status: Status) -> None:
        if (now := time.monotonic()) - self._last < _LINE_SECONDS:
            return
        self._last = now
        err.print(
            f"{self._name}: {_summary(status, self._workers)}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


def _summary(status: Status, workers: int) -> str:
    counts = status.counts
    parts = [f"{counts.done:,}/{counts.total:,} jobs", f"{counts.running} running"]
    if counts.failed:
        parts.append(f"{counts.failed} failed")
    left = seconds_left(status, workers)
    alone = sum(w.jobs for w in status.workloads if w.exclusive and w.state == "pending")
    if counts.pending and counts.pending == alone and not counts.running:
        # This lasts as long as another study has jobs here; between two of ours it is a moment.
        parts.append("measurements wait to have the host alone")
    elif left is not None and counts.open:
        parts.append(f"about {duration(left)} left")
    return ", ".join(parts)


def _picture(name: str, status: Status, workers: int) -> Table:
    counts = status.counts
    share = counts.done / max(1, counts.total)
    full = round(share * _BAR)
    table = Table.grid(padding=(0, 2))
    table.add_row(
        f"[bold]{name}[/]",
        f"[green]{'━' * full}[/][dim]{'━' * (_BAR - full)}[/]",
        _summary(status, workers),
    )
    for job in status.running[:_MOST_SHOWN]:
        table.add_row("", *_running(job))
    if len(status.running) > _MOST_SHOWN:
        table.add_row("", f"and {len(status.running) - _MOST_SHOWN} more", "")
    return table


def _running(job: RunningJob) -> tuple[str, str]:
    progress = "" if job.progress is None else f"{job.progress:.0%}, "
    return job_name(job.kind, job.label), f"[dim]{progress}{duration(job.seconds)}[/]"


def counts_json(counts: Counts) -> dict[str, int]:
    """The number of jobs in each state."""
    return {**to_json(counts), "total": counts.total}


def show_forecast(name: str, store: str, artifacts: str, forecast: Forecast, as_json: bool) -> None:
    """Show the plan as a table, and how long it will take."""
    if as_json:
        places = {"study": name, "store": hidden(store), "artifacts": artifacts}
        print_json(places | to_json(forecast))
        return
    print_table(
        ("kind", "jobs", "already done", "of one worker", "disk"),
        [
            (
                kind.kind,
                f"{kind.jobs:,}",
                f"{kind.done:,}",
                duration(kind.worker_s),
                _bytes(kind.stored_bytes),
            )
            for kind in forecast.kinds
        ],
    )
    where = f"store: {hidden(store)}\nartifacts: {artifacts}"
    if all(kind.done == kind.jobs for kind in forecast.kinds):
        say(f"\nAll jobs are done.\n{where}")
        return
    scratch = ""
    if forecast.scratch_bytes:
        scratch = f", and up to {_bytes(forecast.scratch_bytes)} for checkpoints while it trains"
    source = (
        f"{forecast.from_finished:,} of the jobs are estimated from finished ones in the store, "
        "the others"
        if forecast.from_finished
        else "All jobs are estimated"
    )
    say(
        f"\nAbout {duration(forecast.estimate_s)} with {forecast.workers} workers, "
        f"{_bytes(forecast.stored_bytes)} of disk{scratch}.\n"
        f"{source} from rates of a two-core virtual machine (AMD EPYC), with episodes of full "
        "length: that gives the order of magnitude.\n"
        f"{where}"
    )


def say_end(
    name: str, what: str, more: str, counts: Counts, failures: list[Failure], *, stopped: bool
) -> None:
    """Say how a run ended, and the next commands; `what` names the study in them."""
    if failures:
        say_failures(failures, full=False)
        say()
    line = f"{name}: {counts.done:,} of {counts.total:,} jobs done"
    if counts.failed:
        line += f", {counts.failed:,} failed"
    if counts.blocked:
        line += f", {counts.blocked:,} need a job that failed"
    say(line)
    if counts.open:
        say(f"{'stopped; go' if stopped else 'Go'} on with: squeezerl study run {what}{more}")
    elif not counts.failed:
        say(f"See squeezerl study results {what}, or: squeezerl study report {what} -o {name}")
    if counts.failed:
        say(
            f"Tracebacks: squeezerl study status {what} --errors\n"
            f"Try again: squeezerl study run {what}{more} --retry-failed"
        )


def say_failures(failures: list[Failure], *, full: bool) -> None:
    """Show failed jobs with the last lines of their errors, or with the full errors."""
    for failure in failures if full else failures[:_MOST_FAILURES]:
        title = f"failed: {job_name(failure.job.kind, failure.label)}"
        if full:
            say(f"{title}, {failure.attempts} attempts, job {failure.job.id}\n{failure.error}")
        else:
            say(f"{title}: {_last_line(failure.error)}")
    if not full and len(failures) > _MOST_FAILURES:
        say(f"and {len(failures) - _MOST_FAILURES:,} more")


def failure_json(failure: Failure) -> dict[str, Any]:
    """A failed job as JSON."""
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


def _bytes(count: float) -> str:
    from squeezerl.report.text import format_si

    return format_si(count, "B")


def hidden(url: str) -> str:
    """A store's URL without its password."""
    scheme, separator, rest = url.partition("://")
    user, at, host = rest.rpartition("@")
    return f"{scheme}{separator}{user.partition(':')[0]}{at}{host}"
