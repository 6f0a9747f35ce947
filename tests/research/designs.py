"""A small design of a known policy, whose jobs are done in this process."""

from __future__ import annotations

from pathlib import Path

from finished import Finished, do_all
from squeezerl.jobs.location import Location
from squeezerl.jobs.store import Store
from squeezerl.research.design import STUDY_YAML, Wish, make_design
from squeezerl.research.outcome import store_url
from squeezerl.research.questions import question_by_id
from squeezerl.research.writing import write_folder
from squeezerl.studies.plan import plan_study
from squeezerl.studies.reading.study_file import read_study


def design(folder: Path, question: str = "pruning-norm") -> None:
    """A design for the balancing agent, whose file is beside the folder."""
    folder.mkdir()
    wish = Wish(agents=(str(folder.parent / "agent.zip"),), env=("CartPole-v1",), episodes=30)
    write_folder(make_design(question_by_id(question), folder, wish=wish), folder, folder)


def finish(folder: Path) -> None:
    """Do all jobs of a design in this process."""
    store = store_url(folder)
    study = read_study(folder / STUDY_YAML, store=store, artifacts=str(folder / "artifacts"))
    location = Location(study.artifacts, cache=folder / "cache")
    done = Finished(study, plan_study(study), Store.open(store), location)
    do_all(done, folder / "scratch")
    done.store.close()
