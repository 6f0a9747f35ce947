"""Reads the normaliser in a `vecnormalize.pkl`, without unpickling the file."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from squeezerl.agents.inert_pickle import NUMPY_NAMES, Inert, InertUnpickler, array_of
from squeezerl.errors import CheckpointError, SqueezeRLWarning, UnsupportedPolicyError
from squeezerl.network.network import Normalizer

_MAX_BYTES = 512 * 2**20
_NAMES = re.compile(
    r"stable_baselines3\.common\.vec_env\.vec_normalize\.VecNormalize"
    r"|stable_baselines3\.common\.running_mean_std\.RunningMeanStd"
    r"|(gym|gymnasium)\.spaces\.(box\.Box|discrete\.Discrete|dict\.Dict)"
    r"|collections\.OrderedDict|builtins\.set"
    r"|" + NUMPY_NAMES
)
_OWN = "stable_baselines3.common.vec_env.vec_normalize.VecNormalize"
_FIELDS = {"norm_obs", "norm_reward", "clip_obs", "epsilon"}


def make_normalizer(
    mean: npt.NDArray[np.float64], variance: npt.NDArray[np.float64], *, epsilon: float, clip: float
) -> Normalizer:
    """The normaliser clip((observation - mean) / sqrt(variance + epsilon), -clip, clip).

    Args:
        mean: running mean of the observations, any shape.
        variance: running variance, of the same shape.
        epsilon: added to the variance.
        clip: bound of the normalised values.

    Raises:
        CheckpointError: if the statistics are not finite in single precision.
    """
    with np.errstate(divide="ignore", over="ignore"):
        inverse_std = (1.0 / np.sqrt(variance.ravel() + epsilon)).astype(np.float32)
        center = mean.ravel().astype(np.float32)
    if not (np.isfinite(center).all() and np.isfinite(inverse_std).all()):
        raise CheckpointError("mean and 1 / sqrt(variance + epsilon) must be finite in float32")
    return Normalizer(mean=center, inverse_std=inverse_std, clip=float(clip))


def read_vecnormalize(path: Path, parts: Sequence[str] = ()) -> Normalizer | None:
    """The observation normaliser of a saved VecNormalize; `None` if it leaves observations alone.

    Args:
        path: of the file.
        parts: the entries of a dict observation, in the order in which the policy takes them.

    Raises:
        CheckpointError: if the file is missing, damaged, or asks for anything unexpected.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise CheckpointError(f"larger than any saved VecNormalize, {_MAX_BYTES:,} bytes")
        content = path.read_bytes()
        record = InertUnpickler(
            content, allowed=_NAMES, what="a vecnormalize.pkl", any_class=True
        ).load()
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file") from error
    except Exception as error:  # a hostile file can make the reader fail in any way
        raise CheckpointError(f"{path}: not a readable pickle ({error})") from error
    try:
        normalizer = _to_normalizer(record, parts)
    except (
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        ArithmeticError,
        RecursionError,
    ) as error:
        raise CheckpointError(f"{path}: not a saved VecNormalize ({error!r})") from error
    except (CheckpointError, UnsupportedPolicyError) as error:
        raise type(error)(f"{path}: {error}") from error
    if record.name != _OWN:
        warnings.warn(
            f"{path}: holds a {record.name}, a class of your own that may normalise in its own "
            "way; it was read as the VecNormalize that it derives from",
            SqueezeRLWarning,
            stacklevel=2,
        )
    return normalizer


def _to_normalizer(record: Any, parts: Sequence[str]) -> Normalizer | None:
    state = record.state if isinstance(record, Inert) else None
    if not isinstance(state, dict) or (record.name != _OWN and not {*state} >= _FIELDS):
        raise CheckpointError("not a saved VecNormalize")
    if not state["norm_obs"]:
        return None
    known = state["obs_rms"]
    if isinstance(known, Inert) and known.items:  # an ordered dict
        known = known.items
    if isinstance(known, dict) != bool(parts):
        raise CheckpointError(
            "normalises dict observations, and the policy does not take any, or the reverse"
        )
    if missing := [name for name in parts if name not in known]:
        raise UnsupportedPolicyError(
            f"normalises only some entries of the observation, without {missing[0][:40]!r}"
        )
    statistics = [known[name] for name in parts] or [known]
    mean, variance = (
        np.concatenate(
            [array_of(each.state[key]).astype(np.float64).ravel() for each in statistics]
        )
        for key in ("mean", "var")
    )
    epsilon, clip = _to_float(state["epsilon"]), _to_float(state["clip_obs"])
    if mean.shape != variance.shape or not mean.size:
        raise CheckpointError(f"mean {mean.shape} and variance {variance.shape} do not fit")
    if not (np.isfinite(mean).all() and np.isfinite(variance).all() and (variance >= 0).all()):
        raise CheckpointError("the normalisation statistics are not finite, or negative")
    if not (clip > 0 and epsilon >= 0 and ((variance + epsilon) > 0).all()):
        raise CheckpointError(f"clip_obs {clip} or epsilon {epsilon} is out of range")
    return make_normalizer(mean, variance, epsilon=epsilon, clip=clip)


def _to_float(value: Any) -> float:
    return float(array_of(value)) if isinstance(value, Inert) else float(value)
