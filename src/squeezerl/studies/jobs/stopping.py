"""Jobs that end in the middle when they are asked to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from squeezerl.studies.context import Interrupted, JobContext


class _Stop(BaseException):
    """Passes through whatever turns exceptions into results."""


@contextmanager
def stoppable(context: JobContext) -> Iterator[Callable[[float], None]]:
    """Gives the callback for progress, which ends the block when the job shall stop.

    Raises:
        Interrupted: if it was asked to.
    """

    def progress(fraction: float) -> None:
        context.on_progress(fraction)
        if context.should_stop():
            raise _Stop

    try:
        yield progress
    except _Stop:
        raise Interrupted from None
