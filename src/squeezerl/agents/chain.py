"""A policy as the steps that another program's file describes, and the network that they make.

A source walks through a graph, code or a module in the order in which values are computed. Values
that depend on the observation are `Chain`s, all others NumPy arrays. `network_of` makes layers, a
normaliser and a head of the steps: what is linear is folded where it can be, and what has no place
of its own becomes a layer whose weight is diagonal.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from squeezerl.errors import CheckpointError, NetworkError, UnsupportedPolicyError
from squeezerl.network.activations import GELU_CUBE, GELU_ROOT, Activation
from squeezerl.network.network import Head, HeadKind, Layer, Network, Normalizer

Array = npt.NDArray[Any]
Double = npt.NDArray[np.float64]

_WIDEST_DIAGONAL = 4096
_MAX_NUMBERS = 2**27  # of a constant that is computed from others
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True, eq=False)
class Step:
    """One thing that happens to the features; `place` is what the file calls it."""

    place: str


@dataclass(frozen=True, eq=False)
class Affine(Step):
    """Each feature times `scale` plus `shift`; both are scalars or (features,)."""

    scale: Double
    shift: Double


@dataclass(frozen=True, eq=False)
class Linear(Step):
    """`weight` is (out, in), `bias` is (out,)."""

    weight: Double
    bias: Double


@dataclass(frozen=True, eq=False)
class Activate(Step):
    """The text of an `Activation`."""

    text: str


@dataclass(frozen=True, eq=False)
class Clip(Step):
    """Both bounds are scalars or (features,) and may be infinite."""

    low: Double
    high: Double


@dataclass(frozen=True, eq=False)
class Select(Step):
    """The features at `indices` alone."""

    indices: npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Part(Step):
    """A step that is only a part of an activation or a head: "Erf", "Argmax", "Square", ...

    `sizes` are those of the groups of features that an "Argmax" chooses from, if there are several.
    """

    name: str
    sizes: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Chain:
    """A value that depends on the observation: what happened to it, step by step.

    `origin` is the input that it begins with, by its name. `rank` counts the dimensions of the
    value, the batch included if there is one. `inputs` is the number of features at the beginning,
    `None` if that is not known.
    """

    origin: str
    steps: tuple[Step, ...] = ()
    rank: int = 2
    inputs: int | None = None

    @property
    def width(self) -> int | None:
        """How many features it has; `None` if that is not known."""
        for step in reversed(self.steps):
            if isinstance(step, Linear):
                return len(step.weight)
            if isinstance(step, Select):
                return len(step.indices)
        return self.inputs

    def then(self, *steps: Step) -> Chain:
        """The value after more steps."""
        return replace(self, steps=self.steps + steps)

    def check_last_axis(self, axis: int, place: str) -> None:
        """Refuse what works along another axis than that of the features."""
        if axis not in (-1, self.rank - 1):
            raise UnsupportedPolicyError(f"{place} works along axis {axis}, not the features")


Value = Chain | Array


def constant(value: Value, place: str) -> Double:
    """A value that must not depend on the observation, in double precision and finite.

    Raises:
        UnsupportedPolicyError: if it depends on the observation.
        CheckpointError: if it is not finite, or no number.
    """
    numbers = _numbers(value, place)
    if not np.isfinite(numbers).all():
        raise CheckpointError(f"{place} holds NaN or infinite values")
    return numbers


def _numbers(value: Value, place: str) -> Double:
    if isinstance(value, Chain):
        raise UnsupportedPolicyError(
            f"{place} takes a value computed from the observation where weights should be"
        )
    if not (np.issubdtype(value.dtype, np.floating) or np.issubdtype(value.dtype, np.integer)):
        raise CheckpointError(f"{place} holds {value.dtype}, not numbers")
    return np.asarray(value, np.float64)


def _vector(value: Value, place: str) -> Double:
    """A constant that is combined with the features one by one: () or (features,)."""
    return _of_features(constant(value, place), place)


def _of_features(numbers: Double, place: str) -> Double:
    if numbers.size == 1:
        return numbers.reshape(())
    if not numbers.size or numbers.size != numbers.shape[-1]:
        raise UnsupportedPolicyError(
            f"{place} combines the features with constants of shape {numbers.shape}"
        )
    return numbers.reshape(-1)


def linear(value: Value, weight: Value, bias: Value | None, place: str) -> Chain:
    """A linear layer; `weight` is (out, in)."""
    matrix = constant(weight, place)
    offset = np.zeros(matrix.shape[:1]) if bias is None else constant(bias, place)
    if not isinstance(value, Chain):
        raise UnsupportedPolicyError(f"{place} multiplies constants only")
    if matrix.ndim != 2 or not matrix.size:
        raise CheckpointError(f"{place} is no linear layer: its weight has shape {matrix.shape}")
    offset = offset.reshape(-1)
    if offset.size not in (1, len(matrix)):
        raise CheckpointError(f"{place}: weight {matrix.shape} and bias {offset.shape} do not fit")
    return value.then(Linear(place, matrix, np.broadcast_to(offset, len(matrix))))


def activate(value: Value, text: str, place: str) -> Chain:
    """An activation, by the text of an `Activation`."""
    if not isinstance(value, Chain):
        raise UnsupportedPolicyError(f"{place} is an activation of constants")
    try:
        return value.then(Activate(place, str(Activation.of(text))))
    except NetworkError as error:
        raise UnsupportedPolicyError(f"{place}: {error}") from error


def prelu(value: Value, slopes: Value, place: str) -> Chain:
    """A PReLU with one slope, or with one slope for each feature."""
    numbers = constant(slopes, place).reshape(-1).astype(np.float32)
    return activate(value, ":".join(["PReLU", *map(str, numbers)]), place)


def clip(value: Value, low: Value | None, high: Value | None, place: str) -> Value:
    """Bounds; one that is `None` is no bound."""
    below, above = (
        np.asarray(missing) if given is None else _numbers(given, place)
        for given, missing in ((low, -np.inf), (high, np.inf))
    )
    if np.isnan(below).any() or np.isnan(above).any():
        raise CheckpointError(f"{place} has bounds that are not numbers")
    if not isinstance(value, Chain):
        return np.clip(value, below, above)
    below, above = _of_features(below, place), _of_features(above, place)
    if below.ndim and above.ndim and below.shape != above.shape:
        raise CheckpointError(f"{place} has {below.size} lower bounds, but {above.size} upper ones")
    if (below > above).any():
        raise CheckpointError(f"{place} has a lower bound above the upper one")
    return value.then(Clip(place, below, above))


def part(value: Value, name: str, place: str) -> Chain:
    """A step that only means something together with others."""
    if not isinstance(value, Chain):
        raise UnsupportedPolicyError(f"{place} ({name}) of constants")
    return value.then(Part(place, name))


# What to do about exports that choose in other ways, for messages.
YES_OR_NO = (
    "compares what it computes; a choice between yes and no must be the argmax of two outputs, no "
    "and yes"
)
SEVERAL = "; for several choices, split the outputs and join the argmax of each part"


def is_index(chain: Chain) -> bool:
    """Whether a value is the index of a largest feature, or several."""
    last = chain.steps[-1] if chain.steps else None
    return isinstance(last, Part) and last.name == "Argmax"


def join(values: Sequence[Value], axis: int, place: str) -> Chain:
    """Values side by side: choices, each the index of the largest of other outputs.

    Raises:
        UnsupportedPolicyError: if they are anything else.
    """
    chains = [value for value in values if isinstance(value, Chain) and is_index(value)]
    if len(chains) != len(values):
        raise UnsupportedPolicyError(
            f"{place} joins several branches; a policy must be one chain of layers, but for "
            "several choices, each of which is the argmax of outputs of its own"
        )
    first, common = chains[0], 0
    while all(
        common < len(chain.steps) - 1 and chain.steps[common] is first.steps[common]
        for chain in chains
    ):
        common += 1
    joined = _side_by_side([_outputs(chain.steps[common:]) for chain in chains], place)
    alike = {(chain.origin, chain.rank) for chain in chains} == {(first.origin, first.rank)}
    if joined is None or not alike or (axis == 0 and first.rank > 1):
        raise UnsupportedPolicyError(
            f"{place} joins choices in a way that is not known: each must be the argmax of a layer "
            "of its own or of some outputs of a common one, and they must stand in one row"
        )
    step, sizes = joined
    return replace(first, steps=(*first.steps[:common], step, Part(place, "Argmax", sizes)))


def _side_by_side(
    ends: Sequence[list[Step]], place: str
) -> tuple[Linear | Select, tuple[int, ...]] | None:
    """The outputs of several choices as one step, and how many each has; `None` if unknown."""
    selects = [end[0] for end in ends if len(end) == 1 and isinstance(end[0], Select)]
    if len(selects) == len(ends):
        indices = [select.indices for select in selects]
        return Select(place, np.concatenate(indices)), tuple(map(len, indices))
    if any(isinstance(step, Select) for end in ends for step in end):
        return None
    linears = [end[0] for end in map(_merged, ends) if len(end) == 1 and isinstance(end[0], Linear)]
    if len(linears) != len(ends) or len({one.weight.shape[1] for one in linears}) > 1:
        return None
    weight = np.concatenate([one.weight for one in linears])
    bias = np.concatenate([one.bias for one in linears])
    return Linear(place, weight, bias), tuple(len(one.bias) for one in linears)


_CONSTANT_FUNCTIONS = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
}


def arithmetic(name: str, left: Value, right: Value, place: str) -> Value:
    """`left` + - * / `right`; the name is "add", "sub", "mul" or "div".

    Raises:
        UnsupportedPolicyError: if both depend on the observation, and it is no known activation.
    """
    if not isinstance(left, Chain) and not isinstance(right, Chain):
        if math.prod(np.broadcast_shapes(left.shape, right.shape)) > _MAX_NUMBERS:
            raise CheckpointError(f"{place} would make a constant of more than 2^27 numbers")
        with np.errstate(all="ignore"):
            return np.asarray(_CONSTANT_FUNCTIONS[name](left, right))
    if isinstance(left, Chain) and isinstance(right, Chain):
        return _activation_of_branches(name, left, right, place)
    if isinstance(left, Chain):
        number = _vector(right, place)
        with np.errstate(all="ignore"):
            scale, shift = {
                "add": (np.ones(()), number),
                "sub": (np.ones(()), -number),
                "mul": (number, np.zeros(())),
                "div": (1 / number, np.zeros(())),
            }[name]
        if not np.isfinite(scale).all():
            raise CheckpointError(f"{place} divides by zero")
        return left.then(Affine(place, scale, shift))
    assert isinstance(right, Chain)
    if name in ("add", "mul"):
        return arithmetic(name, right, left, place)
    if name == "sub":
        return right.then(Affine(place, -np.ones(()), _vector(left, place)))
    raise UnsupportedPolicyError(f"{place} divides by a value computed from the observation")


def function_of_constants(name: str, value: Value, place: str) -> Array:
    """A square root and the like of constants, such as that of a normaliser's variance."""
    functions: dict[str, Any] = {
        "sqrt": np.sqrt,
        "reciprocal": np.reciprocal,
        "rsqrt": lambda x: 1 / np.sqrt(x),
        "exp": np.exp,
        "log": np.log,
        "abs": np.abs,
        "neg": np.negative,
    }
    if isinstance(value, Chain):
        raise UnsupportedPolicyError(f"{place} takes the {name} of the features")
    with np.errstate(all="ignore"):
        return np.asarray(functions[name](value))


def negative(value: Value, place: str) -> Value:
    """Minus the value."""
    return arithmetic("mul", value, np.asarray(-1.0), place)


def batch_normalization(
    value: Value, scale: Value, shift: Value, mean: Value, variance: Value, eps: float, place: str
) -> Chain:
    """A batch normalisation as it acts after training."""
    if not isinstance(value, Chain):
        raise UnsupportedPolicyError(f"{place} normalises constants")
    factor = _vector(scale, place) / np.sqrt(_vector(variance, place) + eps)
    if not np.isfinite(factor).all():
        raise CheckpointError(f"{place} divides by zero")
    return value.then(Affine(place, factor, _vector(shift, place) - factor * _vector(mean, place)))


def _is_near(value: Double, number: float) -> bool:
    return value.ndim == 0 and math.isclose(value, number, rel_tol=1e-4, abs_tol=1e-6)


def _activation_of_branches(name: str, left: Chain, right: Chain, place: str) -> Chain:
    """The activation that two branches of one value make, such as x * sigmoid(x)."""
    common = 0
    while left.steps[common : common + 1] == right.steps[common : common + 1] != ():
        common += 1
    base = replace(left, steps=left.steps[:common])
    straight, curved = _merged(left.steps[common:]), _merged(right.steps[common:])
    if name != "div" and len(straight) > len(curved):
        straight, curved = curved, straight
    factor = 1.0
    if [type(step) for step in straight] == [Affine] and name == "mul":
        first = straight[0]
        assert isinstance(first, Affine)
        if first.scale.ndim == 0 and _is_near(first.shift, 0):
            factor, straight = float(first.scale), []
    if not straight and left.origin == right.origin:
        found = _known_branches(name, curved)
        if found is not None:
            step, scale = found
            made = base.then(replace(step, place=place))
            scale *= factor
            if scale == 1:
                return made
            return made.then(Affine(place, np.asarray(scale), np.zeros(())))
    raise UnsupportedPolicyError(
        f"{place} joins two branches computed from the observation ({_words(left)} and "
        f"{_words(right)}); a policy must be one chain of layers"
    )


def _words(chain: Chain) -> str:
    step = chain.steps[-1] if chain.steps else None
    return f"the input {chain.origin!r}" if step is None else step.place


def _known_branches(name: str, steps: Sequence[Step]) -> tuple[Step, float] | None:
    """What x and `steps` of x give together, and the factor that is left."""
    marks = [step.text if isinstance(step, Activate) else _mark(step) for step in steps]
    affine = [step for step in steps if isinstance(step, Affine)]
    match name, marks:
        case "mul", []:
            return Part("", "Square"), 1.0
        case "mul", ["Square"]:
            return Part("", "Cube"), 1.0
        case "mul", ["Sigmoid"]:
            return Activate("", "SiLU"), 1.0
        case "mul", ["Softplus", "Tanh"]:
            return Activate("", "Mish"), 1.0
        case "mul", ["Affine", "Erf", "Affine"]:
            inner, outer = affine
            if _is_near(inner.scale, 0.5**0.5) and _is_near(inner.shift, 0) and _is_gate(outer):
                return Activate("", "GELU"), 2 * float(outer.scale)
        case "mul", ["GELU's root", "Affine", "Tanh", "Affine"]:
            inner, outer = affine
            scaled = _is_near(inner.scale, float(GELU_ROOT)) and _is_near(inner.shift, 0)
            if scaled and _is_gate(outer):
                return Activate("", "GELUTanh"), 2 * float(outer.scale)
        case "add", ["Cube", "Affine"]:
            if _is_near(affine[0].scale, float(GELU_CUBE)) and _is_near(affine[0].shift, 0):
                return Part("", "GELU's root"), 1.0
        case "mul", ["Square", "Affine"]:
            if _is_near(affine[0].scale, float(GELU_CUBE)) and _is_near(affine[0].shift, 1):
                return Part("", "GELU's root"), 1.0
        case "div", ["Abs", "Affine"]:
            if _is_near(affine[0].scale, 1) and _is_near(affine[0].shift, 1):
                return Activate("", "Softsign"), 1.0
    return None


def _is_gate(step: Affine) -> bool:
    return bool(step.scale.ndim == 0 and _is_near(step.shift, float(step.scale)))


def _mark(step: Step) -> str:
    return step.name if isinstance(step, Part) else type(step).__name__


def _merged(steps: Sequence[Step], *, keeps_first: bool = True) -> list[Step]:
    """The steps with what is linear folded together.

    The first affine step of a policy is its normaliser, and stays if the caller says so.
    """
    merged: list[Step] = []
    for step in steps:
        before = merged[-1] if merged else None
        if isinstance(step, Select):
            merged = _selected(merged, step)
            continue
        if isinstance(step, Affine):
            if isinstance(before, Affine):
                scale, shift = before.scale * step.scale, before.shift * step.scale + step.shift
                merged[-1] = Affine(step.place, *_same_size(scale, shift, step.place))
                continue
            if isinstance(before, Linear):
                _check_width(step.scale, len(before.weight), step.place)
                _check_width(step.shift, len(before.weight), step.place)
                weight = before.weight * (
                    step.scale if step.scale.ndim == 0 else step.scale[:, None]
                )
                merged[-1] = Linear(before.place, weight, before.bias * step.scale + step.shift)
                continue
        if isinstance(step, Clip) and isinstance(before, Clip):
            ends = (np.clip(end, step.low, step.high) for end in (before.low, before.high))
            merged[-1] = Clip(step.place, *ends)
            continue
        if isinstance(step, Linear) and isinstance(before, Affine) and len(merged) > keeps_first:
            width = step.weight.shape[1]
            _check_width(before.scale, width, before.place)
            _check_width(before.shift, width, before.place)
            bias = step.bias + step.weight @ np.broadcast_to(before.shift, width)
            merged[-1] = Linear(step.place, step.weight * before.scale, bias)
            continue
        merged.append(step)
    return merged


def _same_size(scale: Double, shift: Double, place: str) -> tuple[Double, Double]:
    if scale.ndim and shift.ndim and scale.shape != shift.shape:
        raise CheckpointError(f"{place} combines {shift.size} features with {scale.size}")
    return scale, shift


def _check_width(numbers: Double, width: int, place: str) -> None:
    if numbers.ndim and numbers.shape != (width,):
        raise CheckpointError(f"{place} has {numbers.size} numbers for {width} features")


def _has_slopes(step: Activate) -> bool:
    """Whether it is a PReLU with a slope for each feature."""
    return step.text.startswith("PReLU") and step.text.count(":") > 1


def _selected(steps: list[Step], select: Select) -> list[Step]:
    """The steps where only some features go on: the layer before it gives no others."""
    chosen, width = select.indices, None
    behind: list[Step] = []
    for place in reversed(range(len(steps))):
        step = steps[place]
        if isinstance(step, Linear):
            width = len(step.weight)
            if chosen.size and (chosen.min() < 0 or chosen.max() >= width):
                raise CheckpointError(f"{select.place} takes features that are not there")
            cut = Linear(step.place, step.weight[chosen], step.bias[chosen])
            return [*steps[:place], cut, *behind]
        if isinstance(step, Part) or (isinstance(step, Activate) and _has_slopes(step)):
            break
        for name in ("scale", "shift", "low", "high"):
            numbers = getattr(step, name, None)
            if numbers is not None and numbers.ndim:
                step = replace(step, **{name: numbers[chosen]})
        behind.insert(0, step)
    raise UnsupportedPolicyError(
        f"{select.place} takes some of the features, and no linear layer stands before it"
    )


def network_of(
    chain: Value, *, observation_shape: tuple[int, ...] | None = None, place: str = "the result"
) -> Network:
    """The network that computes a chain, with float32 weights.

    Args:
        chain: from the observation to the action.
        observation_shape: of one observation; unless given, what the first layer takes.
        place: of the result, for messages.

    Raises:
        CheckpointError: if sizes do not fit together, or numbers are not finite.
        UnsupportedPolicyError: if it is no multilayer perceptron.
    """
    if not isinstance(chain, Chain):
        raise UnsupportedPolicyError(f"{place} does not depend on the observation")
    steps = _merged(chain.steps)
    linears = [index for index, step in enumerate(steps) if isinstance(step, Linear)]
    if not linears:
        raise UnsupportedPolicyError(f"{place} is computed without any linear layer")
    first = steps[linears[0]]
    assert isinstance(first, Linear)
    width = first.weight.shape[1]
    shape = (width,) if observation_shape is None else observation_shape
    if math.prod(shape) != width:
        raise CheckpointError(
            f"the observation has shape {shape}, but {first.place} takes {width} features"
        )
    normalizer, front = _normalizer(steps[: linears[0]], width)
    body, head_kind, bounds, clip_mean = _head(steps[linears[-1] :])
    layers = _layers(
        _merged([*front, *steps[linears[0] : linears[-1]], *body], keeps_first=False), width
    )
    outputs = layers[-1].out_features
    last = steps[-1]
    groups = last.sizes if isinstance(last, Part) else ()
    head = Head(kind="argmax", groups=groups)
    if head_kind != "argmax":
        low, high = (_float32(np.broadcast_to(end, outputs), place) for end in bounds)
        head = Head(kind=head_kind, low=low, high=high, clip_mean=clip_mean)
    action_shape = (outputs,) if head_kind != "argmax" else (len(groups),) if groups else ()
    try:
        return Network(
            layers=tuple(layers),
            head=head,
            observation_shape=shape,
            action_shape=action_shape,
            normalizer=normalizer,
        )
    except (NetworkError, ValueError) as error:
        raise CheckpointError(str(error)) from error


def _float32(numbers: Double, place: str) -> npt.NDArray[np.float32]:
    with np.errstate(over="ignore"):
        rounded = np.array(numbers, np.float32, order="C")
    if (np.isfinite(numbers) & ~np.isfinite(rounded)).any():
        raise CheckpointError(f"{place} holds numbers beyond single precision")
    return rounded


def _letters(steps: Sequence[Step]) -> str:
    """One letter for each step: A(ffine), C(lip), T(anh), P(art) or x."""
    return "".join(
        {Affine: "A", Clip: "C", Part: "P"}.get(
            type(step), "T" if isinstance(step, Activate) and step.text == "Tanh" else "x"
        )
        for step in steps
    )


def _symmetric(step: Step) -> float | None:
    """The one bound of a clip from -bound to bound; `None` for any other clip."""
    assert isinstance(step, Clip)
    high = float(step.high.reshape(-1)[0])
    return high if high > 0 and (step.high == high).all() and (step.low == -high).all() else None


def _normalizer(steps: list[Step], width: int) -> tuple[Normalizer | None, list[Step]]:
    """The normaliser that stands before the first layer, and what is left of the steps."""
    letters = _letters(steps)
    if letters not in ("A", "C", "AC"):
        return None, steps
    clip_at = _symmetric(steps[-1]) if "C" in letters else math.inf
    affine = steps[0] if letters[0] == "A" else Affine("", np.ones(()), np.zeros(()))
    assert isinstance(affine, Affine)
    if clip_at is None or (affine.scale == 0).any():
        return None, steps
    _check_width(affine.scale, width, affine.place)
    _check_width(affine.shift, width, affine.place)
    mean = np.broadcast_to(-affine.shift / affine.scale, width)
    inverse_std = np.broadcast_to(affine.scale, width)
    return Normalizer(
        mean=_float32(mean, affine.place),
        inverse_std=_float32(inverse_std, affine.place),
        clip=clip_at,
    ), []


_NO_BOUNDS = (np.asarray(-np.inf), np.asarray(np.inf))


def _outputs(steps: Sequence[Step]) -> list[Step]:
    """The steps without the argmax at their end, and without a softmax in front of it."""
    body = list(steps[:-1])
    if body and isinstance(body[-1], Part) and body[-1].name == "Softmax":  # it keeps the order
        body = body[:-1]
    return body


def _head(
    steps: list[Step],
) -> tuple[list[Step], HeadKind, tuple[Double, Double], float | None]:
    """What the last linear layer and the steps behind it are, without the head, and the head."""
    letters = _letters(steps)
    last = steps[-1]
    if isinstance(last, Part) and last.name == "Argmax":
        return _outputs(steps), "argmax", _NO_BOUNDS, None
    if match := re.search("C(A?)$", letters):
        before = steps[match.start() - 1]
        clipped = steps[match.start()]
        assert isinstance(clipped, Clip)
        affine = steps[-1] if match[1] else None
        bounds = _moved(clipped, affine)
        squashed = isinstance(before, Activate) and before.text == "Tanh"
        if not (squashed and (clipped.low <= -1).all() and (clipped.high >= 1).all()):
            body = [*steps[: match.start()], *([affine] if affine is not None else [])]
            return body, "clip", bounds, None
        steps = [*steps[: match.start()], *([affine] if affine is not None else [])]
        letters = _letters(steps)
    if match := re.search("(C?)T(A?)$", letters):
        affine = steps[-1] if match[2] else Affine("", np.ones(()), np.zeros(()))
        assert isinstance(affine, Affine)
        body, clip_mean = steps[: match.end(1)], None
        if match[1] and (bound := _symmetric(body[-1])) is not None and math.isfinite(bound):
            body, clip_mean = body[:-1], bound
        if (affine.scale < 0).any():
            body = [*body, Affine(affine.place, np.sign(affine.scale), np.zeros(()))]
        half = np.abs(affine.scale)
        return body, "tanh", (affine.shift - half, affine.shift + half), clip_mean
    return steps, "clip", _NO_BOUNDS, None


def _moved(clipped: Clip, affine: Step | None) -> tuple[Double, Double]:
    """The bounds of a clip that stands behind an affine step instead of before it."""
    if affine is None:
        return clipped.low, clipped.high
    assert isinstance(affine, Affine)
    with np.errstate(invalid="ignore"):
        ends = [
            np.where(affine.scale == 0, affine.shift, end * affine.scale + affine.shift)
            for end in (clipped.low, clipped.high)
        ]
    return np.minimum(*ends), np.maximum(*ends)


def _layers(steps: list[Step], width: int) -> list[Layer]:
    """Layers for linear steps, activations and clips; diagonal ones where none is free."""
    layers: list[Layer] = []

    def add(weight: Double, bias: Double, place: str) -> None:
        layers.append(Layer(weight=_float32(weight, place), bias=_float32(bias, place)))

    def add_diagonal(scale: Double, shift: Double, place: str) -> None:
        if width > _WIDEST_DIAGONAL:
            raise UnsupportedPolicyError(f"{place} stands where no linear layer can take it up")
        _check_width(scale, width, place)
        _check_width(shift, width, place)
        add(np.eye(width) * scale, np.broadcast_to(shift, width), place)

    for step in steps:
        if isinstance(step, Linear):
            if step.weight.shape[1] != width:
                raise CheckpointError(
                    f"{step.place} takes {step.weight.shape[1]} features, but gets {width}"
                )
            add(step.weight, step.bias, step.place)
            width = len(step.weight)
        elif isinstance(step, Affine):
            add_diagonal(step.scale, step.shift, step.place)
        elif isinstance(step, Part):
            raise UnsupportedPolicyError(f"{step.place} ({step.name}) is not supported there")
        else:
            if not layers or layers[-1].activation is not None:
                add_diagonal(np.ones(()), np.zeros(()), step.place)
            layers[-1] = replace(layers[-1], activation=_activation(step))
    return layers


def _activation(step: Step) -> str:
    if isinstance(step, Activate):
        return step.text
    assert isinstance(step, Clip)
    if step.low.ndim or step.high.ndim:
        raise UnsupportedPolicyError(
            f"{step.place} has other bounds for each feature; only at the end it can"
        )
    low, high = (float(np.clip(end, -_LARGEST, _LARGEST)) for end in (step.low, step.high))
    return "ReLU" if (low, high) == (0, _LARGEST) else f"Hardtanh:{low!r}:{high!r}"
