"""The packed form: the fewest bytes that say all of a network, and the count of them.

A file is the four bytes of `MAGIC`, then the layers in order, the observation normaliser and the
head. Integer weights take the bits that they have: the first value is in the lowest bits of the
first byte, row by row; five ternary values make one byte, the first being the lowest digit to the
base three. Every other array takes the shortest form that gives its numbers exactly: 0 or 1
for all, int8 powers of two, float16 without the low bits that are 0 in all of them, or float32, and
one number where all are the same; biases in integers are int8, int16 or int32, shifted left by as
many bits as all of them allow.

`packed_size` is what this project means by the bytes of a policy: everything but `MAGIC`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from squeezerl.errors import AuditError, FormatError
from squeezerl.formats.base import FORMATS, Format, SizeRecord
from squeezerl.network.activations import Activation
from squeezerl.network.network import (
    TERNARY_BITS,
    AnyRounding,
    DynamicRounding,
    Float,
    Head,
    IntegerTensor,
    Layer,
    Network,
    Normalizer,
    Rounding,
    Sampling,
    Tensor,
    level_count,
    product_step,
)

MAGIC = b"SQZ\x01"
Part = Literal["weights", "biases", "scales", "normalizer", "layout"]
_HEADS = ("clip", "tanh", "argmax")
# Codes of activations: their place in this list, which is only ever extended at its end.
_ACTIVATIONS = (
    *("ReLU", "Tanh", "ELU", "LeakyReLU", "Sigmoid", "Softplus", "SELU", "SiLU"),
    *("GELU", "GELUTanh", "Mish", "Hardtanh", "Softsign", "PReLU"),
)
_NO_ACTIVATION = 31
# Bits of the byte before floats: one number for all; its low three bits say how they are stored.
_FLAT, _RAW = 8, 4
# From here on: so many of the leading bits of float16, counted on in bits 4 and 5.
_SHORT, _FEWEST = 5, 6

# Where bytes are: (index of the layer or `None`, part, dtype).
_Place = tuple[int | None, Part, str]


@dataclass(frozen=True)
class PackedSize:
    """How many bytes of the packed form are where; `MAGIC` is not counted."""

    counts: Counter[_Place]

    @property
    def total(self) -> int:
        """Bytes of the policy."""
        return self.counts.total()

    def of_part(self, part: Part, layer: int | None = None) -> int:
        """Bytes of one part, of one layer or of all of the network."""
        return sum(
            count
            for (index, name, _), count in self.counts.items()
            if name == part and layer in (None, index)
        )

    @property
    def by_dtype(self) -> dict[str, int]:
        """Bytes by the type of the numbers; "uint8" is the layout."""
        sums: Counter[str] = Counter()
        for (_, _, dtype), count in self.counts.items():
            sums[dtype] += count
        return dict(sorted(sums.items()))


def packed_size(network: Network) -> PackedSize:
    """The bytes that a policy needs: weights, biases, scales, normaliser and layout.

    Raises:
        FormatError: if the packed form cannot hold this network.
    """
    return _write(network).size


def size_record(network: Network, file_bytes: int) -> SizeRecord:
    """The size of a file that holds this network."""
    size = packed_size(network)
    return SizeRecord(
        file_bytes=file_bytes,
        weight_bytes=size.total,
        matrix_bytes=size.of_part("weights"),
        bias_bytes=size.of_part("biases"),
        scale_bytes=size.of_part("scales"),
        normalizer_bytes=size.of_part("normalizer"),
        layout_bytes=size.of_part("layout"),
    )


def read_exactly(
    content: bytes, parse: Callable[[bytes], tuple[Network, bytes]]
) -> tuple[Network, SizeRecord]:
    """`Format.read` of a file, by a function that gives the network and the file that it makes.

    Raises:
        AuditError: if the file cannot be parsed, or is another one than the network makes.
    """
    try:
        network, same = parse(content)
    except Exception as error:  # a hostile file can make the reader fail in any way
        reason = str(error) or type(error).__name__
        raise AuditError(f"not a policy that this release writes: {reason}") from error
    if same != content:
        raise AuditError(
            "not a policy that this release writes: the network that was read makes another file"
        )
    return network, size_record(network, len(content))


class PackedFormat(Format):
    """`policy.sqz`, for programs in C and for whoever counts bytes."""

    name = "packed"

    def write(self, network: Network) -> bytes:
        """See `Format`."""
        return MAGIC + bytes(_write(network).content)

    def read(self, content: bytes) -> tuple[Network, SizeRecord]:
        """See `Format`."""
        return read_exactly(content, self._parsed)

    def _parsed(self, content: bytes) -> tuple[Network, bytes]:
        if not content.startswith(MAGIC):
            raise AuditError("it does not begin as one")
        network = _read(_Reader(content[len(MAGIC) :]))
        return network, self.write(network)


FORMATS.register("packed", PackedFormat())


def pack(values: npt.NDArray[Any], bits: float) -> bytes:
    """Values below `level_count(bits)`, packed as the module says."""
    flat = values.ravel()
    if bits == TERNARY_BITS:
        digits = np.append(flat, np.zeros(-len(flat) % 5, np.uint8)).reshape(-1, 5)
        return bytes((digits @ _DIGITS).astype(np.uint8))
    return _pack(flat, int(bits))


def _pack(values: npt.NDArray[Any], bits: int) -> bytes:
    """The low bits of unsigned integers (n,), one after the other, the lowest first."""
    each = values[:, np.newaxis] >> np.arange(bits) & 1
    return np.packbits(each.astype(np.uint8), bitorder="little").tobytes()


def _unpack(content: bytes, count: int, bits: int) -> npt.NDArray[np.int64]:
    """The inverse of `_pack`, (count,)."""
    stored = np.frombuffer(content, np.uint8)
    each = np.unpackbits(stored, count=count * bits, bitorder="little")
    return each.reshape(count, bits) @ (1 << np.arange(bits, dtype=np.int64))


def unpack(content: bytes, count: int, bits: float) -> npt.NDArray[np.uint8]:
    """The inverse of `pack`, (count,)."""
    if bits == TERNARY_BITS:
        stored = np.frombuffer(content, np.uint8)
        digits: npt.NDArray[np.uint8] = (stored[:, np.newaxis] // _DIGITS % 3).astype(np.uint8)
        return digits.ravel()[:count]
    return _unpack(content, count, int(bits)).astype(np.uint8)


_DIGITS = np.array([1, 3, 9, 27, 81])


class _Writer:
    """The bytes in the making, and where they are."""

    def __init__(self) -> None:
        self.content = bytearray()
        self.size = PackedSize(Counter())
        self.layer: int | None = None

    def put(self, content: bytes, part: Part, dtype: str = "uint8") -> None:
        self.content += content
        if content:
            self.size.counts[self.layer, part, dtype] += len(content)

    def byte(self, value: int) -> None:
        self.put(bytes([value]), "layout")

    def count(self, value: int) -> None:
        """A number from 0, seven bits to the byte, the lowest first."""
        while value > 127:
            self.byte(value & 127 | 128)
            value >>= 7
        self.byte(value)

    def floats(self, values: npt.NDArray[np.float32], part: Part) -> None:
        flat = np.ascontiguousarray(values, np.float32).ravel()
        words = flat.view(np.uint32)
        single = len(words) > 0 and bool((words == words[0]).all())
        stored = flat[:1] if single else flat
        kind, content, dtype = _shortest(stored)
        self.byte(kind | _FLAT * single)
        self.put(content, part, dtype)

    def tensor(self, tensor: Tensor, part: Part, step: Float | None = None) -> None:
        """Floats, or integers; `step` is the scale that need not be stored."""
        if not isinstance(tensor, IntegerTensor):
            self.floats(tensor, part)
            return
        by_row = tensor.scale.ndim
        if tensor.values.dtype == np.int32:
            self._wide(tensor, part, by_row, step)
            return
        middle = level_count(tensor.bits) // 2
        shifted = bool((tensor.zero_point != middle).any())
        bits = 0 if tensor.bits == TERNARY_BITS else int(tensor.bits)
        self.byte(0x80 | bits | by_row << 4 | shifted << 5)
        self.put(pack(tensor.values, tensor.bits), part, tensor.dtype_name)
        self.floats(tensor.scale, "scales")
        if shifted:
            self.put(tensor.zero_point.tobytes(), "scales")

    def _wide(self, tensor: IntegerTensor, part: Part, by_row: int, step: Float | None) -> None:
        if tensor.zero_point.any():
            raise FormatError("a bias in integers has a zero point other than 0")
        combined = int(np.bitwise_or.reduce(tensor.values.ravel(), initial=0))
        shift = (combined & -combined).bit_length() - 1 if combined else 0
        values = tensor.values >> shift
        width = next(
            width for width, dtype in enumerate(_WIDE) if (values == values.astype(dtype)).all()
        )
        known = step is not None and step.tobytes() == tensor.scale.tobytes()
        self.byte(0x40 | width | by_row << 2 | known << 3 | bool(shift) << 4)
        if shift:
            self.byte(shift)
        self.put(values.astype(_WIDE[width]).tobytes(), part, np.dtype(_WIDE[width]).name)
        if not known:
            self.floats(tensor.scale, "scales")

    def rounding(self, rounding: AnyRounding) -> None:
        if isinstance(rounding, DynamicRounding):
            self.byte(rounding.bits - 1 | 8)
            return
        zero, middle = rounding.zero_point, 2 ** (rounding.bits - 1)
        mode = 0 if zero == 0 else 1 if zero == middle else 2
        self.byte(rounding.bits - 1 | mode << 4)
        self.floats(np.array([rounding.scale], np.float32), "scales")
        if mode == 2:
            self.put(bytes([zero]), "scales")


_WIDE = ("<i1", "<i2", "<i4")


def _shortest(values: Float) -> tuple[int, bytes, str]:
    """How to store numbers exactly: the code, the bytes and the dtype."""
    words = values.view(np.uint32)
    if not words.any():
        return 0, b"", "uint8"
    if (words == np.float32(1).view(np.uint32)).all():
        return 1, b"", "uint8"
    with np.errstate(over="ignore"):
        half = values.astype("<f2")
    bits = 32
    if (half.astype(np.float32).view(np.uint32) == words).all():
        halves = half.view("<u2")
        combined = int(np.bitwise_or.reduce(halves))
        bits = max(_FEWEST, 17 - (combined & -combined).bit_length())
    powers = not (words & 0x807FFFFF).any() and (values > 0).all() and np.isfinite(values).all()
    if powers and (bits >= 8 or len(words) == 1):
        return 2, ((words >> 23).astype(np.int16) - 127).astype(np.int8).tobytes(), "int8"
    if bits == 16:
        return 3, half.tobytes(), "float16"
    if bits < 16:
        code, more = divmod(bits - _FEWEST, 4)
        return _SHORT + code | more << 4, _pack(halves >> (16 - bits), bits), f"float{bits}"
    return _RAW, values.astype("<f4").tobytes(), "float32"


def _write(network: Network) -> _Writer:
    writer, head = _Writer(), network.head
    width = math.prod(network.observation_shape)
    actions = network.layers[-1].out_features // (2 if head.has_own_deviation else 1)
    flat = network.observation_shape == (width,)
    plain = network.action_shape == (() if head.is_discrete else (actions,))
    others = [name for name in network.roundings if name not in _inputs(network)]
    writer.byte(
        _HEADS.index(head.kind)
        | (network.normalizer is not None) << 2
        | flat << 3
        | plain << 4
        | (head.sampling is not None) << 5
        | (head.clip_mean is not None) << 6
        | bool(others) << 7
    )
    for shape, is_plain in ((network.observation_shape, flat), (network.action_shape, plain)):
        if not is_plain:
            writer.count(len(shape))
            for size in shape:
                writer.count(size)
    if flat:
        writer.count(width)
    writer.count(len(network.layers))
    for index, layer in enumerate(network.layers):
        writer.layer = index
        _write_layer(writer, layer, network.roundings.get(network.input_of(index)))
    writer.layer = None
    if network.normalizer is not None:
        writer.tensor(network.normalizer.mean, "normalizer")
        writer.tensor(network.normalizer.inverse_std, "normalizer")
        writer.floats(np.array([network.normalizer.clip], np.float32), "normalizer")
    for size in head.groups:
        writer.count(size)
    if not head.is_discrete:
        if head.sampling is not None:
            writer.byte(head.has_own_deviation)
            if head.deviation is not None:
                writer.floats(head.deviation, "biases")
        writer.floats(-head.low, "layout")  # -1 is the usual bound
        writer.floats(head.high, "layout")
        if head.clip_mean is not None:
            writer.floats(np.array([head.clip_mean], np.float32), "layout")
    if others:
        writer.count(len(others))
        for place, name in enumerate(network.value_names):
            if name in others:
                writer.count(place)
                writer.rounding(network.roundings[name])
    return writer


def _inputs(network: Network) -> list[str]:
    """The values that enter layers."""
    return [network.input_of(index) for index in range(len(network.layers))]


def _write_layer(writer: _Writer, layer: Layer, rounding: AnyRounding | None) -> None:
    code, parameters = _NO_ACTIVATION, tuple[float, ...]()
    if layer.activation is not None:
        activation = Activation.of(layer.activation)
        code = _ACTIVATIONS.index(activation.name)
        if activation != Activation(activation.name):
            parameters = activation.parameters
    writer.byte(code | bool(parameters) << 5 | layer.skip << 6 | (rounding is not None) << 7)
    writer.count(layer.out_features)
    if parameters:
        writer.count(len(parameters))
        writer.floats(np.array(parameters, np.float32), "biases")
    if rounding is not None:
        writer.rounding(rounding)
    writer.tensor(layer.weight, "weights")
    writer.tensor(layer.bias, "biases", _step(layer.weight, rounding))


def _step(weight: Tensor, rounding: AnyRounding | None) -> Float | None:
    """The scale of products, which a bias in integers has."""
    if isinstance(weight, IntegerTensor) and isinstance(rounding, Rounding):
        return product_step(weight, rounding)
    return None


class _Reader:
    """What is left of a file's bytes."""

    def __init__(self, content: bytes) -> None:
        self._content, self._at = content, 0

    def take(self, count: int) -> bytes:
        if self._at + count > len(self._content):
            raise AuditError("it ends too early")
        self._at += count
        return self._content[self._at - count : self._at]

    def byte(self) -> int:
        return self.take(1)[0]

    def count(self) -> int:
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value
            if shift > 28:
                raise AuditError("a number is too large")

    def shape(self) -> tuple[int, ...]:
        return tuple(self.count() for _ in range(self.count()))

    def floats(self, shape: tuple[int, ...], kind: int | None = None) -> Float:
        """Numbers of this shape; `kind` is the byte before them, if it was read already."""
        kind = self.byte() if kind is None else kind
        count = math.prod(shape)
        stored = 1 if kind & _FLAT else count
        match kind & 7:
            case _ if kind & 0xF0 and kind & 7 < _SHORT:
                raise AuditError(f"numbers of a kind {kind}")
            case 0:
                values = np.zeros(1, np.float32)
            case 1:
                values = np.ones(1, np.float32)
            case 2:
                powers = np.frombuffer(self.take(stored), np.int8).astype(np.int32)
                values = np.ldexp(np.float32(1), powers)
            case 3:
                values = np.frombuffer(self.take(2 * stored), "<f2").astype(np.float32)
            case 4:
                values = np.frombuffer(self.take(4 * stored), "<f4").astype(np.float32)
            case code:
                bits = _FEWEST + 4 * (code - _SHORT) + (kind >> 4 & 3)
                if kind & 0xC0 or bits > 15:
                    raise AuditError(f"numbers of a kind {kind}")
                leading = _unpack(self.take(-(-stored * bits // 8)), stored, bits)
                halves = (leading << (16 - bits)).astype("<u2")
                values = halves.view("<f2").astype(np.float32)
        if len(shape) == 2 and len(values) == 1 and count > 8 * len(self._content):
            raise AuditError("more weights than a file of this size can hold")
        return np.broadcast_to(values, (count,)).reshape(shape).copy()

    def number(self) -> float:
        return float(self.floats((1,))[0])

    def tensor(self, shape: tuple[int, ...], step: Float | None = None) -> Tensor:
        kind = self.byte()
        if kind & 0x80:
            return self._integers(kind, shape)
        if kind & 0x40:
            return self._wide(kind, shape, step)
        return self.floats(shape, kind)

    def _integers(self, kind: int, shape: tuple[int, ...]) -> IntegerTensor:
        bits = kind & 15 or TERNARY_BITS
        count = math.prod(shape)
        size = -(-count // 5) if bits == TERNARY_BITS else -(-count * int(bits) // 8)
        values = unpack(self.take(size), count, bits).reshape(shape)
        scale = self.floats(shape[:1] if kind & 16 else ())
        if kind & 32:
            stored = np.frombuffer(self.take(scale.size), np.uint8)
            return IntegerTensor(values, scale, stored.reshape(scale.shape).copy(), bits)
        zero_point = np.full(scale.shape, level_count(bits) // 2, np.uint8)
        return IntegerTensor(values, scale, zero_point, bits)

    def _wide(self, kind: int, shape: tuple[int, ...], step: Float | None) -> IntegerTensor:
        shift = self.byte() if kind & 16 else 0
        dtype = np.dtype(_WIDE[kind & 3])
        stored = np.frombuffer(self.take(math.prod(shape) * dtype.itemsize), dtype)
        values = (stored.astype(np.int64) << min(shift, 31)).astype(np.int32).reshape(shape)
        if kind & 8:
            if step is None:
                raise AuditError("a bias without a scale")
            scale = step
        else:
            scale = self.floats(shape[:1] if kind & 4 else ())
        return IntegerTensor(values, scale, np.zeros(scale.shape, np.int32), 32)

    def rounding(self) -> AnyRounding:
        kind = self.byte()
        bits = (kind & 7) + 1
        if kind & 8:
            return DynamicRounding(bits=bits)
        scale = self.number()
        mode = kind >> 4
        zero = 0 if mode == 0 else 2 ** (bits - 1) if mode == 1 else self.byte()
        return Rounding(scale=scale, zero_point=zero, bits=bits)


def _read(reader: _Reader) -> Network:
    flags = reader.byte()
    flat, plain = bool(flags & 8), bool(flags & 16)
    observation_shape = () if flat else reader.shape()
    action_shape = () if plain else reader.shape()
    if flat:
        observation_shape = (reader.count(),)
    layers: list[Layer] = []
    rounded: dict[int, AnyRounding] = {}
    features = math.prod(observation_shape)
    for index in range(reader.count()):
        layers.append(_read_layer(reader, layers, features, index, rounded))
    normalizer = None
    if flags & 4:
        normalizer = Normalizer(
            mean=reader.tensor((features,)),
            inverse_std=reader.tensor((features,)),
            clip=reader.number(),
        )
    head = _read_head(reader, flags, layers[-1].out_features, action_shape)
    if plain and not head.is_discrete:
        action_shape = head.low.shape
    network = Network(
        layers=tuple(layers),
        head=head,
        observation_shape=observation_shape,
        action_shape=action_shape,
        normalizer=normalizer,
    )
    roundings = {network.input_of(index): rounding for index, rounding in rounded.items()}
    if flags & 128:
        names = network.value_names
        for _ in range(reader.count()):
            name = names[reader.count()]
            roundings[name] = reader.rounding()
    return network.replace(roundings=roundings)


def _read_layer(
    reader: _Reader,
    before: Sequence[Layer],
    features: int,
    index: int,
    rounded: dict[int, AnyRounding],
) -> Layer:
    flags, outputs = reader.byte(), reader.count()
    activation = None
    if flags & 31 != _NO_ACTIVATION:
        parameters = tuple(map(float, reader.floats((reader.count(),)))) if flags & 32 else ()
        activation = str(Activation(_ACTIVATIONS[flags & 31], parameters))
    if flags & 128:
        rounded[index] = reader.rounding()
    skip = bool(flags & 64)
    inputs = (before[-1].out_features if before else 0) + (features if skip or not before else 0)
    weight = reader.tensor((outputs, inputs))
    bias = reader.tensor((outputs,), _step(weight, rounded.get(index)))
    return Layer(weight=weight, bias=bias, activation=activation, skip=skip)


def _read_head(reader: _Reader, flags: int, outputs: int, action_shape: tuple[int, ...]) -> Head:
    if _HEADS[flags & 3] == "argmax":
        count = math.prod(action_shape) if action_shape else 0
        groups = tuple(reader.count() for _ in range(count))
        return Head(kind="argmax", sampling=Sampling() if flags & 32 else None, groups=groups)
    own = bool(flags & 32) and bool(reader.byte())
    shape = (outputs // 2 if own else outputs,)
    sampling = None
    if flags & 32:
        sampling = Sampling(deviation=None if own else reader.floats(shape))
    low, high = -reader.floats(shape), reader.floats(shape)
    clip_mean = reader.number() if flags & 64 else None
    kind: Any = _HEADS[flags & 3]
    return Head(kind=kind, low=low, high=high, clip_mean=clip_mean, sampling=sampling)
