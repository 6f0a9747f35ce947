"""Exported programs, compiled and run as their users do."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from squeezerl.formats.c.program import Program
from squeezerl.host.compiler import find_compiler
from squeezerl.network.network import Network

WARNINGS = ("-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Wstrict-prototypes")


def compile_program(
    program: Program, folder: Path, *flags: str, output: str, compiler: tuple[str, ...] = ()
) -> Path:
    """Write a program and compile all of it to one file; warnings are errors."""
    folder.mkdir(parents=True, exist_ok=True)
    program.write(folder)
    name, target = program.facts["name"], folder / output
    standard = "c99" if program.facts["target"] == "portable" else "gnu99"
    run = subprocess.run(
        [
            *(compiler or find_compiler()),
            *(f"-std={standard}", *WARNINGS, "-Werror", *flags),
            *(str(folder / f"{name}.c"), str(folder / f"{name}_test.c")),
            *("-o", str(target)),
        ],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    return target


def run_test(executable: Path) -> str:
    """The self-test's line, once it has passed."""
    run = subprocess.run([executable], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


class CompiledProgram:
    """A program as a shared library."""

    def __init__(self, program: Program, network: Network, folder: Path, *flags: str) -> None:
        library = compile_program(program, folder, "-shared", "-fPIC", *flags, output="program.so")
        self._act: Any = ctypes.CDLL(str(library))[f"{program.facts['name']}_act"]
        self._shape = network.action_shape
        self._dtype = np.int32 if network.head.is_discrete else np.float32

    def act(self, observations: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
        """Actions (n, *action_shape)."""
        actions = np.zeros((len(observations), *self._shape), self._dtype)
        observations = np.ascontiguousarray(observations)
        for observation, index in zip(observations, range(len(actions)), strict=True):
            self._act(
                ctypes.c_void_p(observation.ctypes.data),
                ctypes.c_void_p(actions[index : index + 1].ctypes.data),
            )
        return actions
