"""The kinds of jobs that train, compress, evaluate and profile, and what their plans share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from squeezerl.agents.load import Agent
from squeezerl.artifacts.artifact import Artifact
from squeezerl.evaluation import environment as environments
from squeezerl.evaluation.log import Log, read_log
from squeezerl.jobs.kinds import register_kind
from squeezerl.jobs.location import Location
from squeezerl.methods import base as methods
from squeezerl.methods.recipe import Recipe
from squeezerl.pipeline.make import CALIBRATION_EPISODES, CALIBRATION_OBSERVATIONS
from squeezerl.pipeline.place import Place

TRAIN = register_kind("train", version=2, run="squeezerl.pipeline.train:train")
COMPRESS = register_kind("compress", version=3, run="squeezerl.pipeline.compress:compress")
EVALUATE = register_kind("evaluate", version=2, run="squeezerl.pipeline.evaluate:evaluate")
PROFILE = register_kind("profile", version=3, run="squeezerl.pipeline.profile:profile")

# The files of a log at a location.
_LOG, _ORIGIN = "log.npz", "origin"


def registrations(places: Iterable[Place], recipes: Iterable[Recipe]) -> list[Callable[[], None]]:
    """What workers must call to know the environments and methods that are known here only.

    Those are environments that the user's script registered in Gymnasium, and methods whose class
    the script itself defines.
    """
    env_ids = dict.fromkeys(place.env_id for place in places if place.backend != "envpool")
    found = [
        registration for env_id in env_ids if (registration := environments.registration(env_id))
    ]
    kinds = dict.fromkeys(type(step) for recipe in recipes for step in recipe.steps)
    return [
        *found,
        *(methods.registration(kind) for kind in kinds if kind.__module__ == "__main__"),
    ]


def agent_params(agent: Agent) -> dict[str, Any]:
    """An agent as a compression names it; `put_agent` must have stored it."""
    return {"sha256": agent.key}


def put_agent(agent: Agent, location: Location) -> None:
    """Store an agent where all workers can fetch it."""
    with location.scratch() as folder:
        agent.save(folder)
        location.put_input(agent.key, folder)


def put_made(artifact: Artifact, location: Location) -> None:
    """Store an artifact that is made already where all workers can fetch it."""
    with location.scratch() as folder:
        artifact.save(folder)
        location.put_input(artifact.manifest.model_sha256, folder)


def calibration_params(place: Place, seed: int) -> dict[str, Any]:
    """Where a compression or a measurement gets its observations from, as jobs carry it."""
    return {
        **place.params,
        "seed": seed,
        "episodes": CALIBRATION_EPISODES,
        "count": CALIBRATION_OBSERVATIONS,
    }


def log_params(key: str, seed: int) -> dict[str, Any]:
    """The log that a compression gets its observations from; `put_log` must have stored it."""
    return {"log": key, "seed": seed}


def put_log(log: Log, location: Location) -> str:
    """Store the observations of a log where all workers can fetch them; gives its key."""
    with location.scratch() as folder:
        np.savez(folder / _LOG, observations=log.observations)
        (folder / _ORIGIN).write_text(log.origin, encoding="utf-8")
        location.put_input(log.record.sha256, folder)
    return log.record.sha256


def fetch_log(key: str, location: Location) -> Log:
    """The log that `put_log` stored."""
    folder = location.fetch_input(key)
    origin = (folder / _ORIGIN).read_text(encoding="utf-8")
    return dataclasses.replace(read_log(folder / _LOG), origin=origin)


def sizes(size: Any) -> dict[str, int]:
    """The bytes of an artifact, as results of jobs hold them."""
    return {"file_bytes": int(size.file_bytes), "weight_bytes": int(size.weight_bytes)}
