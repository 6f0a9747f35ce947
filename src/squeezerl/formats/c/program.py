"""A network as a program in portable C99: source, header, self-test, build file, sketch, README."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import numpy.typing as npt

from squeezerl.errors import InvalidArgumentError
from squeezerl.formats.c.code import EXACT, kernels, text
from squeezerl.formats.c.steps import Step, steps_of
from squeezerl.network.arithmetic import act, rounded
from squeezerl.network.network import Float, IntegerTensor, Network

TESTED_ACTIONS = 32
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}")
# `#include <NAME.h>` must find the compiler's own.
_TAKEN = frozenset(
    "assert complex ctype errno fenv float inttypes iso646 limits locale math setjmp signal "
    "stdalign stdarg stdatomic stdbool stddef stdint stdio stdlib stdnoreturn string tgmath "
    "threads time uchar wchar wctype arduino memory con prn aux nul".split()
)
_LAYERS = ("float_layer", "integer_layer", "wide_layer", "dynamic_layer")


def check_name(name: str) -> str:
    """The name, if a program can have it.

    Raises:
        InvalidArgumentError: if it is no identifier, or that of a header that C has.
    """
    if not _NAME.fullmatch(name) or name.lower() in _TAKEN:
        raise InvalidArgumentError(
            f"`name` is {name!r}; it must begin with a letter, have up to 40 letters, digits and "
            "underscores, and not be the name of one of C's own headers, for example walker_policy"
        )
    return name


def c_program(
    network: Network, name: str, observations: Float, *, title: str = "A policy."
) -> dict[str, str]:
    """The files of a program, by their names.

    Args:
        network: any network that ONNX holds, in floats or integers.
        name: begins the names of the files and of all that other files can link to.
        observations: of which up to 32 are recorded in the self-test, (n, *observation_shape).
        title: a sentence on what it is; only letters, digits and simple punctuation are kept.

    Raises:
        FormatError: if C cannot hold the network.
        InvalidArgumentError: if the name cannot be used.
    """
    check_name(name)
    steps = steps_of(network)
    source = _Source(network, steps)
    recorded = _clear_of_ties(network, observations)
    discrete = network.head.is_discrete
    values = {
        "NAME": name,
        "UPPER": name.upper(),
        "GUARD": f"{name.upper()}_H",
        "TITLE": re.sub(r"[^A-Za-z0-9 .,:;()%|_=+-]", " ", title)[:200],
        "VERSION": version("squeezerl"),
        "OBSERVATIONS": str(math.prod(network.observation_shape)),
        "ACTIONS": str(source.actions),
        "TYPE": "int32_t" if discrete else "float",
        "MEANING": "The action for an observation.",
        "FLATTENED": ""
        if len(network.observation_shape) == 1
        else f", flattened from {'x'.join(map(str, network.observation_shape))} in C order",
        "ACTION": f"the index of one of {network.action_count} actions"
        if discrete
        else f"{source.actions} numbers in the environment's units",
        "LAYERS": ", ".join(
            f"{layer.in_features} to {layer.out_features} ({_dtype(layer.weight)})"
            for layer in network.layers
        ),
        "FLASH": f"{source.constant_bytes:,}",
        "RAM": f"{source.stack_bytes:,}",
        "COUNT": str(len(recorded)),
        "CHECKSUM_NOTE": "",
        "STANDARD": "c99",
        "EXTENSIONS": "OFF",
        "LANGUAGE": "C99 without libraries",
    }
    actions = act(network, recorded).reshape(len(recorded), -1)
    values["RECORDED_OBSERVATIONS"] = _rows(recorded.reshape(len(recorded), -1))
    values["RECORDED_ACTIONS"] = _rows(actions)
    values["COMPARISON"] = (
        "differs |= action[k] != actions[i][k];"
        if discrete
        else "const float error = action[k] - actions[i][k];\n"
        f"            differs |= !(error <= {_tolerance(network)} && -error <= {_tolerance(network)});"
    )
    return {
        f"{name}.h": _filled("policy.h", values),
        f"{name}.c": source.text(values),
        f"{name}_test.c": _filled("test.c", values),
        "CMakeLists.txt": _filled("CMakeLists.txt", values),
        f"{name}_sketch.ino": _filled("sketch.ino", values),
        "README.md": _filled("README.md", values),
    }


class _Source:
    """The source file: constants, the kernels that are needed, and the steps as calls of them."""

    def __init__(self, network: Network, steps: Sequence[Step]) -> None:
        self.actions = 1 if network.head.is_discrete else math.prod(network.action_shape)
        self._constants: list[str] = []
        self.constant_bytes = 0
        self._calls: list[str] = []
        self._kernels: set[str] = set()
        # The widest value that each buffer has to hold.
        observations = math.prod(network.observation_shape)
        self._widths = {"x": observations, "y": 0, "q": 0}
        self._value = "x"
        self._is_dynamic = False
        self._calls.append(f"for (int i = 0; i < {observations}; i++) {{")
        self._calls.append("    x[i] = observation[i];")
        self._calls.append("}")
        for step in steps:
            self._add(step)
        if not network.head.is_discrete:
            self._calls.append(f"for (int i = 0; i < {self.actions}; i++) {{")
            self._calls.append(f"    action[i] = {self._value}[i];")
            self._calls.append("}")

    @property
    def stack_bytes(self) -> int:
        """Of the buffers."""
        return 4 * (self._widths["x"] + self._widths["y"]) + self._widths["q"]

    def text(self, values: Mapping[str, str]) -> str:
        """The file."""
        buffers = [f"float {name}[{self._widths[name]}];" for name in "xy" if self._widths[name]]
        if self._widths["q"]:
            buffers.append(f"uint8_t q[{self._widths['q']}];")
        if self._is_dynamic:
            buffers += ["float scale;", "float zero_point;"]
        body = "\n".join(f"    {line}" for line in [*buffers, "", *self._calls]).replace(
            "    \n", "\n"
        )
        upper = values["UPPER"]
        parts = [
            f"/* {values['TITLE']}\n\n   Constants: {values['FLASH']} bytes. Stack: about "
            f"{values['RAM']} bytes. */",
            "#include <math.h>\n#include <string.h>\n\n" + f'#include "{values["NAME"]}.h"',
            EXACT.strip(),
            "#define KERNEL static",
            *self._constants,
            kernels(self._kernels),
            f"void {values['NAME']}_act(const float observation[{upper}_OBSERVATIONS],\n"
            f"{' ' * (len(values['NAME']) + 10)}{values['TYPE']} action[{upper}_ACTIONS])\n"
            f"{{\n{body}\n}}",
        ]
        return "\n\n".join(parts) + "\n"

    def _add(self, step: Step) -> None:
        for name, array in step.arrays.items():
            self._constant(name, array)
        arrays, numbers = [*step.arrays], [_number(np.float32(x)) for x in step.numbers]
        size = str(step.sizes[0])
        kernel, x = step.kernel, self._value
        if kernel == "quantize_row":
            self._is_dynamic = True
            self._grow("q", step.sizes[0])
            self._call("find_rounding", size, x, numbers[0], "&scale", "&zero_point")
            self._call("quantize", size, x, "q", "scale", "zero_point", numbers[0])
        elif kernel == "quantize":
            self._grow("q", step.sizes[0])
            self._call("quantize", size, x, "q", *numbers)
        elif kernel == "float_layer":
            self._value = "y" if x == "x" else "x"
            self._grow(self._value, step.sizes[0])
            self._call(kernel, *map(str, step.sizes), x, self._value, *arrays)
        elif kernel in _LAYERS:
            self._grow(x, step.sizes[0])
            more = ["scale", "zero_point"] if kernel == "dynamic_layer" else []
            self._call(kernel, *map(str, step.sizes), "q", x, *arrays, *more)
        elif kernel == "argmax":
            self._kernels.add(kernel)
            self._calls.append(f"action[0] = argmax({size}, {x});")
        else:
            self._call(kernel, size, x, *arrays, *numbers)

    def _call(self, kernel: str, *arguments: str) -> None:
        self._kernels.add(kernel)
        self._calls.append(f"{kernel}({', '.join(arguments)});")

    def _grow(self, buffer: str, width: int) -> None:
        self._widths[buffer] = max(self._widths[buffer], width)

    def _constant(self, name: str, array: npt.NDArray[Any]) -> None:
        kind = {"b": "int8_t", "i": "int32_t", "f": "float", "d": "double"}[array.dtype.char]
        self.constant_bytes += array.nbytes
        lines = "\n".join(_lines(array.ravel()))
        self._constants.append(f"static const {kind} {name}[{array.size}] = {{\n{lines}\n}};")


def _filled(template: str, values: Mapping[str, str]) -> str:
    return re.sub(r"@([A-Z_]+)@", lambda match: values[match[1]], text(f"templates/{template}"))


def _lines(numbers: npt.NDArray[Any]) -> list[str]:
    """Numbers with commas, in indented lines of up to 100 characters."""
    lines, line = [], "   "
    for number in map(_number, numbers):
        if len(line) + len(number) + 2 > 100:
            lines.append(line)
            line = "   "
        line += f" {number},"
    return [*lines, line]


def _rows(array: npt.NDArray[Any]) -> str:
    return "\n".join("    {\n" + "\n".join(f"    {x}" for x in _lines(row)) + "\n    }," for row in array)


def _number(number: Any) -> str:
    """The shortest text that a compiler reads as the same number."""
    if isinstance(number, np.integer):
        return "(-2147483647 - 1)" if number == -(2**31) else str(number)
    if np.isinf(number):
        return "-INFINITY" if number < 0 else "INFINITY"
    written = str(number)
    written = written if "." in written or "e" in written else f"{written}.0"
    return written if isinstance(number, np.float64) else f"{written}f"


def _dtype(weight: Any) -> str:
    return f"int{weight.bits}" if isinstance(weight, IntegerTensor) else "float32"


def _tolerance(network: Network) -> str:
    """1e-5 of the size of the actions."""
    size = np.abs([network.head.low, network.head.high]).max(initial=1.0)
    return _number(np.float32(1e-5 * size))


def _clear_of_ties(network: Network, observations: Float) -> Float:
    """Observations whose actions do not hang on the last bit of a float.

    A value that lies half-way between two integers can be rounded to either by two implementations
    of tanh or of a sum that are both right; the same is true of two equal outputs of an argmax.
    """
    observations = np.asarray(observations, np.float32)[: 100 * TESTED_ACTIONS]
    distance = np.full(len(observations), np.inf)

    def observe(name: str, value: Float) -> None:
        rounding = network.roundings.get(name)
        if rounding is not None:
            _, scale = rounded(value, rounding)
            steps = (value / scale).astype(np.float64)
            bound = 2**rounding.bits
            from_tie = np.abs(steps - np.floor(steps) - 0.5)
            from_tie[np.abs(steps) > bound] = 0.5
            np.minimum(distance, from_tie.min(axis=1), out=distance)
        if network.head.is_discrete and name == network.value_names[-2]:
            top = np.sort(value, axis=1)[:, -2:]
            if top.shape[1] == 2:
                np.minimum(distance, top[:, 1] - top[:, 0], out=distance)

    act(network, observations, observe)
    best = np.argsort(-np.minimum(distance, 1e-3), kind="stable")[:TESTED_ACTIONS]
    return observations[np.sort(best)]
