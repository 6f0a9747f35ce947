"""The kinds of jobs that train, compress, evaluate and profile, and what their plans share."""

from __future__ import annotations

from typing import Any

from squeezerl.jobs.kinds import register_kind

TRAIN = register_kind("train", version=2, run="squeezerl.pipeline.train:train")
COMPRESS = register_kind("compress", version=2, run="squeezerl.pipeline.compress:compress")
EVALUATE = register_kind("evaluate", version=2, run="squeezerl.pipeline.evaluate:evaluate")
PROFILE = register_kind("profile", version=3, run="squeezerl.pipeline.profile:profile")

CALIBRATION_EPISODES = 10
CALIBRATION_OBSERVATIONS = 4096


def sizes(size: Any) -> dict[str, int]:
    """The bytes of an artifact, as results of jobs hold them."""
    return {"file_bytes": int(size.file_bytes), "weight_bytes": int(size.weight_bytes)}
