"""The kinds of jobs that train, compress, evaluate and profile, and what their plans share."""

from __future__ import annotations

from typing import Any

from squeezerl.jobs.kinds import register_kind
from squeezerl.pipeline.make import CALIBRATION_EPISODES, CALIBRATION_OBSERVATIONS
from squeezerl.pipeline.place import Place

TRAIN = register_kind("train", version=2, run="squeezerl.pipeline.train:train")
COMPRESS = register_kind("compress", version=2, run="squeezerl.pipeline.compress:compress")
EVALUATE = register_kind("evaluate", version=2, run="squeezerl.pipeline.evaluate:evaluate")
PROFILE = register_kind("profile", version=3, run="squeezerl.pipeline.profile:profile")


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
