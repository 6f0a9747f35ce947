"""`evaluate`: complete episodes of an artifact, or of a policy that knows nothing."""

from __future__ import annotations

from typing import Any

import numpy as np

from squeezerl.analysis.bootstrap import mean_interval
from squeezerl.artifacts.artifact import read_artifact
from squeezerl.evaluation.environment import Environment
from squeezerl.evaluation.evaluate import play
from squeezerl.evaluation.reference_actors import RandomActor, best_constant
from squeezerl.jobs.context import JobContext, stoppable
from squeezerl.jobs.job import Job, Outcome, StoredResult
from squeezerl.pipeline.place import Place
from squeezerl.records import Episode, EvaluationRecord
from squeezerl.runtimes.base import RUNTIMES, Actor


def evaluate(job: Job, context: JobContext) -> Outcome:
    """Play one episode for each of the seeds `seed`, `seed` + 1, ..., and keep its return.

    Raises:
        Interrupted: if the job was asked to stop.
        SqueezeRLError: if the policy does not fit the environment.
    """
    params = job.params
    environment = Place.of(params).find()
    actor = _actor(params["policy"], environment, context)
    with stoppable(context) as progress:
        record = play(
            actor,
            environment,
            episodes=params["episodes"],
            seed=params["seed"],
            threads=context.threads,
            on_progress=progress,
        )
    ci95 = None
    if len(record.episodes) > 1:
        interval = mean_interval(record.returns, np.random.default_rng(record.seed))
        ci95 = [interval.low, interval.high]
    return Outcome(
        content={
            "mean_return": record.mean_return,
            "ci95": ci95,
            "episodes": len(record.episodes),
            "steps": record.steps,
            "seconds": record.seconds,
            "backend": record.backend,
            **({} if record.noise_seed is None else {"noise_seed": record.noise_seed}),
        },
        arrays={
            "seeds": np.array([episode.seed for episode in record.episodes], dtype=np.int64),
            "returns": np.array(record.returns, dtype=np.float64),
            "lengths": np.array([episode.length for episode in record.episodes], dtype=np.int64),
        },
    )


def record_of(job: Job, result: StoredResult) -> EvaluationRecord:
    """The episodes that an evaluation found."""
    arrays = (result.arrays[name].tolist() for name in ("seeds", "returns", "lengths"))
    return EvaluationRecord(
        env_id=job.params["env_id"],
        env_kwargs=job.params["env_kwargs"],
        backend=result.content["backend"],
        seed=job.params["seed"],
        episodes=tuple(
            Episode(seed=seed, return_=return_, length=length)
            for seed, return_, length in zip(*arrays, strict=True)
        ),
        seconds=result.content["seconds"],
        noise_seed=result.content.get("noise_seed"),
    )


def _actor(policy: dict[str, Any], environment: Environment, context: JobContext) -> Actor:
    if "random" in policy:
        return RandomActor(environment, policy["random"])
    if "constant" in policy:
        return best_constant(environment, policy["constant"], threads=context.threads)
    folder = context.fetch(policy["job"]) / policy["folder"]
    return RUNTIMES.get("ort").load(read_artifact(folder))
