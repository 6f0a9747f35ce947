"""What a job is given beside itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from squeezerl.studies.location import Location

if TYPE_CHECKING:
    from squeezerl.store.store import Store


class Interrupted(Exception):  # noqa: N818 - it is no error
    """A job was asked to stop before its end; it can be done again, or go on."""


@dataclass(frozen=True, kw_only=True)
class JobContext:
    """What a job is given beside itself.

    A job puts what it leaves to the location and `artifact`, its name there, into its outcome.

    Args:
        store: has the results of the jobs that it needs.
        location: of what jobs leave behind.
        scratch: a folder of this host that survives restarts; a job uses `scratch/<its id>`, which
            is removed when its result is stored.
        threads: that it may use.
        should_stop: asked now and then; if true, the job raises `Interrupted`.
        on_progress: called now and then with the share of the job that is done.
    """

    store: Store
    location: Location
    scratch: Path
    threads: int
    should_stop: Callable[[], bool]
    on_progress: Callable[[float], None]

    def fetch(self, job_id: str) -> Path:
        """A local folder with what a job left; it must not be changed.

        Raises:
            SqueezeRLError: if the job is not done, or what it left cannot be had.
        """
        return self.location.fetch(self.store.result(job_id).content["artifact"])
