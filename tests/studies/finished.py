"""One small study, done job by job in this process, and what it was made of."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from squeezerl.store.job import Job
from squeezerl.store.store import Store
from squeezerl.studies.context import JobContext
from squeezerl.studies.location import Location
from squeezerl.studies.plan import Plan, plan_study
from squeezerl.studies.publish import publish_agents
from squeezerl.studies.read import read_study
from squeezerl.studies.run_job import run_job
from squeezerl.studies.study import Study

STUDY = """\
name: finished
agents:
  - demo
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
measure: {methods: [ptdq, best], seconds: 0.1, precision: 1}
"""


@dataclass(frozen=True)
class Finished:
    """A study that is done."""

    study: Study
    plan: Plan
    store: Store
    location: Location
    folder: Path

    def left_by(self, job: Job) -> Path:
        """The folder that a job left."""
        return self.location.fetch(self.store.result(job.id).content["artifact"])

    def the_job(self, kind: str, agent: str, method: str, ratio: float | None = None) -> Job:
        """The one with this label."""
        wanted = (agent, method, ratio)
        (job,) = (
            job
            for job, label in self.plan.jobs
            if job.kind == kind and (label["agent"], label["method"], label["ratio"]) == wanted
        )
        return job


def context(
    store: Store,
    location: Location,
    scratch: Path,
    should_stop: Callable[[], bool] = lambda: False,
) -> JobContext:
    """What jobs are given."""
    return JobContext(
        store=store,
        location=location,
        scratch=scratch,
        threads=1,
        should_stop=should_stop,
        on_progress=lambda fraction: None,
    )


def finish(folder: Path, text: str = STUDY) -> Finished:
    """Read, plan and do all jobs, one after the other."""
    path = folder / "study.yaml"
    path.write_text(text, encoding="utf-8")
    study = read_study(path, store=f"sqlite:///{folder}/s.db", artifacts=str(folder / "artifacts"))
    plan = plan_study(study)
    store = Store.open(study.store)
    store.put_study(study.name, study.spec, plan.jobs)
    location = Location(study.artifacts, cache=folder / "cache")
    publish_agents(study.agents, location)
    given = context(store, location, folder / "scratch")
    for exclusive in (False, True):
        while claim := store.claim(study.name, "me", exclusive=exclusive, lease_s=600):
            start = time.perf_counter()
            outcome = run_job(claim.job, given)
            store.finish(claim, outcome, {"id": "here"}, time.perf_counter() - start)
    return Finished(study, plan, store, location, folder)
