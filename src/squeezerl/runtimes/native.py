"""Our own runtime: kernels in C, compiled once on each machine, that run any network.

They are the functions of the exported C program, with layers laid out for vectors.
"""

from __future__ import annotations

import ctypes
import math
import sys
from functools import cache
from typing import Any, Literal, final, get_args

import numpy as np
import numpy.typing as npt

from squeezerl.errors import CompilerError, FormatError
from squeezerl.formats.c.code import EXACT, KERNELS_FOR_VECTORS, all_kernels, kernel_names, text
from squeezerl.formats.c.steps import BLOCK, host_steps, steps_of
from squeezerl.host.compiler import compiled, find_compiler
from squeezerl.network.network import Network
from squeezerl.runtimes.base import RUNTIMES, Actions, Actor, Deployed, Observations, Rows, Runtime

FLAGS = ("-O3", "-std=gnu99", "-fPIC", "-shared", "-ffp-contract=off")
Level = Literal["portable", "avx2", "avx-vnni", "avx512-vnni", "neon-dot"]
LEVELS: tuple[Level, ...] = get_args(Level)
_ALIGNMENT = 64
# Decisions are timed in so many runs of so many seconds.
_RUNS, _RUN_S = 50, 1e-3
_OTHERS = ("quantize_row", "keep", "join", "sums", "requantize")
_CODES = {
    name: code for code, name in enumerate([*kernel_names(), *kernel_names("host.c"), *_OTHERS])
}
_STEP = np.dtype(
    [
        *(("kernel", "i4"), ("outputs", "i4"), ("inputs", "i4"), ("padded", "i4")),
        *(("array", "u8", 4), ("number", "f4", 4)),
    ]
)


@final
class NativeActor(Actor):
    """A policy in compiled C. A batch is run row by row, and other threads of Python go on.

    Args:
        network: any that C can hold.
        level: of the processor's vector instructions; the highest that it has unless given.

    Raises:
        FormatError: if C cannot hold the network.
        CompilerError: if there is no C compiler.
    """

    def __init__(self, network: Network, *, level: Level | None = None) -> None:
        super().__init__(network)
        self._library = library()
        self._program = _Program(network, LEVELS.index(level or levels()[-1]))
        self._dtype = np.dtype(np.int64 if network.head.is_discrete else np.float32)
        self._one, self._rows = self._library.functions(
            self._program.address, np.empty, (1, *self.action_shape), self._dtype, self._program
        )

    def act(self, observations: Observations, rows: Rows | None = None) -> Actions:
        """See `Actor`."""
        action: Actions | None = self._one(observations)
        if action is not None:
            return action
        observations = np.ascontiguousarray(self._checked(observations))
        count = len(observations)
        actions = np.empty((count, *self.action_shape), self._dtype)
        noise = np.empty(0, np.float32)
        if self._noise is not None and count:
            noise = self._noise.draw(np.arange(count) if rows is None else rows)
        self._rows(observations, noise, actions)
        return actions

    def working_bytes(self, observations: Observations) -> int | None:
        """The scratch memory."""
        return int(self._program.scratch.nbytes)

    def seconds(self, observations: Observations, times: int) -> float:
        """Of `times` decisions on the rows of the observations in turn, without Python.

        Where actions are drawn, all have the same noise.
        """
        observations = np.ascontiguousarray(self._checked(observations))
        noise = np.zeros(0 if self._noise is None else self._noise.width, np.float32)
        given = (observations.ctypes.data, noise.ctypes.data, len(observations), times)
        seconds: float = self._library.seconds(self._program.address, *given)
        return seconds


def decision_seconds(network: Network) -> float:
    """How many seconds one decision takes inside C.

    It is the least of many short runs, since other work on the computer only adds to it.

    Raises:
        FormatError: if C cannot hold the network.
        CompilerError: if there is no C compiler.
    """
    actor = NativeActor(network)
    observation = np.zeros((1, *network.observation_shape), np.float32)
    times = 1 + int(_RUN_S / max(1e-9, actor.seconds(observation, 1)))
    return min(actor.seconds(observation, times) for _ in range(_RUNS)) / times


class _Program:
    """The steps of a network in memory, as the C code reads them."""

    def __init__(self, network: Network, level: int) -> None:
        steps = host_steps(steps_of(network))
        observations, dimensions = math.prod(network.observation_shape), network.observation_shape
        widest = max(observations, *(max(step.sizes) for step in steps))
        width = -(-widest // _ALIGNMENT) * _ALIGNMENT
        self.scratch = _aligned(np.zeros(width * 18, np.uint8))
        self._arrays: list[npt.NDArray[Any]] = []
        self._steps = np.zeros(len(steps), _STEP)
        for row, step in zip(self._steps, steps, strict=True):
            row["kernel"] = _CODES[step.kernel]
            row["outputs"], row["inputs"] = step.sizes[0], step.sizes[-1]
            row["padded"] = -(-step.sizes[0] // BLOCK) * BLOCK
            row["number"][: len(step.numbers)] = step.numbers
            for index, array in enumerate(step.arrays.values()):
                self._arrays.append(_aligned(array))
                row["array"][index] = self._arrays[-1].ctypes.data
        self._policy = _Policy(
            steps=self._steps.ctypes.data,
            scratch=self.scratch.ctypes.data,
            count=len(steps),
            observations=observations,
            actions=math.prod(network.action_shape),
            noise=network.noise_width or 0,
            width=width,
            is_discrete=network.head.is_discrete,
            level=level,
            dimensions=1 + len(dimensions),
            shape=dimensions,
        )
        self.address = ctypes.addressof(self._policy)


class _Policy(ctypes.Structure):
    _fields_ = (
        ("steps", ctypes.c_void_p),
        ("scratch", ctypes.c_void_p),
        ("count", ctypes.c_int32),
        ("observations", ctypes.c_int32),
        ("actions", ctypes.c_int32),
        ("noise", ctypes.c_int32),
        ("width", ctypes.c_int32),
        ("is_discrete", ctypes.c_int32),
        ("level", ctypes.c_int32),
        ("dimensions", ctypes.c_int32),
        ("shape", ctypes.c_int32 * 15),
    )


def _aligned(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A copy in C order that begins at a multiple of 64 bytes."""
    memory = np.empty(array.nbytes + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    copy = memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


@cache
def library() -> Any:
    """The compiled kernels.

    Raises:
        CompilerError: if they cannot be compiled.
    """
    names = ", ".join(f"{name.upper()} = {code}" for name, code in _CODES.items())
    source = "\n\n".join(
        (
            "#include <stdint.h>\n#include <string.h>",
            EXACT,
            KERNELS_FOR_VECTORS,
            f"enum {{ {names} }};",
            all_kernels(),
            text("native.c"),
        )
    )
    flags = FLAGS + (("-undefined", "dynamic_lookup") if sys.platform == "darwin" else ())
    path = compiled(source, flags)
    try:
        loaded = ctypes.PyDLL(str(path))
    except OSError as error:
        raise CompilerError(f"what the C compiler made cannot be loaded ({error})") from error
    loaded.functions.restype = ctypes.py_object
    loaded.functions.argtypes = [ctypes.c_void_p] + [ctypes.py_object] * 4
    loaded.seconds.restype = ctypes.c_double
    loaded.seconds.argtypes = [ctypes.c_void_p] * 3 + [ctypes.c_ssize_t] * 2
    return loaded


def levels() -> tuple[Level, ...]:
    """The vector instructions that this processor has, the fastest last."""
    found = library().levels()
    return tuple(level for bit, level in enumerate(LEVELS) if found >> bit & 1)


@final
class NativeRuntime(Runtime):
    """Compiled C on the CPU, in one thread."""

    name = "native"
    draws = True

    def problem(self) -> str | None:
        """See `Runtime`."""
        if sys.platform == "win32":
            return "runs on Linux and macOS only"
        try:
            find_compiler()
        except CompilerError as error:
            return str(error)
        return None

    def import_library(self, algorithm: str) -> None:
        """See `Runtime`."""
        library()

    def refusal(self, network: Network, algorithm: str) -> str | None:
        """See `Runtime`."""
        try:
            steps_of(network)
        except FormatError as error:
            return str(error)
        return None

    def load(self, deployed: Deployed, *, threads: int = 1) -> NativeActor:
        """See `Runtime`."""
        return NativeActor(deployed.network)


RUNTIMES.register("native", NativeRuntime())
