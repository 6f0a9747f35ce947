"""The network: a policy as it is deployed, as data, in NumPy alone.

A network is a chain of named values. With a normaliser these are "observation", "normalizer.center"
(observation - mean), "normalizer.scale" and "normalizer.clip"; then for each layer "layer0",
"activation0", "layer1", ...; then those of the head, the last of which is "action". A layer with an
input skip has a value of its own before it, for example "skip1" before "layer1". Each value can be
rounded to integers, and each tensor can consist of integers.
"""

from __future__ import annotations

import dataclasses
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from squeezerl.errors import NetworkError
from squeezerl.network.activations import Activation

Float = npt.NDArray[np.float32]
HeadKind = Literal["clip", "tanh", "argmax"]
OBSERVATION = "observation"
ACTION = "action"
NOISE = "noise"
# Bits of a value with three levels: five of them fit into a byte, since 3^5 is below 2^8.
TERNARY_BITS = 1.6
_FORMAT = "squeezerl network, version 1"


def level_count(bits: float) -> int:
    """How many different integers fit into this many bits."""
    return 3 if bits == TERNARY_BITS else 2 ** int(bits)


@dataclass(frozen=True, eq=False)
class IntegerTensor:
    """The numbers (values - zero_point) * scale.

    Args:
        values: uint8 for weights, int32 for biases.
        scale: float32, of shape () for all numbers or (rows,) for each row of `values`.
        zero_point: of the dtype of `values` and the shape of `scale`.
        bits: that each value takes, packed: 1 to 8 or `TERNARY_BITS` for uint8, 32 for int32.
    """

    values: npt.NDArray[np.uint8] | npt.NDArray[np.int32]
    scale: Float
    zero_point: npt.NDArray[np.uint8] | npt.NDArray[np.int32]
    bits: float

    def __post_init__(self) -> None:
        for array in (self.values, self.scale, self.zero_point):
            array.flags.writeable = False
        if self.scale.dtype != np.float32 or not np.isfinite(self.scale).all():
            raise NetworkError("the scales of an integer tensor must be finite and float32")
        if self.values.dtype not in (np.uint8, np.int32):
            raise NetworkError(f"integers of type {self.values.dtype}; uint8 or int32 are stored")
        if self.zero_point.dtype != self.values.dtype or self.scale.shape != self.zero_point.shape:
            raise NetworkError("scales and zero points of an integer tensor do not fit together")
        if self.scale.shape not in ((), self.values.shape[:1]):
            raise NetworkError(
                f"{self.scale.shape} scales for integers of shape {self.values.shape}"
            )
        widths = (*range(1, 9), TERNARY_BITS) if self.values.dtype == np.uint8 else (32,)
        if self.bits not in widths:
            raise NetworkError(f"integers of type {self.values.dtype} with {self.bits} bits")
        if self.bits < 8 and max(
            self.values.max(initial=0), self.zero_point.max(initial=0)
        ) >= level_count(self.bits):
            raise NetworkError(f"integers that do not fit into {self.bits} bits")

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the values."""
        return self.values.shape

    @property
    def nbytes(self) -> int:
        """Bytes of the values alone, packed."""
        count = self.values.size
        return -(-count // 5) if self.bits == TERNARY_BITS else -(-count * int(self.bits) // 8)

    @property
    def dtype_name(self) -> str:
        """For example "int8", "int4" or "ternary"."""
        return "ternary" if self.bits == TERNARY_BITS else f"int{self.bits}"

    @property
    def centered(self) -> npt.NDArray[np.int32]:
        """The integers without their zero point, int32."""
        return self.values.astype(np.int32) - self._by_row(self.zero_point).astype(np.int32)

    def dequantized(self) -> Float:
        """The numbers in float32."""
        numbers: Float = self.centered.astype(np.float32) * self._by_row(self.scale)
        return numbers

    def _by_row(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return array.reshape(array.shape + (1,) * (self.values.ndim - 1)) if array.ndim else array


Tensor = Float | IntegerTensor


def as_float(tensor: Tensor) -> Float:
    """The numbers of a tensor in float32."""
    return tensor.dequantized() if isinstance(tensor, IntegerTensor) else tensor


def part_of(
    tensor: Tensor,
    rows: npt.NDArray[np.int64] | None = None,
    columns: npt.NDArray[np.int64] | None = None,
) -> Tensor:
    """Some rows and columns of a tensor; unless given, all."""

    def chosen(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        array = array if rows is None or not array.ndim else array[rows]
        return np.ascontiguousarray(array if columns is None else array[:, columns])

    if not isinstance(tensor, IntegerTensor):
        return chosen(tensor)
    scale, zero_point = tensor.scale, tensor.zero_point
    if rows is not None and scale.ndim:
        scale, zero_point = scale[rows], zero_point[rows]
    return IntegerTensor(chosen(tensor.values), scale, zero_point, tensor.bits)


@dataclass(frozen=True, kw_only=True)
class Rounding:
    """A value x is stored as the integer round(x / scale) + zero_point, from 0 to 2^bits - 1.

    `scale` is a float32 number.
    """

    scale: float
    zero_point: int
    bits: int = 8

    def __post_init__(self) -> None:
        if not 0 < self.scale < math.inf:
            raise NetworkError(f"a rounding's scale must be positive, not {self.scale}")
        if not 0 <= self.zero_point < 2**self.bits:
            raise NetworkError(f"zero point {self.zero_point} does not fit {self.bits} bits")


def product_step(weight: IntegerTensor, rounding: Rounding) -> Float:
    """The scale of a weight's products with its inputs; an integer bias has the same scale."""
    return np.asarray(weight.scale * np.float32(rounding.scale), np.float32)


@dataclass(frozen=True, kw_only=True)
class DynamicRounding:
    """The same with a scale and a zero point that are computed from each row at run time.

    They are those of the range that holds the row and 0 (ONNX's DynamicQuantizeLinear).
    """

    bits: int = 8


AnyRounding = Rounding | DynamicRounding


@dataclass(frozen=True, eq=False, kw_only=True)
class Normalizer:
    """clip((observation - mean) * inverse_std, -clip, clip); both tensors are (features,)."""

    mean: Tensor
    inverse_std: Tensor
    clip: float


@dataclass(frozen=True, eq=False, kw_only=True)
class Layer:
    """A linear layer and the activation behind it.

    Args:
        weight: of shape (out, in).
        bias: of shape (out,).
        activation: the text of an `Activation`, for example "Tanh" or "LeakyReLU:0.1"; `None` for
            none.
        skip: the layer takes what the layer before it gives, and behind that the input of the first
            layer, before either is rounded; its last columns of weights are for that input.

    Raises:
        NetworkError: if there is no such activation.
    """

    weight: Tensor
    bias: Tensor
    activation: str | None = None
    skip: bool = False

    def __post_init__(self) -> None:
        if self.activation is not None:  # the one text of each, so that equal layers are equal
            object.__setattr__(self, "activation", str(Activation.of(self.activation)))

    @property
    def in_features(self) -> int:
        """Features that it takes."""
        return self.weight.shape[1]

    @property
    def out_features(self) -> int:
        """Features that it gives: its neurons."""
        return self.weight.shape[0]

    @property
    def slopes(self) -> tuple[float, ...]:
        """What a PReLU learned: one slope, or one for each neuron; none for other activations."""
        activation = None if self.activation is None else Activation.of(self.activation)
        return activation.parameters if activation is not None and activation.is_learned else ()

    @property
    def parameter_count(self) -> int:
        """Weights, biases and slopes."""
        return math.prod(self.weight.shape) + math.prod(self.bias.shape) + len(self.slopes)


@dataclass(frozen=True, eq=False, kw_only=True)
class Sampling:
    """How actions are drawn: the noise, times a deviation, is added to the last layer's outputs.

    The noise is an input of the network, so that the network stays a function: of one observation,
    it is a number for each output, standard normal for heads of kind `clip` and `tanh`, and from
    the standard Gumbel distribution for `argmax`, whose index then is a draw from the softmax of
    its outputs (Gumbel-max trick, Maddison et al. 2014, arXiv 1411.0030). Zeros give the action
    that the policy takes without sampling.

    Args:
        deviation: of the normal distribution, (actions,), the same for all observations. `None`
            where the observation decides: the last layer then has twice as many outputs, of which
            the second half is the logarithm of the deviation, clipped to `LOG_DEVIATION` as SAC
            does. Always `None` for `argmax`, whose outputs are not doubled.
    """

    deviation: Float | None = None


LOG_DEVIATION = (-20.0, 2.0)


@dataclass(frozen=True, eq=False, kw_only=True)
class Head:
    """What turns the last layer's outputs into actions.

    `clip` clips to the bounds (Gaussian policies: PPO, A2C, TRPO). `tanh` squashes and stretches
    to the bounds (SAC, TQC, TD3, DDPG, squashed gSDE); `clip_mean` bounds the outputs before that,
    as SAC's gSDE actors do. `argmax` takes the index of the largest output (DQN, QR-DQN,
    categorical policies), or of the largest in each of several groups of outputs (MultiDiscrete).
    A choice of yes or no (MultiBinary) is a group of two outputs, of which the first is always 0.
    `low` and `high` are (actions,), or empty for `argmax`. With `sampling`, actions are drawn.

    `groups` are the numbers of outputs of each choice where an action consists of several; empty
    where it is one index.
    """

    kind: HeadKind
    low: Float = field(default_factory=lambda: np.zeros(0, np.float32))
    high: Float = field(default_factory=lambda: np.zeros(0, np.float32))
    clip_mean: float | None = None
    sampling: Sampling | None = None
    groups: tuple[int, ...] = ()

    @property
    def is_discrete(self) -> bool:
        """Whether actions are indices."""
        return self.kind == "argmax"

    @property
    def has_bounds(self) -> bool:
        """Whether every dimension of a continuous action has finite bounds."""
        return not self.is_discrete and bool(np.isfinite([self.low, self.high]).all())

    @property
    def noise(self) -> Literal["normal", "gumbel"] | None:
        """The distribution of the noise that it takes; `None` if it takes none."""
        if self.sampling is None:
            return None
        return "gumbel" if self.is_discrete else "normal"

    @property
    def deviation(self) -> Float | None:
        """See `Sampling`; `None` as well where actions are not drawn."""
        return None if self.sampling is None else self.sampling.deviation

    @property
    def has_own_deviation(self) -> bool:
        """Whether the second half of the outputs says how far actions are spread."""
        return self.noise == "normal" and self.deviation is None


@dataclass(frozen=True, kw_only=True)
class Port:
    """A named input or output; `shape` is that of one observation or action."""

    name: str
    shape: tuple[int, ...]
    dtype: Literal["float32", "int64"] = "float32"


@dataclass(frozen=True, kw_only=True)
class Part:
    """An entry of a dict observation, which is `observation[start:stop]` of the flat one."""

    name: str
    shape: tuple[int, ...]
    start: int
    stop: int

    def __str__(self) -> str:
        shape = "" if len(self.shape) == 1 else f" ({'x'.join(map(str, self.shape))})"
        return f"{self.name}[{self.start}:{self.stop}]{shape}"


def parts_of(shapes: Iterable[tuple[str, tuple[int, ...]]]) -> tuple[Part, ...]:
    """The entries of these names and shapes, one behind the other."""
    parts, start = [], 0
    for name, shape in shapes:
        stop = start + math.prod(shape)
        parts.append(Part(name=name, shape=shape, start=start, stop=stop))
        start = stop
    return tuple(parts)


def read_parts(data: Iterable[dict[str, Any]]) -> tuple[Part, ...]:
    """The entries that were written as JSON."""
    return tuple(Part(**given | {"shape": tuple(given["shape"])}) for given in data)


@dataclass(frozen=True, kw_only=True)
class Signature:
    """What goes in and what comes out."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class Network:
    """A policy, complete from raw observation to environment action.

    Args:
        layers: the network proper, at least one layer.
        head: turns the last layer's outputs into actions.
        observation_shape: of one observation, which is flattened first.
        action_shape: of one action; `()` for an index, `(groups,)` for one of each group.
        normalizer: applied to the observation first, if given.
        roundings: which values are rounded to integers, by the value's name.
        observation_parts: the entries of a dict observation, which stand in the flat one behind
            each other.

    Raises:
        NetworkError: if these do not fit together.
    """

    layers: tuple[Layer, ...]
    head: Head
    observation_shape: tuple[int, ...]
    action_shape: tuple[int, ...]
    normalizer: Normalizer | None = None
    roundings: Mapping[str, AnyRounding] = field(default_factory=dict)
    observation_parts: tuple[Part, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "roundings", MappingProxyType(dict(self.roundings)))
        floats = [
            (name, tensor) for name, tensor in self.tensors() if isinstance(tensor, np.ndarray)
        ]
        floats += [("low", self.head.low), ("high", self.head.high)]
        if self.head.deviation is not None:
            floats.append(("deviation", self.head.deviation))
        for name, array in floats:
            array.flags.writeable = False
            if array.dtype != np.float32:
                raise NetworkError(f"{name} holds {array.dtype}, not float32")
        self._check()

    @property
    def signature(self) -> Signature:
        """The named inputs and outputs."""
        dtype: Literal["float32", "int64"] = "int64" if self.head.is_discrete else "float32"
        width = self.noise_width
        noise = () if width is None else (Port(name=NOISE, shape=(width,)),)
        return Signature(
            inputs=(Port(name=OBSERVATION, shape=self.observation_shape), *noise),
            outputs=(Port(name=ACTION, shape=self.action_shape, dtype=dtype),),
        )

    @property
    def choices(self) -> tuple[int, ...] | None:
        """For each index in an action, how many values it can take; `None` if continuous."""
        if not self.head.is_discrete:
            return None
        return self.head.groups or (self.layers[-1].out_features,)

    @property
    def noise_width(self) -> int | None:
        """Numbers of noise for one observation; `None` if actions are not drawn."""
        if self.head.noise is None:
            return None
        return self.layers[-1].out_features // (2 if self.head.has_own_deviation else 1)

    @property
    def named_layers(self) -> dict[str, Layer]:
        """The layers by their names, in order."""
        return {f"layer{index}": layer for index, layer in enumerate(self.layers)}

    def input_of(self, index: int) -> str:
        """The name of the value that the layer of this index takes."""
        return f"skip{index}" if self.layers[index].skip else self.before(index)

    def before(self, index: int) -> str:
        """The value before the layer of this index, without a skip."""
        if index > 0:
            before = self.layers[index - 1]
            return f"layer{index - 1}" if before.activation is None else f"activation{index - 1}"
        return OBSERVATION if self.normalizer is None else "normalizer.clip"

    @property
    def value_names(self) -> tuple[str, ...]:
        """The names of all values, in the order in which they are computed."""
        names = [OBSERVATION]
        if self.normalizer is not None:
            names += ["normalizer.center", "normalizer.scale", "normalizer.clip"]
        for index, layer in enumerate(self.layers):
            names += [f"skip{index}"] if layer.skip else []
            names += [f"layer{index}"] + ([f"activation{index}"] if layer.activation else [])
        if self.head.sampling is not None:
            names.append("head.sample")
        if self.head.kind == "tanh":
            names += ["head.tanh", "head.stretch"]
        return (*names, ACTION)

    @property
    def is_quantized(self) -> bool:
        """Whether any value is rounded or any tensor consists of integers."""
        integers = any(isinstance(tensor, IntegerTensor) for _, tensor in self.tensors())
        return integers or bool(self.roundings)

    @property
    def is_dynamic(self) -> bool:
        """Whether a scale is computed at run time."""
        return any(isinstance(r, DynamicRounding) for r in self.roundings.values())

    @property
    def parameter_count(self) -> int:
        """What the layers learned: weights, biases, and a PReLU's slopes."""
        return sum(layer.parameter_count for layer in self.layers)

    @property
    def sha256(self) -> str:
        """A hash of the content: equal networks have the same."""
        import hashlib  # which brings OpenSSL: four megabytes

        digest = hashlib.sha256(json.dumps(self._facts(), sort_keys=True).encode())
        for name, array in sorted(self._arrays().items()):
            digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def replace(self, **parts: Any) -> Self:
        """The same network with other parts."""
        return dataclasses.replace(self, **parts)

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """All tensors by name, for example "layer0.weight"; without the head's bounds."""
        if self.normalizer is not None:
            yield "normalizer.mean", self.normalizer.mean
            yield "normalizer.inverse_std", self.normalizer.inverse_std
        for index, layer in enumerate(self.layers):
            yield f"layer{index}.weight", layer.weight
            yield f"layer{index}.bias", layer.bias

    def save(self, path: Path) -> None:
        """Write the network to an .npz file, which `load` reads bit for bit.

        The file needs NumPy and nothing else: it hands a network to a fresh process.
        """
        content = io.BytesIO()
        facts = np.array(json.dumps(self._facts()))
        np.savez(content, facts=facts, **self._arrays())  # type: ignore[arg-type]
        path.write_bytes(content.getvalue())

    @classmethod
    def load(cls, path: Path) -> Self:
        """The network that `save` wrote; nothing in the file is executed.

        Raises:
            NetworkError: if the file is missing, damaged, or holds anything else.
        """
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return cls._from_arrays(dict(arrays))
        except NetworkError as error:
            raise NetworkError(f"{path}: {error}") from error
        except Exception as error:  # a damaged file can make the reader fail in any way
            raise NetworkError(f"{path}: not a saved network, or damaged ({error})") from error

    def _check(self) -> None:
        if not self.layers:
            raise NetworkError("a network needs at least one layer")
        width = math.prod(self.observation_shape)
        self._check_parts()
        if self.normalizer is not None:
            if not self.normalizer.clip > 0:
                raise NetworkError(f"a normaliser clips at {self.normalizer.clip}, not above 0")
            for tensor in (self.normalizer.mean, self.normalizer.inverse_std):
                if tensor.shape != (width,):
                    raise NetworkError(f"a normaliser of shape {tensor.shape} for {width} features")
                if not np.isfinite(as_float(tensor)).all():
                    raise NetworkError(
                        "mean and 1 / sqrt(variance + epsilon) must be finite in float32"
                    )
        for name, layer in self.named_layers.items():
            if len(layer.weight.shape) != 2 or layer.bias.shape != layer.weight.shape[:1]:
                raise NetworkError(
                    f"{name} has weights of shape {layer.weight.shape} and a bias of shape "
                    f"{layer.bias.shape}"
                )
            if layer.skip:
                if layer is self.layers[0]:
                    raise NetworkError("the first layer cannot have an input skip")
                width += self.layers[0].in_features
            if layer.in_features != width:
                raise NetworkError(f"{name} takes {layer.in_features} features, but gets {width}")
            width = layer.out_features
            if len(layer.slopes) not in (0, 1, width):
                raise NetworkError(
                    f"{name} has {width} neurons, its PReLU {len(layer.slopes)} slopes"
                )
        if self.head.clip_mean is not None and not self.head.clip_mean > 0:
            raise NetworkError(f"clip_mean is {self.head.clip_mean}, not above 0")
        if self.head.has_own_deviation:
            if width % 2:
                raise NetworkError(f"{width} outputs are not as many means as deviations")
            width //= 2
        if self.head.sampling is not None and self.head.clip_mean is not None:
            raise NetworkError("actions whose mean is bounded by clip_mean are not drawn")
        deviation = self.head.deviation
        if deviation is not None:
            if self.head.is_discrete:
                raise NetworkError("draws of discrete actions have no deviation")
            if deviation.shape != (width,) or not (np.isfinite(deviation) & (deviation >= 0)).all():
                raise NetworkError(
                    f"the deviation must be {width} finite numbers that are not below 0"
                )
        bounds = (self.head.low.shape, self.head.high.shape)
        groups = self.head.groups
        if self.head.is_discrete:
            fits = self.action_shape == ((len(groups),) if groups else ())
            fits &= not groups or (min(groups) > 0 and sum(groups) == width)
        else:
            fits = math.prod(self.action_shape) == width and bounds == ((width,), (width,))
            fits &= not groups
        if not fits:
            raise NetworkError(
                f"{width} outputs{f' in groups of {groups}' if groups else ''}, bounds of shapes "
                f"{bounds} and actions of shape {self.action_shape} do not fit together"
            )
        if unknown := set(self.roundings) - set(self.value_names):
            raise NetworkError(f"there is no value {sorted(unknown)[0]!r} to round")

    def _check_parts(self) -> None:
        parts = self.observation_parts
        if not parts:
            return
        names = {part.name for part in parts if part.name.isprintable()}
        is_sound = all(type(n) is int and n > 0 for part in parts for n in part.shape)
        is_sound &= len(names) == len(parts) and self.observation_shape == (parts[-1].stop,)
        if not is_sound or parts != parts_of((part.name, part.shape) for part in parts):
            raise NetworkError(
                f"the entries {', '.join(map(str, parts))[:200]!r} do not make an observation of "
                f"shape {self.observation_shape}, or a name is there twice"
            )

    def _facts(self) -> dict[str, Any]:
        """What is not an array, as JSON takes it."""
        return {
            "format": _FORMAT,
            "observation_shape": list(self.observation_shape),
            "action_shape": list(self.action_shape),
            "clip": None if self.normalizer is None else self.normalizer.clip,
            "activations": [layer.activation for layer in self.layers],
            "skips": [layer.skip for layer in self.layers],
            "bits": {n: t.bits for n, t in self.tensors() if isinstance(t, IntegerTensor)},
            "head": [self.head.kind, self.head.clip_mean],
            "roundings": {n: dataclasses.asdict(r) for n, r in self.roundings.items()},
            # Left out where there are none, so that the hashes of other networks stay the same.
            **({} if self.head.noise is None else {"noise": self.head.noise}),
            **({"groups": list(self.head.groups)} if self.head.groups else {}),
            **(
                {"parts": [dataclasses.asdict(part) for part in self.observation_parts]}
                if self.observation_parts
                else {}
            ),
        }

    def _arrays(self) -> dict[str, npt.NDArray[Any]]:
        arrays: dict[str, npt.NDArray[Any]] = {"low": self.head.low, "high": self.head.high}
        if self.head.deviation is not None:
            arrays["deviation"] = self.head.deviation
        for name, tensor in self.tensors():
            if isinstance(tensor, IntegerTensor):
                arrays[f"{name}.values"] = tensor.values
                arrays[f"{name}.scale"] = tensor.scale
                arrays[f"{name}.zero_point"] = tensor.zero_point
            else:
                arrays[name] = tensor
        return arrays

    @classmethod
    def _from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        facts = json.loads(str(arrays["facts"]))
        if facts["format"] != _FORMAT:
            raise NetworkError(f"the format is {facts['format']!r}, not {_FORMAT!r}")

        def tensor(name: str) -> Tensor:
            if name in facts["bits"]:
                return IntegerTensor(
                    arrays[f"{name}.values"],
                    arrays[f"{name}.scale"],
                    arrays[f"{name}.zero_point"],
                    facts["bits"][name],
                )
            return arrays[name]

        normalizer = None
        if facts["clip"] is not None:
            normalizer = Normalizer(
                mean=tensor("normalizer.mean"),
                inverse_std=tensor("normalizer.inverse_std"),
                clip=facts["clip"],
            )
        kind, clip_mean = facts["head"]
        if kind not in ("clip", "tanh", "argmax"):
            raise NetworkError(f"there is no action head of kind {kind!r}")
        return cls(
            layers=tuple(
                Layer(
                    weight=tensor(f"layer{index}.weight"),
                    bias=tensor(f"layer{index}.bias"),
                    activation=activation,
                    skip=skip,
                )
                for index, (activation, skip) in enumerate(
                    zip(facts["activations"], facts["skips"], strict=True)
                )
            ),
            head=Head(
                kind=kind,
                low=arrays["low"],
                high=arrays["high"],
                clip_mean=clip_mean,
                sampling=Sampling(deviation=arrays.get("deviation")) if "noise" in facts else None,
                groups=tuple(facts.get("groups", ())),
            ),
            observation_shape=tuple(facts["observation_shape"]),
            action_shape=tuple(facts["action_shape"]),
            normalizer=normalizer,
            roundings={
                name: Rounding(**given) if "scale" in given else DynamicRounding(**given)
                for name, given in facts["roundings"].items()
            },
            observation_parts=read_parts(facts.get("parts", [])),
        )
