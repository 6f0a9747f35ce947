"""How far a study is, on standard error: live in a terminal, a line a minute elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.live import Live
from rich.table import Table

from squeezerl.cli.console import err

if TYPE_CHECKING:
    from squeezerl.store.records import RunningJob, Status

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
    """From what jobs took so far and were estimated at; `None` while nothing is known.

    Measurements have their host to themselves; all others share the workers.
    """
    taken = {w.kind: (w.seconds, w.estimate_s) for w in status.workloads if w.state == "done"}
    alone = shared = 0.0
    for load in status.workloads:
        if load.state not in ("pending", "running"):
            continue
        if load.estimated < load.jobs:
            return None
        seconds, estimated = taken.get(load.kind, (0.0, 0.0))
        times = seconds / estimated if estimated > 0 and seconds > 0 else 1.0
        if load.exclusive:
            alone += load.estimate_s * times
        else:
            shared += load.estimate_s * times
    for job in status.running:
        if job.estimate_s is not None and job.progress is not None:
            seconds, estimated = taken.get(job.kind, (0.0, 0.0))
            times = seconds / estimated if estimated > 0 and seconds > 0 else 1.0
            shared -= min(1.0, job.progress) * job.estimate_s * times
    return alone + max(0.0, shared) / workers


@contextmanager
def study_progress(name: str, workers: int) -> Iterator[Callable[[Status], None]]:
    """Gives what shows a status; in a terminal the picture goes away at the end."""
    if not err.is_terminal:
        yield _Lines(name, workers)
        return
    with Live(console=err, transient=True, refresh_per_second=4) as live:
        yield lambda status: live.update(_picture(name, status, workers))


class _Lines:
    """One line a minute, for logs."""

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
        # As long as another study has jobs here; between two of our own it is a moment.
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
