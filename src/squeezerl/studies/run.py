"""`run_study`: read, plan and execute a study; find and open one that was run before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from squeezerl.errors import MissingArtifactsError, StudyError
from squeezerl.host.cores import count_cores
from squeezerl.jobs.location import Location
from squeezerl.jobs.open import sqlite_path
from squeezerl.pipeline.kinds import put_agent, put_made, registrations
from squeezerl.studies.forecast import Forecast, finished_jobs, forecast
from squeezerl.studies.plan import Plan, plan_study
from squeezerl.studies.reading.study_file import check_store, default_store, read_name, read_study
from squeezerl.studies.reading.yaml_node import read_yaml_node
from squeezerl.studies.study import Study

if TYPE_CHECKING:
    from squeezerl.analysis.frames import StudyData
    from squeezerl.jobs.job import Counts, Status
    from squeezerl.jobs.store import Store

_YAML = (".yaml", ".yml")


@dataclass(frozen=True)
class StudyRun:
    """A study as far as it has been done.

    Args:
        name: of the study.
        store: URL of its database.
        counts: jobs by state.
    """

    name: str
    store: str
    counts: Counts

    @property
    def data(self) -> StudyData:
        """The results so far, as data frames."""
        from squeezerl.studies.results import load_study

        with open_existing(self.store) as store:
            return load_study(store, self.name)


def prepare(
    path: str | Path,
    *,
    store: str | None = None,
    artifacts: str | None = None,
    workers: int | None = None,
) -> tuple[Plan, Forecast]:
    """The plan of a study's file and its forecast; nothing is run or written.

    Raises:
        SqueezeRLError: if anything is wrong in the file; it names the line.
    """
    study = read_study(path, store=store, artifacts=artifacts)
    return forecast(plan_study(study), finished_jobs(study.store), workers=workers or count_cores())


def check_executor(name: str) -> None:
    """Raise an `InvalidArgumentError` if there is no such executor."""
    from squeezerl.jobs.executors import EXECUTORS

    EXECUTORS.get(name)


def run_study(
    study: str | Path | Plan,
    *,
    store: str | None = None,
    artifacts: str | None = None,
    workers: int | None = None,
    executor: str = "local",
    address: str | None = None,
    retry_failed: bool = False,
    redo_missing: bool = False,
    on_redo: Callable[[int], None] = lambda jobs: None,
    on_status: Callable[[Status], None] = lambda status: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> StudyRun:
    """Run a study, or what is left of it.

    Args:
        study: the path of its YAML file, or what `prepare` made of it.
        store: URL of the database, sqlite:///FILE or postgresql://..., instead of the file's.
        artifacts: URL of the folder for the files of jobs, instead of the file's.
        workers: how many jobs run side by side; unless given, one per core.
        executor: "local" for processes on this machine, "ray" for a cluster, or another one that
            is registered.
        address: of the Ray cluster; unless given, one is started here.
        retry_failed: whether to repeat jobs that failed before.
        redo_missing: whether to repeat finished jobs whose files are missing from the folder of
            artifacts, and all jobs that need them.
        on_redo: called with the number of such finished jobs.
        on_status: called now and then with how far the study is.
        should_stop: asked now and then; if it returns true, no more jobs are started, and
            trainings write checkpoints.

    Raises:
        SqueezeRLError: if anything is wrong in the file, or if the store or the location of
            artifacts cannot be used, before anything runs.
    """
    from squeezerl.jobs.execute import execute
    from squeezerl.jobs.open import open_store

    plan = study
    if not isinstance(plan, Plan):
        plan = plan_study(read_study(plan, store=store, artifacts=artifacts))
    planned = plan.study
    location = Location(planned.artifacts)
    with open_store(planned.store) as opened:
        known = _known_folders(opened)
        opened.put_study(planned.name, planned.spec, plan.members)
        if retry_failed:
            opened.retry_failed(planned.name)
        # Jobs that are repeated may need other missing artifacts in turn.
        while missing := _find_missing(opened, planned.name, location):
            if not redo_missing:
                raise _missing_error(missing, location, known)
            opened.reopen(missing)
            on_redo(len(missing))
    put_inputs(planned, location)
    counts = execute(
        planned.store,
        planned.name,
        location=location,
        workers=workers,
        executor=executor,
        address=address,
        on_progress=on_status,
        should_stop=should_stop,
        setup=registrations(
            (agent.place for agent in planned.everyone),
            (variant.recipe for variant in planned.variants),
        ),
    )
    return StudyRun(planned.name, planned.store, counts)


def put_inputs(study: Study, location: Location) -> None:
    """Store the agents and policies that exist already where all workers can fetch them."""
    for given in study.agents:
        put_agent(given.agent, location)
    for variant in study.variants:
        for artifact in variant.made.values():
            put_made(artifact, location)


def find_study(name_or_file: str, store: str | None = None) -> tuple[str, str]:
    """The name of a study and the URL of its store, given its name or its file.

    Raises:
        StudyError: if the argument is neither.
    """
    if not name_or_file.endswith(_YAML):
        url = store or default_store(name_or_file)
        check_store(url)
        return name_or_file, url
    root, _ = read_yaml_node(Path(name_or_file))
    parts = {key.text(): value for key, value in root.entries()}
    if "name" not in parts:
        raise root.error("the study lacks name")
    name = read_name(parts["name"])
    url = store or (parts["store"].text() if "store" in parts else default_store(name))
    check_store(url)
    return name, url


def open_existing(store_url: str) -> Store:
    """Open a store that exists; it makes none.

    Raises:
        StudyError: if there is no such store.
        StoreError: if it cannot be read.
    """
    from squeezerl.jobs.open import open_store

    if (path := sqlite_path(store_url)) is not None and not path.is_file():
        raise StudyError(
            f"{path}: there is no such store; a study makes its store in the folder where it runs: "
            "go there, or give the store's URL"
        )
    return open_store(store_url)


def _find_missing(store: Store, study: str, location: Location) -> list[str]:
    """Finished jobs that unfinished ones need, but whose artifacts are missing."""
    artifacts = {
        job_id: content["artifact"]
        for job_id, content in store.still_needed(study).items()
        if "artifact" in content
    }
    lacking = location.lacks(artifacts.values())
    return [job_id for job_id, name in artifacts.items() if name in lacking]


def _known_folders(store: Store) -> set[str]:
    """The folders of artifacts of all studies in a store."""
    return {store.study(name).spec.get("artifacts", "") for name in store.study_names()} - {""}


def _missing_error(
    missing: list[str], location: Location, known: set[str]
) -> MissingArtifactsError:
    others = " or ".join(sorted(known - {location.url}))
    before = f" (so far it was {others})" if others else ""
    jobs = "job" if len(missing) == 1 else "jobs"
    return MissingArtifactsError(
        f"{location.url}{before}: lacks what {len(missing):,} finished {jobs} left",
        "give the folder that has it as artifacts, or repeat these jobs, and all that need them, "
        "with redo_missing",
    )
