"""A network as a program in portable C99: source, header, self-test, build file, sketch, README."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from squeezerl.errors import InvalidArgumentError
from squeezerl.formats.c.code import (
    EXACT,
    KERNELS_FOR_VECTORS,
    kernel_names,
    kernels,
    processor_kernels,
    text,
)
from squeezerl.formats.c.steps import BLOCK, Step, host_steps, steps_of
from squeezerl.formats.packed import pack
from squeezerl.network.arithmetic import act, grouped, rounded
from squeezerl.network.network import TERNARY_BITS, Float, IntegerTensor, Network

Target = Literal["portable", "native", "x86-64-v3"]
SOURCE_TARGETS: tuple[Target, ...] = get_args(Target)
TESTED_ACTIONS = 32
PROGRAM_FACTS = "program.json"
_TYPES = {"b": "int8_t", "B": "uint8_t", "i": "int32_t", "f": "float", "d": "double"}
# Bits of packed weights → the kernel that unpacks them.
_UNPACKING = {bits: f"sum_{bits}_bits" for bits in range(2, 8)} | {TERNARY_BITS: "sum_ternary"}
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}")
# What no comment needs, and what could end one.
_UNSAFE = re.compile(r"[^A-Za-z0-9 .,:;%|_=+()\[\]/-]")
# `#include <NAME.h>` must find the compiler's own.
_TAKEN = {
    *("assert", "complex", "ctype", "errno", "fenv", "float", "inttypes", "iso646", "limits"),
    *("locale", "math", "setjmp", "signal", "stdalign", "stdarg", "stdatomic", "stdbool"),
    *("stddef", "stdint", "stdio", "stdlib", "stdnoreturn", "string", "tgmath", "threads"),
    *("time", "uchar", "wchar", "wctype", "arduino", "memory", "con", "prn", "aux", "nul"),
    *("cpuid", "features"),  # which those include
}


@dataclass(frozen=True)
class Program:
    """The files by their names, what `program.json` says of them, and the values in templates."""

    files: Mapping[str, str]
    facts: dict[str, Any]
    values: Mapping[str, str]

    def bare_files(self) -> dict[str, str]:
        """What a processor without an operating system and a C library needs besides."""
        names = ("start.c", "bare.ld", "string.h", "math.h")
        return {name: _filled(name, self.values) for name in names}

    def write(self, folder: Path) -> None:
        """Write the files into a folder that exists."""
        for name, content in self.files.items():
            (folder / name).write_text(content, encoding="utf-8")
        (folder / PROGRAM_FACTS).write_text(json.dumps(self.facts, indent=1) + "\n", "utf-8")


def check_name(name: str) -> str:
    """The name, if a program can have it.

    Raises:
        InvalidArgumentError: if it is no identifier, or that of a header that C has.
    """
    if not _NAME.fullmatch(name) or name.lower() in _TAKEN or name.endswith("intrin"):
        raise InvalidArgumentError(
            f"`name` is {name!r}; it must begin with a letter, have up to 40 letters, digits and "
            "underscores, and not be the name of one of C's own headers, for example walker_policy"
        )
    return name


def c_program(
    network: Network,
    name: str,
    observations: Float,
    *,
    title: str = "A policy.",
    target: Target = "portable",
) -> Program:
    """A network as a program.

    Args:
        network: any network that ONNX holds, in floats or integers.
        name: begins the names of the files and of all that other files can link to.
        observations: of which up to 32 are recorded in the self-test, (n, *observation_shape).
        title: a sentence on what it is; only letters, digits and simple punctuation are kept.
        target: "portable" is C99, the smallest. The others are for computers with GCC or Clang, and
            their layers lie in blocks: "native" chooses vector instructions when it runs, and
            "x86-64-v3" needs a processor with AVX2 and uses no others.

    Raises:
        FormatError: if C cannot hold the network.
        InvalidArgumentError: if the name cannot be used.
    """
    check_name(name)
    vectors = target != "portable"
    steps = steps_of(network)
    source = _Source(network, host_steps(steps) if vectors else steps, target)
    recorded, noise = _clear_of_ties(network, observations)
    discrete = network.head.is_discrete
    entries = [_UNSAFE.sub(" ", str(part)) for part in network.observation_parts]
    values = {
        "NAME": name,
        "UPPER": name.upper(),
        "GUARD": f"{name.upper()}_H",
        "TITLE": _UNSAFE.sub(" ", title)[:200],
        "VERSION": version("squeezerl"),
        "OBSERVATIONS": str(math.prod(network.observation_shape)),
        "ACTIONS": str(source.actions),
        "TYPE": "int32_t" if discrete else "float",
        "FLATTENED": _flattened(network.observation_shape, entries),
        "ENTRIES": "".join(f"\n      {entry}" for entry in entries),
        "ACTION": f"{source.actions} numbers in the environment's units"
        if network.choices is None
        else " and ".join(f"the index of one of {count} actions" for count in network.choices),
        "LAYERS": ", ".join(
            f"{layer.in_features} to {layer.out_features} ({_dtype(layer.weight)})"
            for layer in network.layers
        ),
        "FLASH": f"{source.constant_bytes:,}",
        "RAM": f"{source.stack_bytes:,}",
        "COUNT": str(len(recorded)),
        "STANDARD": "gnu99" if vectors else "c99",
        "EXTENSIONS": "ON" if vectors else "OFF",
        "LANGUAGE": "C99 with the extensions of GCC and Clang, without libraries"
        if vectors
        else "C99 without libraries",
    }
    values |= _noise_values(network, name, noise)
    actions = act(network, recorded, noise=noise).reshape(len(recorded), -1)
    tolerance = "" if discrete else _tolerance(network, actions)
    values["RECORDED_OBSERVATIONS"] = _rows(recorded.reshape(len(recorded), -1))
    values["RECORDED_ACTIONS"] = _rows(actions)
    values["COMPARISON"] = (
        "differs |= action[k] != actions[i][k];"
        if discrete
        else "const float error = action[k] - actions[i][k];\n"
        f"            differs |= !(error <= {tolerance} && -error <= {tolerance});"
    )
    templates = {
        f"{name}.h": "policy.h",
        f"{name}_test.c": "test.c",
        "CMakeLists.txt": "CMakeLists.txt",
        f"{name}_sketch.ino": "sketch.ino",
        "README.md": "README.md",
    }
    files = {file: _filled(template, values) for file, template in templates.items()}
    files[f"{name}.c"] = source.text(values)
    facts = {
        "name": name,
        "target": target,
        "constant_bytes": source.constant_bytes,
        "stack_bytes": source.stack_bytes,
        "network_sha256": network.sha256,
        "files": sorted(files),
    }
    return Program(files, facts, values)


def _flattened(shape: Sequence[int], entries: Sequence[str]) -> str:
    if entries:
        return ", the entries of a dict observation one behind the other"
    return f", flattened from {'x'.join(map(str, shape))} in C order" if len(shape) != 1 else ""


class _Source:
    """The source file: constants, the kernels that are needed, and the steps as calls of them.

    But for the portable target, layers lie in blocks of 16 outputs (host.c), all sizes are padded
    to that, and there are vector kernels; "native" chooses among them when the program runs.
    """

    def __init__(self, network: Network, steps: Sequence[Step], target: Target) -> None:
        self.actions = math.prod(network.action_shape)
        self.constant_bytes = 0
        self._target, self._vectors = target, target != "portable"
        self._constants: list[str] = []
        self._named: set[str] = set()
        self._calls: list[str] = []
        self._kernels: set[str] = set()
        self._draws = network.noise_width is not None
        self._host_kernels = {"float_function", "integer_function"}
        observations = math.prod(network.observation_shape)
        # The widest value that each buffer has to hold.
        self._widths = {"x": 0, "y": 0, "features": 0, "sum": 0, "q": 0, "r": 0}
        self._value, self._integers = "x", "q"
        self._is_dynamic = False
        self._grow("x", observations)
        self._call("copy", observations, "observation", "x")
        self._clear_rest(observations)
        for step in steps:
            self._add(step)
        if not network.head.is_discrete:
            self._call("copy", self.actions, self._value, "action")

    @property
    def stack_bytes(self) -> int:
        """Of the buffers."""
        return sum(width * (1 if name in "qr" else 4) for name, width in self._widths.items())

    def text(self, values: Mapping[str, str]) -> str:
        """The file."""
        upper = values["UPPER"]
        start = f"void {values['NAME']}_act("
        act = (
            f"{start}const float observation[{upper}_OBSERVATIONS],\n"
            f"{' ' * len(start)}{values['NOISE_PARAMETER']}{values['TYPE']} "
            f"action[{upper}_ACTIONS])\n"
        )
        parts = [
            f"/* {values['TITLE']}\n\n   Constants: {values['FLASH']} bytes. Stack: about "
            f"{values['RAM']} bytes. */",
            f'{self._includes()}\n\n#include "{values["NAME"]}.h"',
            EXACT.strip(),
        ]
        if not self._vectors:
            parts += ["#define KERNEL static", *self._constants, kernels(self._kernels)]
            return "\n\n".join([*parts, f"{act}{{\n{self._body()}}}"]) + "\n"
        # What is called through a pointer, so that its instructions can be chosen: the portable
        # function, and those for AVX2, AVX-VNNI, AVX-512 and the dot products of ARM.
        chosen = {
            "floats": (
                *("float_blocks", "float_avx2", "float_avx2", "float_avx512"),
                "float_blocks",
            ),
            "integers": (
                *("integer_blocks", "integer_avx2", "integer_avxvnni", "integer_avx512"),
                "integer_dot",
            ),
            "quantizes": (
                *("quantize", "quantize_avx2", "quantize_avx2", "quantize_avx512"),
                "quantize",
            ),
        }
        is_used = {
            "floats": bool(self._widths["y"]),
            "integers": bool(self._widths["q"]),
            "quantizes": "quantize" in self._kernels,
        }
        used = [names for key, names in chosen.items() if is_used[key]]
        only_avx2 = self._target == "x86-64-v3"
        if only_avx2:
            self._host_kernels |= {"four"} if is_used["integers"] else set()
            special = kernels(["x86", *(names[1] for names in used)], "x86.c")
        else:
            self._host_kernels |= {names[0] for names in used} - {"quantize"}
            others = itertools.chain.from_iterable(names[1:] for names in used)
            special = processor_kernels(["vectors", *others])
        functions = {
            level: ", ".join(
                names[column] if is_used[key] else "NULL" for key, names in chosen.items()
            )
            for column, level in enumerate(("PORTABLE", "AVX2", "AVXVNNI", "AVX512", "DOT"))
        }
        unused = [f"    (void){key};\n" for key in chosen if not is_used[key]]
        parts += [
            f"{KERNELS_FOR_VECTORS}\n#define ALIGNED __attribute__((aligned(64)))",
            *self._constants,
            kernels(self._kernels - ({"quantize", "stored_as"} if only_avx2 else set())),
            kernels(self._host_kernels, "host.c"),
            special,
            _filled(
                "avx2.c" if only_avx2 else "vectors.c",
                {
                    "TYPE": values["TYPE"],
                    "BODY": self._body(),
                    "ACT": act,
                    "NOISE": "const float *noise, " * self._draws,
                    "GIVEN": "noise, " * self._draws,
                    "UNUSED": "".join(unused),
                    **functions,
                },
            ),
        ]
        return "\n\n".join(part.strip() for part in parts) + "\n"

    def _includes(self) -> str:
        """`INFINITY` is in math.h, which a bare processor's compiler may lack."""
        lines = [*self._constants, *self._calls]
        needs_math = any("INFINITY" in line for line in lines)
        return "#include <math.h>\n" * needs_math + "#include <string.h>"

    def _body(self) -> str:
        aligned = " ALIGNED" if self._vectors else ""
        types = {"q": "uint8_t", "r": "uint8_t", "sum": "int32_t"}
        buffers = [
            f"{types.get(name, 'float')} {name}[{width}]{aligned};"
            for name, width in self._widths.items()
            if width
        ]
        if self._is_dynamic:
            buffers += ["float scale;", "float zero_point;"]
        lines = [*buffers, "", *self._calls]
        return "".join(f"    {line}\n" if line else "\n" for line in lines)

    def _add(self, step: Step) -> None:
        step = step if self._vectors else self._packed(step)
        arrays = self._constant_names(step)
        numbers = [_number(np.float32(x)) for x in step.numbers]
        count, x = step.sizes[0], self._value
        size, kernel = self._padded(count), step.kernel
        if kernel == "keep":
            self._grow("features", count)
            self._call("copy", count, x, "features")
        elif kernel == "join":
            features = step.sizes[1]
            self._grow(x, count)
            self._call("copy", features, "features", f"{x} + {count - features}")
            self._clear_rest(count)
        elif kernel == "quantize_row":
            self._is_dynamic = True
            self._grow("q", count)
            self._call("find_rounding", count, x, numbers[0], "&scale", "&zero_point")
            self._quantize(size, "scale", "zero_point", numbers[0])
        elif kernel == "quantize":
            self._grow("q", count)
            self._quantize(size, *numbers)
        elif kernel == "store":
            self._grow("q", count)
            self._call("store", size, x, "q", *numbers[1:])
            self._integers = "q"
        elif kernel.startswith("draw"):
            self._call(kernel, count, x, "noise", *arrays, *numbers)
        elif kernel.endswith("_layer"):
            self._add_layer(step, arrays)
        elif kernel in ("sums", "requantize") or kernel in kernel_names("host.c"):
            self._add_host(step, arrays, numbers)
        elif kernel == "argmax":
            self._kernels.add(kernel)
            values = f"{x} + {step.sizes[1]}" if step.sizes[1] else x
            self._calls.append(f"action[{step.numbers[0]:.0f}] = argmax({count}, {values});")
        else:
            self._call(kernel, size, x, *arrays, *numbers)

    def _quantize(self, size: int, *rounding: str) -> None:
        listed = ", ".join([str(size), self._value, "q", *rounding])
        self._kernels.add("quantize")
        self._calls.append(f"quantize{'s' * self._vectors}({listed});")
        self._integers = "q"

    def _packed(self, step: Step) -> Step:
        """The same layer with packed weights, where a kernel unpacks so many bits."""
        if step.packing is None or step.packing[0] not in _UNPACKING:
            return step
        if step.kernel != "integer_layer":
            return step
        bits, zero = step.packing
        weight, *others = step.arrays.values()
        values = (weight.astype(np.int16) + zero).astype(np.uint8)
        rows = np.stack([np.frombuffer(pack(row, bits), np.uint8) for row in values])
        return dataclasses.replace(step.with_arrays(rows, *others), kernel="packed_layer")

    def _add_layer(self, step: Step, arrays: list[str]) -> None:
        outputs, inputs = step.sizes
        values = "q"
        if step.kernel == "float_layer":
            values, self._value = self._value, "y" if self._value == "x" else "x"
        row = ["scale", "zero_point"] if step.kernel == "dynamic_layer" else []
        self._grow(self._value, outputs)
        if self._vectors:
            listed = ", ".join([values, self._value, *arrays])
            self._calls.append(f"floats({self._padded(outputs) // BLOCK}, {inputs}, {listed});")
        elif step.kernel == "packed_layer":
            assert step.packing is not None
            bits, zero = step.packing
            unpack, row_bytes = _UNPACKING[bits], next(iter(step.arrays.values())).shape[1]
            self._kernels.add(unpack)
            sizes = (outputs, inputs, row_bytes, zero, unpack)
            self._call("packed_layer", *sizes, values, self._value, *arrays)
        else:
            self._call(step.kernel, outputs, inputs, values, self._value, *arrays, *row)

    def _add_host(self, step: Step, arrays: list[str], numbers: list[str]) -> None:
        """The exact sums of a layer, or what is made of them."""
        outputs = step.sizes[0]
        size = self._padded(outputs)
        if step.kernel in ("sums", "requantize"):
            q, groups = self._integers, self._padded(step.sizes[1]) // 4
            self._kernels.add("stored_as")
            if step.kernel == "sums":
                self._grow("sum", outputs)
                results = ["sum", *arrays, "NULL", "NULL"]
            else:
                self._integers = "r" if q == "q" else "q"
                self._grow(self._integers, outputs)
                to = ", ".join([*arrays[2:], *numbers])
                results = ["NULL", *arrays[:2], self._integers, f"&(struct rounding){{{to}}}"]
            listed = ", ".join([q, *results])
            self._calls.append(f"integers({size // BLOCK}, {groups}, {listed});")
            return
        self._host_kernels.add(step.kernel)
        self._grow(self._value, outputs)
        row = ["scale", "zero_point"] if step.kernel == "rescale_row" else []
        listed = ", ".join([str(size), "sum", self._value, *arrays, *row, *numbers])
        self._calls.append(f"{step.kernel}({listed});")

    def _clear_rest(self, count: int) -> None:
        """Behind the values, up to a whole block."""
        if self._vectors and self._padded(count) > count:
            self._calls.append(f"for (int i = {count}; i < {self._padded(count)}; i++) {{")
            self._calls += [f"    {self._value}[i] = 0.0f;", "}"]

    def _call(self, kernel: str, *arguments: object) -> None:
        self._kernels.add(kernel)
        self._calls.append(f"{kernel}({', '.join(map(str, arguments))});")

    def _grow(self, buffer: str, width: int) -> None:
        self._widths[buffer] = max(self._widths[buffer], self._padded(width))

    def _padded(self, count: int) -> int:
        return -(-count // BLOCK) * BLOCK if self._vectors else count

    def _constant_names(self, step: Step) -> list[str]:
        """The names of a step's arrays, which become constants."""
        aligned = " ALIGNED" if self._vectors else ""
        for name, array in step.arrays.items():
            if name in self._named:  # the sums of rows are used twice
                continue
            self._named.add(name)
            kind = _TYPES[array.dtype.char]
            self.constant_bytes += array.nbytes
            lines = "\n".join(_lines(array.ravel()))
            self._constants.append(
                f"static const {kind} {name}[{array.size}]{aligned} = {{\n{lines}\n}};"
            )
        return [*step.arrays]


def _filled(template: str, values: Mapping[str, str]) -> str:
    return re.sub(r"@([A-Z_0-9]+)@", lambda match: values[match[1]], text(f"templates/{template}"))


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
    return "\n".join(
        "    {\n" + "\n".join(f"    {x}" for x in _lines(row)) + "\n    }," for row in array
    )


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
    return weight.dtype_name if isinstance(weight, IntegerTensor) else "float32"


def _tolerance(network: Network, actions: npt.NDArray[Any]) -> str:
    """1e-5 of the largest of the recorded actions and of the bounds that are finite."""
    sizes = np.abs([network.head.low, network.head.high, np.abs(actions).max(axis=0)])
    size = sizes[np.isfinite(sizes)].max(initial=1.0)
    return _number(np.float32(1e-5 * size))


def _noise_values(network: Network, name: str, noise: Float | None) -> dict[str, str]:
    """What templates say of the noise; nothing where actions are not drawn."""
    size = f"{name.upper()}_NOISE"
    keys = ("SIZE", "PARAMETER", "MEANING", "RECORDED", "ROW", "BUFFER", "GIVEN", "LOOP", "FACT")
    if noise is None:
        return dict.fromkeys((f"NOISE_{key}" for key in keys), "")
    kind = "normal" if network.head.noise == "normal" else "Gumbel"
    texts = (
        f"#define {size} {noise.shape[1]}\n",
        f"const float noise[{size}], ",
        f"   noise: standard {kind} numbers, new ones for each action; zeros for the one that is "
        "not drawn.\n",
        f"static const float noise[COUNT][{size}] = {{\n{_rows(noise)}\n}};\n\n",
        "noise[i], ",
        f"static float noise[{size}];\n",
        "noise, ",
        f"  // New standard {kind} numbers go here, unless the action is not to be drawn.\n",
        f"| noise | {noise.shape[1]} standard {kind} numbers, new ones for each action |\n",
    )
    return {f"NOISE_{key}": value for key, value in zip(keys, texts, strict=True)}


def _clear_of_ties(network: Network, observations: Float) -> tuple[Float, Float | None]:
    """Observations whose actions do not hang on the last bit of a float, and noise for them.

    A value that lies half-way between two integers can be rounded to either by two implementations
    of tanh or of a sum that are both right; the same is true of two equal outputs of an argmax.
    """
    observations = np.asarray(observations, np.float32)[: 100 * TESTED_ACTIONS]
    distance = np.full(len(observations), np.inf)
    noise = None
    if network.noise_width is not None:
        rng, size = np.random.default_rng(0), (len(observations), network.noise_width)
        is_normal = network.head.noise == "normal"
        drawn = rng.standard_normal(size) if is_normal else rng.gumbel(size=size)
        noise = drawn.astype(np.float32)

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
            for group in grouped(network.head, value):
                top = np.sort(group, axis=1)[:, -2:]
                if top.shape[1] == 2:
                    np.minimum(distance, top[:, 1] - top[:, 0], out=distance)

    act(network, observations, observe, noise)
    best = np.argsort(-np.minimum(distance, 1e-3), kind="stable")[:TESTED_ACTIONS]
    rows = np.sort(best)
    return observations[rows], None if noise is None else noise[rows]
