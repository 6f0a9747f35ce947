"""What a job is given beside itself, and how it stops before its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from squeezerl.jobs.location import Location

if TYPE_CHECKING:
    from squeezerl.jobs.store import Store


class Interrupted(Exception):  # noqa: N818 - it is not an error
    """A job was asked to stop before its end; it can be repeated, or go on where it stopped."""


@dataclass(frozen=True, kw_only=True)
class JobContext:
    """What a job is given beside itself.

    A job that leaves files puts them to the location, and their name there into its outcome as
    `artifact`.

    Args:
        store: holds the results of the jobs that this one needs.
        location: where the files of jobs are.
        scratch: a folder of this host that survives restarts. A job uses `scratch/<its id>`, which
            is removed once its result is stored.
        threads: how many threads the job may use.
        should_stop: the job asks it now and then; if it returns true, the job raises
            `Interrupted`.
        on_progress: the job calls it now and then with the share that is done.
    """

    store: Store
    location: Location
    scratch: Path
    threads: int
    should_stop: Callable[[], bool]
    on_progress: Callable[[float], None]

    def fetch(self, job_id: str) -> Path:
        """A local folder with the files that a job left; it must not be changed.

        Raises:
            SqueezeRLError: if the job is not done, or its files cannot be read.
        """
        return self.location.fetch(self.store.result(job_id).content["artifact"])


class _Stop(BaseException):
    """A `BaseException`, so that code which turns exceptions into results lets it pass."""


@contextmanager
def stoppable(context: JobContext) -> Iterator[Callable[[float], None]]:
    """Give a callback for progress, which leaves the block when the job is asked to stop.

    Raises:
        Interrupted: if the job was asked to stop.
    """

    def progress(fraction: float) -> None:
        context.on_progress(fraction)
        if context.should_stop():
            raise _Stop

    try:
        yield progress
    except _Stop:
        raise Interrupted from None
