"""What `squeezerl study` says: plans, ends, failures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from squeezerl.cli.console import print_json, print_table, say
from squeezerl.cli.study_progress import duration, job_name

if TYPE_CHECKING:
    from squeezerl.store.records import Counts, Failure
    from squeezerl.studies.forecast import Forecast

_MOST_FAILURES = 20


def counts_json(counts: Counts) -> dict[str, int]:
    """Jobs by state."""
    states = ("pending", "running", "done", "failed", "blocked", "total")
    return {state: getattr(counts, state) for state in states}


def show_forecast(name: str, store: str, artifacts: str, forecast: Forecast, as_json: bool) -> None:
    """The plan as a table, and what it will take."""
    if as_json:
        print_json(
            {
                "study": name,
                "store": hidden(store),
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
    places = f"store: {hidden(store)}\nartifacts: {artifacts}"
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


def say_end(
    name: str,
    what: str,
    more: str,
    counts: Counts,
    failures: list[Failure],
    *,
    stopped: bool,
) -> None:
    """How it ended, and the commands that come next: `what` names the study in them."""
    if failures:
        say_failures(failures, full=False)
        say()
    line = f"{name}: {counts.done:,} of {counts.total:,} jobs done"
    if counts.failed:
        line += f", {counts.failed:,} failed"
    if counts.blocked:
        line += f", {counts.blocked:,} need one that failed"
    say(line)
    if counts.open:
        say(f"{'stopped; go' if stopped else 'Go'} on with: squeezerl study run {what}{more}")
    elif not counts.failed:
        say(f"See squeezerl study results {what}, or: squeezerl study report {what} -o {name}")
    if counts.failed:
        say(
            f"Tracebacks: squeezerl study status {what} --errors\n"
            f"Once more: squeezerl study run {what}{more} --retry-failed"
        )


def say_failures(failures: list[Failure], *, full: bool) -> None:
    """Jobs that failed, by the last lines of their errors or in full."""
    for failure in failures if full else failures[:_MOST_FAILURES]:
        title = f"failed: {job_name(failure.job.kind, failure.label)}"
        if full:
            say(f"{title}, {failure.attempts} attempts, job {failure.job.id}\n{failure.error}")
        else:
            say(f"{title}: {_last_line(failure.error)}")
    if not full and len(failures) > _MOST_FAILURES:
        say(f"and {len(failures) - _MOST_FAILURES:,} more")


def failure_json(failure: Failure) -> dict[str, Any]:
    """A failed job for programs."""
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
