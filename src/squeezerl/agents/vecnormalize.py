"""`vecnormalize.pkl` without unpickling it: a reader that builds inert records only.

A pickle is a program that names functions and calls them. This reader gives every name on its
short list a stand-in that only remembers what it was called with, and refuses all other names,
so that nothing of the file, of NumPy, Gym or Stable-Baselines3 runs.
"""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from squeezerl.errors import CheckpointError, UnsupportedPolicyError
from squeezerl.network.normalizer import ObservationNormalizer

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


class _Inert:
    """What a pickle wanted to call: the arguments and the state that it gave, nothing else."""

    name = ""

    def __new__(cls, *arguments: Any, **keywords: Any) -> _Inert:
        record = super().__new__(cls)
        record.arguments = arguments
        record.state = None
        return record

    arguments: tuple[Any, ...]
    state: Any

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        """Keep nothing more than `__new__` did."""

    def __setstate__(self, state: Any) -> None:
        self.state = state


# The unpickler in Python, not the one in C, which a few bytes can make allocate gigabytes.
class _Reader(pickle._Unpickler):
    def find_class(self, module: str, name: str) -> type[_Inert]:
        full_name = f"{module}.{name}"
        if not _NAMES.fullmatch(full_name):
            raise CheckpointError(
                f"the pickle asks for {full_name!r}, which a vecnormalize.pkl never needs; "
                "refused, nothing was executed"
            )
        return type("_Inert", (_Inert,), {"name": full_name})

    def persistent_load(self, pid: Any) -> NoReturn:
        raise CheckpointError("the pickle refers to data outside the file; refused")


def read_vecnormalize(path: Path) -> ObservationNormalizer | None:
    """The observation normaliser of a saved VecNormalize; `None` if it leaves observations alone.

    Raises:
        CheckpointError: if the file is missing, damaged, or asks for anything unexpected.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise CheckpointError(f"{path}: larger than any vecnormalize.pkl should be")
        with path.open("rb") as file:
            record = _Reader(file).load()
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


def _to_normalizer(record: Any) -> ObservationNormalizer | None:
    if not isinstance(record, _Inert) or not record.name.endswith("VecNormalize"):
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
    return ObservationNormalizer(mean, variance, epsilon=epsilon, clip=clip)


def _to_float(value: Any) -> float:
    return float(_to_array(value)) if isinstance(value, _Inert) else float(value)


def _to_array(record: _Inert) -> npt.NDArray[np.float64]:
    """Numbers from NumPy's pickled forms of arrays (both generations) and scalars."""
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
    if isinstance(content, _Inert):  # bytes as protocol 2 writes them: encode(text, "latin1")
        text = content.arguments[0]
        if not isinstance(text, str):
            raise CheckpointError("the bytes of the numbers are not bytes")
        content = text.encode("latin1")
    flat = np.frombuffer(content, dtype=np.dtype(byte_order.replace("|", "=") + code))
    return flat.reshape(shape, order="F" if fortran else "C").astype(np.float64)
