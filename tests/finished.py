"""One small study whose jobs were all done in this process, one after the other."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from squeezerl.analysis.timing import FEWEST_FOR_INTERVAL
from squeezerl.jobs.context import JobContext
from squeezerl.jobs.job import Job
from squeezerl.jobs.kinds import run_job
from squeezerl.jobs.location import Location
from squeezerl.jobs.store import Store
from squeezerl.measurement import profile
from squeezerl.studies.plan import Plan, plan_study
from squeezerl.studies.reading.study_file import read_study
from squeezerl.studies.run import put_inputs
from squeezerl.studies.study import Study

STUDY = """\
name: finished
agents:
  - {path: ppo.zip, env: Pendulum-v1}
  - train:
      algorithms: ppo
      environments: CartPole-v1
      steps: 1_024
      hyperparameters:
        ppo: {n_envs: 2, n_steps: 128, batch_size: 64, net_arch: [16, 16]}
      evaluations: 2
      eval_episodes: 2
methods: [ptdq, ptsq, qat, l2: {percent: [10, 50]}, ticket: {norms: random}]
episodes: 3
seed: 11
measure: {methods: [best], seconds: 0.1, precision: 1}
"""


@dataclass(frozen=True)
class Finished:
    """A study that is done."""

    study: Study
    plan: Plan
    store: Store
    location: Location

    def left_by(self, job: Job) -> Path:
        """The folder that a job left."""
        return self.location.fetch(self.store.result(job.id).content["artifact"])

    def the_job(self, kind: str, agent: str, method: str, ratio: float | None = None) -> Job:
        """The job with this label."""
        wanted = (agent, method, ratio)
        (job,) = (
            job
            for job, label in self.plan.members
            if job.kind == kind and (label["agent"], label["method"], label["ratio"]) == wanted
        )
        return job


def context(
    store: Store,
    location: Location,
    scratch: Path,
    should_stop: Callable[[], bool] = lambda: False,
) -> JobContext:
    """The context that jobs are given."""
    return JobContext(
        store=store,
        location=location,
        scratch=scratch,
        threads=1,
        should_stop=should_stop,
        on_progress=lambda fraction: None,
    )


def finish(folder: Path, agent: Path, text: str = STUDY) -> None:
    """Write, plan and do all jobs, one after the other; `ppo.zip` is the agent."""
    shutil.copy(agent, folder / "ppo.zip")
    (folder / "study.yaml").write_text(text, encoding="utf-8")
    done = open_finished(folder)
    do_all(done, folder / "scratch")
    done.store.close()


def do_all(done: Finished, scratch: Path) -> None:
    """Do all jobs of a study in this process, one after the other."""
    study, store = done.study, done.store
    store.put_study(study.name, study.spec, done.plan.members)
    put_inputs(study, done.location)
    given = context(store, done.location, scratch)
    for exclusive in (False, True):
        while claim := store.claim(study.name, "me", exclusive=exclusive, lease_s=600):
            start = time.perf_counter()
            # A busy machine gets no more than these to make up for it: the figures do not matter.
            with patch.object(profile, "MOST_PROCESSES", FEWEST_FOR_INTERVAL):
                outcome = run_job(claim.job, given)
            store.finish(claim, outcome, {"id": "here"}, time.perf_counter() - start)


def open_finished(folder: Path) -> Finished:
    """What `finish` left in a folder."""
    path, store = folder / "study.yaml", f"sqlite:///{folder}/s.db"
    study = read_study(path, store=store, artifacts=str(folder / "artifacts"))
    location = Location(study.artifacts, cache=folder / "cache")
    return Finished(study, plan_study(study), Store.open(store), location)
