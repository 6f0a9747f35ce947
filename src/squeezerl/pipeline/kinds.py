"""The kinds of jobs that train, compress, evaluate and profile, and what their plans share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from squeezerl.agents.load import Agent
from squeezerl.evaluation import environment as environments
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


def calibration_params(place: Place, seed: int) -> dict[str, Any]:
    """Where a compression or a measurement gets its observations from, as jobs carry it."""
    return {
        **place.params,
        "seed": seed,
        "episodes": CALIBRATION_EPISODES,
        "count": CALIBRATION_OBSERVATIONS,
    }


def sizes(size: Any) -> dict[str, int]:
    """The bytes of an artifact, as results of jobs hold them."""
    return {"file_bytes": int(size.file_bytes), "weight_bytes": int(size.weight_bytes)}
