"""Reads the normaliser in a `vecnormalize.pkl`, without unpickling the file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from squeezerl.agents.inert_pickle import Inert, InertUnpickler
from squeezerl.errors import CheckpointError, UnsupportedPolicyError
from squeezerl.network.network import Normalizer

_MAX_BYTES = 16 * 2**20
_NAMES = re.compile(
    r"stable_baselines3\.common\.vec_env\.vec_normalize\.VecNormalize"
    r"|stable_baselines3\.common\.running_mean_std\.RunningMeanStd"
    r"|(gym|gymnasium)\.spaces\.(box\.Box|discrete\.Discrete)"
    r"|numpy\.(dtype|ndarray|float64|float32|int64|bool_)"
    r"|numpy\.(_core|core)\.multiarray\.(_reconstruct|scalar)"
    r"|numpy\.(_core|core)\.numeric\._frombuffer"
    r"|numpy\.random\._pickle\.(__randomstate_ctor|__generator_ctor|__bit_generator_ctor)"
    r"|numpy\.random\._(mt19937\.MT19937|pcg64\.PCG64)"
    r"|numpy\.random\.bit_generator\.(SeedSequence|__pyx_unpickle_SeedSequence)"
    r"|_codecs\.encode"
    r"|builtins\.(bytearray|complex)"
    r"|__builtin__\.bytes"  # b"" in protocol 2
)
_DTYPES = ("f8", "f4", "i8", "i4")


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


def read_vecnormalize(path: Path) -> Normalizer | None:
    """The observation normaliser of a saved VecNormalize; `None` if it leaves observations alone.

    Raises:
        CheckpointError: if the file is missing, damaged, or asks for anything unexpected.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise CheckpointError(f"{path}: larger than any vecnormalize.pkl should be")
        content = path.read_bytes()
        record = InertUnpickler(content, allowed=_NAMES, what="a vecnormalize.pkl").load()
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file") from error
    except Exception as error:  # a hostile file can make the reader fail in any way
        raise CheckpointError(f"{path}: not a readable pickle ({error})") from error
    try:
        return _to_normalizer(record)
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


def _to_normalizer(record: Any) -> Normalizer | None:
    if not isinstance(record, Inert) or not record.name.endswith("VecNormalize"):
        raise CheckpointError("not a saved VecNormalize")
    state = record.state
    if not state["norm_obs"]:
        return None
    statistics = state["obs_rms"]
    if isinstance(statistics, dict):
        raise UnsupportedPolicyError("normalised dict observations are not supported yet")
    mean, variance = (_to_array(statistics.state[key]).ravel() for key in ("mean", "var"))
    epsilon, clip = _to_float(state["epsilon"]), _to_float(state["clip_obs"])
    if mean.shape != variance.shape or not mean.size:
        raise CheckpointError(f"mean {mean.shape} and variance {variance.shape} do not fit")
    if not (np.isfinite(mean).all() and np.isfinite(variance).all() and (variance >= 0).all()):
        raise CheckpointError("the normalisation statistics are not finite, or negative")
    if not (clip > 0 and epsilon >= 0 and ((variance + epsilon) > 0).all()):
        raise CheckpointError(f"clip_obs {clip} or epsilon {epsilon} is out of range")
    return make_normalizer(mean, variance, epsilon=epsilon, clip=clip)


def _to_float(value: Any) -> float:
    return float(_to_array(value)) if isinstance(value, Inert) else float(value)


def _to_array(record: Inert) -> npt.NDArray[np.float64]:
    """The numbers in a pickled array (of NumPy 1 or 2) or scalar."""
    function = record.name.rpartition(".")[2]
    if function == "_reconstruct":
        _, shape, dtype, fortran, content = record.state
    elif function == "_frombuffer":
        content, dtype, shape, order = record.arguments
        fortran = order == "F"
    elif function == "scalar":
        (dtype, content), shape, fortran = record.arguments, (), False
    else:
        raise CheckpointError(f"{record.name!r} stands where numbers should")
    code, byte_order = dtype.arguments[0], dtype.state[1]
    if not (isinstance(code, str) and code in _DTYPES and byte_order in ("<", ">", "=", "|")):
        raise CheckpointError("numbers of another type than float or int are not expected")
    if isinstance(content, Inert):  # bytes as protocol 2 writes them: encode(text, "latin1")
        text = content.arguments[0]
        if not isinstance(text, str):
            raise CheckpointError("the bytes of the numbers are not bytes")
        content = text.encode("latin1")
    flat = np.frombuffer(content, dtype=np.dtype(byte_order.replace("|", "=") + code))
    return flat.reshape(shape, order="F" if fortran else "C").astype(np.float64)
