"""How a search works on its plan: jobs in a store, one search for each folder, and its time."""

from __future__ import annotations

import fcntl
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from squeezerl.errors import OutputError
from squeezerl.jobs.execute import execute
from squeezerl.jobs.job import Job, Label, Status
from squeezerl.jobs.location import Location
from squeezerl.jobs.open import open_store
from squeezerl.jobs.store import Store
from squeezerl.search.board import STUDY, Board
from squeezerl.search.candidates import Candidate
from squeezerl.search.judging import NotYet
from squeezerl.search.result import BestSoFar

# Called with what is being done, and the share of all that is done.
StageProgress = Callable[[str, float], None]
# Called with the best so far, smallest first, and the seconds that are left.
OnBest = Callable[[Sequence[BestSoFar], float], None]


def work_on(
    store_url: str,
    board: Board,
    location: Location,
    plan: Callable[[], object],
    *,
    tell_best: Callable[[], None],
    on_status: Callable[[Status], None],
    should_stop: Callable[[], bool],
    workers: int | None,
    setup: Sequence[Callable[[], None]],
) -> None:
    """Let workers do the jobs that a plan asks for, until it asks for no more.

    Args:
        store_url: where the jobs are.
        board: takes in their results.
        location: where their files are.
        plan: raises `NotYet` with the jobs that it needs; it is called whenever some have ended.
        tell_best: called before that; it may raise `NotYet`.
        on_status: called with what is running.
        should_stop: asked now and then.
        workers: processes; one per core if `None`.
        setup: what each of them must call first.
    """
    with open_store(store_url) as store:
        done: list[tuple[Job, Label]] = []
        if STUDY in store.study_names():
            store.retry_failed(STUDY)
            board.read(store)
            done = [(row.job, row.label) for row in store.results(STUDY, arrays=False)]
        # Jobs of an earlier plan that this one does not need are not done; results are kept.
        store.put_study(STUDY, {}, done)

    def plan_more(store: Store) -> None:
        board.read(store)
        with suppress(NotYet):
            tell_best()
        try:
            plan()
        except NotYet as wait:
            store.add_jobs(STUDY, [(job, board.label(job)) for job in wait.jobs])

    execute(
        store_url,
        STUDY,
        location=location,
        workers=workers,
        plan_more=plan_more,
        on_progress=on_status,
        should_stop=should_stop,
        setup=setup,
    )


class Best:
    """The artifact of the best candidate so far, in a folder of its own.

    Args:
        folder: it is replaced whenever another candidate is the best.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._candidate: Candidate | None = None

    def keep(self, candidate: Candidate, board: Board) -> None:
        """Copy the artifact of a candidate that was made."""
        if candidate == self._candidate:
            return
        artifact = board.artifact(candidate)
        assert artifact is not None
        shutil.rmtree(self._folder, ignore_errors=True)
        shutil.copytree(artifact, self._folder)
        self._candidate = candidate


class Watch:
    """Measures how long a search has run, with the times before it was interrupted."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._before = 0.0
        with suppress(OSError, ValueError):
            self._before = float(file.read_text(encoding="utf-8"))
        self._start = time.monotonic()

    def seconds(self) -> float:
        """So far; it is noted in the file."""
        seconds = self._before + time.monotonic() - self._start
        self._file.write_text(f"{seconds:.1f}", encoding="utf-8")
        return seconds


@contextmanager
def alone(work: Path) -> Iterator[None]:
    """Hold the folder; the lock ends with the process, however that ends.

    Raises:
        OutputError: if another squeeze holds it.
    """
    with (work / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise OutputError(f"{work}: another squeeze with the same output is running") from error
        yield
