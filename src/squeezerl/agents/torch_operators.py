"""What torch's functions do to the features of a policy, by their names.

TorchScript's code and modules of Python call the same functions, so both are read with these. Each
has torch's names and order of arguments, behind `place`, which is for messages. `F.elu` and
`torch.elu` differ in what comes last, but those arguments are given by name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from squeezerl.agents import chain as steps
from squeezerl.agents.chain import Array, Chain, Select, Value
from squeezerl.errors import UnsupportedPolicyError

Operator = Callable[..., Any]


def apply(name: str, place: str, arguments: Sequence[Any], named: Mapping[str, Any]) -> Any:
    """The result of torch's function of that name, with or without the underscore of one in place.

    Raises:
        UnsupportedPolicyError: if it is not one that policies are known to use.
    """
    operator = OPERATORS.get(name) or OPERATORS.get(name.rstrip("_"))
    if operator is None:
        why = "is not supported"
        if name in ("lstm", "gru", "rnn_tanh", "lstm_cell", "gru_cell", "rnn_relu"):
            why = "has a state; recurrent policies are not supported"
        elif name.startswith("conv"):
            why = "is a convolution; only multilayer perceptrons are supported"
        elif "quantize" in name:
            why = "is of a policy that is quantized already; start from the one in float"
        elif name in ("gt", "ge", "lt", "le", "round", "heaviside"):
            why = steps.YES_OR_NO
        raise UnsupportedPolicyError(f"{place} {why}")
    try:
        return operator(place, *arguments, **named)
    except TypeError as error:
        reason = str(error).partition(") ")[2] or str(error)
        raise UnsupportedPolicyError(f"{place} is called in another way: {reason[:200]}") from error


def works_in_place(name: str, named: Mapping[str, Any]) -> bool:
    """Whether a call of torch's function changes its first argument."""
    return bool(re.fullmatch(r"[a-z]\w*[^_]_", name)) or named.get("inplace") is True


class Memory:
    """Which values are parts of others, and whether these have changed since.

    A function that works in place changes the values that its argument is a part of, and those
    that are parts of it. Whoever follows the code gives its new value to all names of the argument;
    the others are not followed, so their use is refused.
    """

    def __init__(self) -> None:
        self._parts: list[tuple[Chain, Chain]] = []  # the whole, and the part
        self._stale: list[Chain] = []

    def apply(
        self, name: str, place: str, arguments: Sequence[Any], named: Mapping[str, Any]
    ) -> Any:
        """The result, as `apply` gives it.

        Raises:
            UnsupportedPolicyError: as `apply`; or an argument has changed since, and it is not
                known how.
        """
        for argument in [*arguments, *named.values()]:
            for each in argument if isinstance(argument, list | tuple) else [argument]:
                self.check(each, place)
        result = apply(name, place, arguments, named)
        given = arguments[0] if arguments else None
        if isinstance(given, Chain):
            if works_in_place(name, named):
                self._change(given, result)
            elif name in _PARTS:
                made = result if isinstance(result, list) else [result]
                self._parts += [(given, part) for part in made if part is not given]
        return result

    def check(self, used: Any, place: str) -> None:
        """Refuse a value that has changed since.

        Raises:
            UnsupportedPolicyError: if it has.
        """
        if any(used is one for one in self._stale):
            raise UnsupportedPolicyError(
                f"{place} uses a value of which a part, or the whole, was changed in place; assign "
                "the result to a name of its own instead"
            )

    def _change(self, chain: Chain, result: Any) -> None:
        related = [chain]
        for one in related:
            related += [whole for whole, part in self._parts if part is one]
        parts = [chain]
        for one in parts:
            parts += [part for whole, part in self._parts if whole is one]
        self._stale += [one for one in related + parts if one is not result]


# These functions return a view: the result shares its memory with the argument.
_PARTS = (
    *("slice", "chunk", "split", "split_with_sizes"),
    *("view", "reshape", "flatten", "squeeze", "unsqueeze"),
)


def value(given: Any, place: str) -> Value:
    """A number, array or chain as a value."""
    if isinstance(given, Chain | np.ndarray):
        return given
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise UnsupportedPolicyError(f"{place} takes {type(given).__name__}, not numbers")
    return np.asarray(given, np.float64)


def _number(given: Any, place: str) -> float:
    return float(steps.constant(value(given, place), place).reshape(()))


def _linear(place: str, input: Any, weight: Any, bias: Any = None) -> Value:
    return steps.linear(value(input, place), weight, bias, place)


def _matmul(place: str, input: Any, other: Any) -> Value:
    return steps.linear(value(input, place), steps.constant(other, place).T, None, place)


def _addmm(
    place: str, input: Any, mat1: Any, mat2: Any, *, beta: float = 1, alpha: float = 1
) -> Value:
    if (beta, alpha) != (1, 1):
        raise UnsupportedPolicyError(f"{place} has factors beta and alpha")
    return steps.linear(value(mat1, place), steps.constant(mat2, place).T, input, place)


def _arithmetic(
    name: str, place: str, input: Any, other: Any, alpha: Any = 1, *, rounding_mode: Any = None
) -> Value:
    if rounding_mode is not None:
        raise UnsupportedPolicyError(f"{place} rounds")
    right = value(other, place)
    if alpha != 1:
        right = steps.arithmetic("mul", right, value(alpha, place), place)
    return steps.arithmetic(name, value(input, place), right, place)


def _reversed(name: str, place: str, input: Any, other: Any, alpha: Any = 1) -> Value:
    return _arithmetic(name, place, other, input, alpha)


def _activation(text: str, place: str, input: Any, *_: Any, inplace: bool = False) -> Value:
    return steps.activate(value(input, place), text, place)


def _elu(
    place: str, input: Any, alpha: Any = 1.0, scale: Any = 1, input_scale: Any = 1, **_: Any
) -> Value:
    if (scale, input_scale) != (1, 1):
        raise UnsupportedPolicyError(f"{place} has scales of its own")
    return steps.activate(value(input, place), f"ELU:{_number(alpha, place)!r}", place)


def _celu(place: str, input: Any, alpha: Any = 1.0, **_: Any) -> Value:
    if alpha != 1:
        raise UnsupportedPolicyError(f"{place} has an alpha other than 1, where it is ELU")
    return steps.activate(value(input, place), "ELU", place)


def _leaky_relu(place: str, input: Any, negative_slope: Any = 0.01, **_: Any) -> Value:
    slope = _number(negative_slope, place)
    return steps.activate(value(input, place), f"LeakyReLU:{slope!r}", place)


def _gelu(place: str, input: Any, approximate: str = "none") -> Value:
    text = {"none": "GELU", "tanh": "GELUTanh"}.get(approximate, approximate)
    return steps.activate(value(input, place), text, place)


def _softplus(place: str, input: Any, beta: Any = 1, threshold: Any = 20) -> Value:
    if beta != 1 or threshold != 20:  # at 20 it is linear to single precision
        raise UnsupportedPolicyError(f"{place} has a beta or threshold of its own")
    return steps.activate(value(input, place), "Softplus", place)


def _softsign(place: str, input: Any) -> Value:
    return steps.activate(value(input, place), "Softsign", place)


def _prelu(place: str, input: Any, weight: Any) -> Value:
    return steps.prelu(value(input, place), weight, place)


def _clip(place: str, input: Any, min: Any = None, max: Any = None) -> Value:
    low, high = (None if end is None else value(end, place) for end in (min, max))
    return steps.clip(value(input, place), low, high, place)


def _hardtanh(
    place: str, input: Any, min_val: Any = -1.0, max_val: Any = 1.0, inplace: bool = False
) -> Value:
    return _clip(place, input, min_val, max_val)


def _extreme(end: str, place: str, input: Any, other: Any) -> Value:
    if not isinstance(input, Chain):
        input, other = other, input
    return _clip(place, input, **{end: other})


def _part(name: str, place: str, input: Any) -> Value:
    return steps.part(value(input, place), name, place)


def _pow(place: str, input: Any, exponent: Any) -> Value:
    power = _number(exponent, place)
    if not isinstance(input, Chain):
        with np.errstate(all="ignore"):
            return np.asarray(steps.constant(value(input, place), place) ** power)
    if power not in (2, 3):
        raise UnsupportedPolicyError(f"{place} raises the features to {power:g}")
    return steps.part(input, "Square" if power == 2 else "Cube", place)


def _abs(place: str, input: Any) -> Value:
    if isinstance(input, Chain):
        return steps.part(input, "Abs", place)
    return np.asarray(np.abs(np.asarray(input)))


def _of_constants(name: str, place: str, input: Any) -> Value:
    return steps.function_of_constants(name, value(input, place), place)


def _negative(place: str, input: Any) -> Value:
    return steps.negative(value(input, place), place)


def _softmax(place: str, input: Any, dim: int = -1, *_: Any, **__: Any) -> Value:
    _chain(input, place).check_last_axis(dim, place)
    return steps.part(input, "Softmax", place)


def _argmax(place: str, input: Any, dim: int | None = None, keepdim: bool = False) -> Value:
    if dim is None:
        raise UnsupportedPolicyError(f"{place} works along all axes, not the features")
    _chain(input, place).check_last_axis(dim, place)
    return steps.part(input, "Argmax", place)


def _batch_norm(
    place: str, input: Any, *arguments: Any, training: bool = False, eps: float = 1e-5, **named: Any
) -> Value:
    # torch gives weight and bias first, torch.nn.functional the statistics.
    names = ("weight", "bias", "running_mean", "running_var", "training", "momentum", "eps")
    placed = names[2:4] if len(arguments) == 2 else names
    given = dict(zip(placed, arguments, strict=False))
    found = {"training": training, "eps": eps, **named, **given}
    if found["training"]:
        raise UnsupportedPolicyError(f"{place} is in training mode; save it after eval()")
    ones = {"weight": np.ones(()), "bias": np.zeros(())}
    scale, shift, mean, variance = (
        ones.get(name) if found.get(name) is None else found[name]
        for name in ("weight", "bias", "running_mean", "running_var")
    )
    if mean is None or variance is None or scale is None or shift is None:
        raise UnsupportedPolicyError(f"{place} keeps no statistics")
    return steps.batch_normalization(
        value(input, place), scale, shift, mean, variance, float(found["eps"]), place
    )


def _dropout(
    place: str, input: Any, p: Any = 0.5, training: Any = True, inplace: bool = False
) -> Value:
    if training and p:
        raise UnsupportedPolicyError(f"{place} is in training mode; save it after eval()")
    return value(input, place)


def _same(place: str, input: Any, *_: Any, **__: Any) -> Value:
    return value(input, place)


def _clone(place: str, input: Any, **_: Any) -> Value:
    # A new object, so that a change of one in place leaves the other as it is.
    return replace(input) if isinstance(input, Chain) else value(input, place)


def _chain(given: Any, place: str) -> Chain:
    if not isinstance(given, Chain):
        raise UnsupportedPolicyError(f"{place} takes constants, not features")
    return given


def _flatten(place: str, input: Any, start_dim: int = 0, end_dim: int = -1) -> Value:
    chain = _chain(input, place)
    if start_dim not in (1, chain.rank - 1, -1) or end_dim not in (-1, chain.rank - 1):
        raise UnsupportedPolicyError(f"{place} flattens observations together")
    return replace(chain, rank=2)


def _reshape(place: str, input: Any, *shape: Any) -> Value:
    sizes = list(shape[0]) if len(shape) == 1 and isinstance(shape[0], list | tuple) else [*shape]
    if not all(type(size) is int for size in sizes):
        raise UnsupportedPolicyError(f"{place} takes a shape that is computed")
    if not isinstance(input, Chain):
        return np.asarray(input).reshape(sizes)
    known = sizes[-1] in (-1, input.width) if len(sizes) == 2 else False
    if not known or (len(sizes) == 2 and sizes[0] not in (-1, 1)):
        hint = steps.SEVERAL if len(sizes) > 2 else ""
        raise UnsupportedPolicyError(f"{place} gives the features the shape {sizes}{hint}")
    return replace(input, rank=len(sizes))


def _transposed(place: str, input: Any, *_: Any) -> Array:
    return steps.constant(value(input, place), place).T


def _select(chain: Chain, where: slice | list[int], place: str) -> Chain:
    if chain.width is None:
        raise UnsupportedPolicyError(f"{place} takes some of an unknown number of features")
    return chain.then(Select(place, np.arange(chain.width)[where]))


def _slice(
    place: str, input: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1
) -> Value:
    whole = (start in (None, 0)) and (end is None or end >= 2**62) and step == 1
    chain = _chain(input, place)
    if whole:
        return chain
    chain.check_last_axis(dim, place)
    return _select(chain, slice(start, end, step), place)


def _chunk(place: str, input: Any, chunks: int, dim: int = 0) -> list[Value]:
    chain = _chain(input, place)
    chain.check_last_axis(dim, place)
    if chain.width is None or chunks < 1:
        raise UnsupportedPolicyError(f"{place} takes some of an unknown number of features")
    size = math.ceil(chain.width / chunks)
    starts = range(0, chain.width, size)
    return [_select(chain, slice(start, start + size), place) for start in starts]


def _split(place: str, input: Any, split_size: Any, dim: int = 0) -> list[Value]:
    chain = _chain(input, place)
    chain.check_last_axis(dim, place)
    if isinstance(split_size, int):
        if chain.width is None or split_size < 1:
            raise UnsupportedPolicyError(f"{place} takes some of an unknown number of features")
        return _chunk(place, chain, math.ceil(chain.width / split_size), dim)
    ends = np.cumsum(split_size).tolist()
    return [
        _select(chain, slice(start, end), place)
        for start, end in zip([0, *ends[:-1]], ends, strict=True)
    ]


def _joined(place: str, tensors: Any, dim: int = 0) -> Value:
    if isinstance(tensors, list | tuple) and len(tensors) == 1:
        return value(tensors[0], place)
    return steps.join(list(tensors), dim, place)


def _squeeze(by: int, place: str, input: Any, dim: int | None = None) -> Value:
    chain = _chain(input, place)
    if dim == 0 or steps.is_index(chain):
        return replace(chain, rank=chain.rank + by)
    raise UnsupportedPolicyError(f"{place} moves the features to other axes")


def _size(place: str, input: Any, dim: int | None = None) -> Any:
    chain = _chain(input, place)
    sizes = [-1, chain.width] if chain.rank == 2 else [chain.width]
    return sizes if dim is None else sizes[dim]


def _dimensions(place: str, input: Any) -> int:
    return input.rank if isinstance(input, Chain) else np.asarray(input).ndim


OPERATORS: Mapping[str, Operator] = {
    "linear": _linear,
    "matmul": _matmul,
    "mm": _matmul,
    "addmm": _addmm,
    "t": _transposed,
    "numpy_T": _transposed,
    **{name: partial(_arithmetic, name) for name in ("add", "sub", "mul", "div")},
    "subtract": partial(_arithmetic, "sub"),
    "multiply": partial(_arithmetic, "mul"),
    "divide": partial(_arithmetic, "div"),
    "true_divide": partial(_arithmetic, "div"),
    "rsub": partial(_reversed, "sub"),
    "neg": _negative,
    "pow": _pow,
    "square": partial(_part, "Square"),
    "abs": _abs,
    **{
        name: partial(_of_constants, name) for name in ("sqrt", "rsqrt", "reciprocal", "exp", "log")
    },
    "relu": partial(_activation, "ReLU"),
    "relu6": partial(_activation, "Hardtanh:0:6"),
    "tanh": partial(_activation, "Tanh"),
    "sigmoid": partial(_activation, "Sigmoid"),
    "selu": partial(_activation, "SELU"),
    "silu": partial(_activation, "SiLU"),
    "mish": partial(_activation, "Mish"),
    "elu": _elu,
    "celu": _celu,
    "leaky_relu": _leaky_relu,
    "gelu": _gelu,
    "softplus": _softplus,
    "softsign": _softsign,
    "prelu": _prelu,
    "erf": partial(_part, "Erf"),
    "hardtanh": _hardtanh,
    "clamp": _clip,
    "clip": _clip,
    "clamp_min": lambda place, input, min: _clip(place, input, min=min),
    "clamp_max": lambda place, input, max: _clip(place, input, max=max),
    "maximum": partial(_extreme, "min"),
    "minimum": partial(_extreme, "max"),
    "softmax": _softmax,
    "log_softmax": _softmax,
    "argmax": _argmax,
    "batch_norm": _batch_norm,
    "dropout": _dropout,
    "clone": _clone,
    **dict.fromkeys(("detach", "contiguous", "to", "float", "type_as", "alias"), _same),
    "flatten": _flatten,
    "reshape": _reshape,
    "view": _reshape,
    "slice": _slice,
    "chunk": _chunk,
    "split": _split,
    "split_with_sizes": _split,
    "cat": _joined,
    "concat": _joined,
    "stack": _joined,
    "squeeze": partial(_squeeze, -1),
    "unsqueeze": partial(_squeeze, 1),
    "size": _size,
    "dim": _dimensions,
}
