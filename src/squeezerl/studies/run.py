"""`run_study`: read, plan, execute; and where a study is that was run before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from squeezerl.errors import StudyError
from squeezerl.host.cores import count_cores
from squeezerl.store.url import sqlite_path
from squeezerl.studies.forecast import Forecast, finished_jobs, forecast
from squeezerl.studies.location import Location
from squeezerl.studies.plan import Plan, plan_study
from squeezerl.studies.publish import publish_agents
from squeezerl.studies.read import check_store, default_store, read_name, read_study
from squeezerl.studies.yaml_node import read_yaml_node

if TYPE_CHECKING:
    from squeezerl.analysis.frames import StudyData
    from squeezerl.store.records import Counts, Status
    from squeezerl.store.store import Store

_YAML = (".yaml", ".yml")
Executor = Literal["local", "ray"]


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
        """What has been found so far, as data frames."""
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
    """The plan of a study's file and what it will take; nothing is run or written.

    Raises:
        SqueezeRLError: for whatever is wrong in the file, with the line.
    """
    study = read_study(path, store=store, artifacts=artifacts)
    return forecast(plan_study(study), finished_jobs(study.store), workers=workers or count_cores())


def run_plan(
    plan: Plan,
    *,
    workers: int | None = None,
    executor: Executor = "local",
    address: str | None = None,
    retry_failed: bool = False,
    redo_missing: bool = False,
    on_redo: Callable[[int], None] = lambda jobs: None,
    on_status: Callable[[Status], None] = lambda status: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> StudyRun:
    """Do what is left of a plan.

    Raises:
        SqueezeRLError: if the store or the artifacts' location cannot be used.
    """
    from squeezerl.store.open import open_store
    from squeezerl.studies.execute import execute
    from squeezerl.studies.missing import complain, find_missing, known_folders

    study = plan.study
    location = Location(study.artifacts)
    with open_store(study.store) as store:
        known = known_folders(store)
        store.put_study(study.name, study.spec, plan.jobs)
        if retry_failed:
            store.retry_failed(study.name)
        # What is done again needs others in turn.
        while missing := find_missing(store, study.name, location):
            if not redo_missing:
                raise complain(missing, location, known)
            store.reopen(missing)
            on_redo(len(missing))
    publish_agents(study.agents, location)
    counts = execute(
        study.store,
        study.name,
        location=location,
        workers=workers,
        executor=executor,
        address=address,
        on_progress=on_status,
        should_stop=should_stop,
    )
    return StudyRun(study.name, study.store, counts)


def run_study(
    path: str | Path,
    *,
    store: str | None = None,
    artifacts: str | None = None,
    workers: int | None = None,
    executor: Executor = "local",
    address: str | None = None,
    retry_failed: bool = False,
    redo_missing: bool = False,
    on_redo: Callable[[int], None] = lambda jobs: None,
    on_status: Callable[[Status], None] = lambda status: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> StudyRun:
    """Run a study, or what is left of it.

    Args:
        path: of the study's YAML file.
        store: URL of the database, sqlite:///FILE or postgresql://..., instead of the file's.
        artifacts: URL of the folder for what jobs leave, instead of the file's.
        workers: jobs side by side; unless given, one a core.
        executor: "local" for processes on this machine, "ray" for a cluster.
        address: of the Ray cluster; unless given, one is started here.
        retry_failed: also do again what failed before.
        redo_missing: also do again what was done, but is gone from the folder of artifacts, and
            what was made of it.
        on_redo: told how many jobs lost what they left.
        on_status: called now and then with where the study stands.
        should_stop: asked now and then; if true, no job is started any more, and trainings write
            checkpoints.

    Raises:
        SqueezeRLError: for whatever is wrong in the file, before anything runs.
    """
    plan, _ = prepare(path, store=store, artifacts=artifacts, workers=workers)
    return run_plan(
        plan,
        workers=workers,
        executor=executor,
        address=address,
        retry_failed=retry_failed,
        redo_missing=redo_missing,
        on_redo=on_redo,
        on_status=on_status,
        should_stop=should_stop,
    )


def find_study(name_or_file: str, store: str | None = None) -> tuple[str, str]:
    """The name of a study and the URL of its store, from either its name or its file.

    Raises:
        StudyError: if it is neither.
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
    """A store that is there already: to look at results shall not make one.

    Raises:
        StudyError: if there is none.
        StoreError: if it cannot be read.
    """
    from squeezerl.store.open import open_store

    if (path := sqlite_path(store_url)) is not None and not path.is_file():
        raise StudyError(
            f"{path}: no such store; studies make one where they run: go there, or name it with "
            "--store"
        )
    return open_store(store_url)
