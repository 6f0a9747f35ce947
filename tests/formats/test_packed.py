from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from format_contract import FormatContract
from hypothesis import given
from hypothesis import strategies as st

from small_policies import LOW_BITS, QUANTIZATIONS, compress, make_network
from squeezerl.agents.load import load_agent
from squeezerl.errors import AuditError
from squeezerl.formats.packed import MAGIC, PackedFormat, pack, packed_size, unpack
from squeezerl.network.activations import ACTIVATIONS
from squeezerl.network.network import TERNARY_BITS, IntegerTensor, Network, as_float, level_count


class TestPackedFormat(FormatContract):
    format = PackedFormat()
    recipes: ClassVar = ("float", *QUANTIZATIONS.values(), *LOW_BITS.values())

    def test_published_agents_come_back(self, published_agent: Path) -> None:
        network = load_agent(published_agent).network
        assert self.comes_back(network).sha256 == network.sha256


@given(st.sampled_from([*range(1, 9), TERNARY_BITS]), st.integers(0, 40), st.randoms())
def test_integers_come_back_from_their_bits(bits: float, count: int, random: st.DrawFn) -> None:
    rng = np.random.default_rng(random.getrandbits(32))  # type: ignore[attr-defined]
    values = rng.integers(0, level_count(bits), count).astype(np.uint8)
    content = pack(values, bits)
    np.testing.assert_array_equal(unpack(content, count, bits), values)
    assert len(content) == -(-count // 5 if bits == TERNARY_BITS else -count * int(bits) // 8)


@pytest.mark.parametrize(
    ("values", "bits", "content"),
    [([1, 2, 15], 4, "210f"), ([1, 0, 3, 2], 2, "b1"), ([7, 0, 1], 3, "4700"),
     ([2, 1, 0, 0, 1], TERNARY_BITS, "56"), ([255, 1], 8, "ff01")],
)  # fmt: skip
def test_the_first_integer_is_lowest(values: list[int], bits: float, content: str) -> None:
    assert pack(np.array(values, np.uint8), bits).hex() == content


def test_a_tiny_policy_takes_a_few_bytes() -> None:
    network = make_network(4, 2, head="argmax", normalized=False)
    quantized = compress(network, "bits:4:tensor:activations=float:inputs=tensor")
    weights, bias = network.layers[0].weight, as_float(network.layers[0].bias)
    # Eight weights, two biases and a scale of float16; two bytes for head and input, one for the
    # count of layers, and of the layer its activation, its width and the kinds of its three arrays.
    assert packed_size(quantized).total == 4 + bias.nbytes // 2 + 2 + 2 + 1 + 2 + 3
    assert packed_size(network).total == as_float(weights).nbytes + bias.nbytes + 2 + 1 + 2 + 2


@pytest.mark.parametrize(
    ("numbers", "each"),
    [([0.0, 0.0], 0), ([1.0, 1.0], 0), ([0.5, 4.0], 1), ([0.3, 0.3], 2), ([1.5, -3.0], 1),
     ([1 + 2**-10, 1.5], 2), ([1 + 2**-5, 1.5], 1.5), ([0.1, 0.2], 4)],
)  # fmt: skip
def test_numbers_take_the_shortest_form_that_is_exact(numbers: list[float], each: float) -> None:
    network = make_network(3, 2)
    layer = network.layers[0]
    network = network.replace(
        layers=(type(layer)(weight=layer.weight, bias=np.array(numbers, np.float32)),)
    )
    assert packed_size(network).of_part("biases") == 2 * each
    read, _ = PackedFormat().read(PackedFormat().write(network))
    np.testing.assert_array_equal(read.layers[0].bias, np.float32(numbers))


def test_biases_in_integers_are_as_wide_as_they_need_to_be() -> None:
    network = compress(make_network(5, 3), "bits:8")
    layer = network.layers[0]
    assert isinstance(layer.bias, IntegerTensor)
    for values, width in (([-128, 5, 127], 1), ([-128, 300, 1], 2), ([-(2**20), 5, 1], 4),
                          ([-(2**20), 2**21, 0], 1)):  # fmt: skip
        bias = IntegerTensor(
            np.array(values, np.int32), layer.bias.scale, layer.bias.zero_point, 32
        )
        changed = network.replace(layers=(type(layer)(weight=layer.weight, bias=bias),))
        assert packed_size(changed).of_part("biases") == 3 * width
        read, _ = PackedFormat().read(PackedFormat().write(changed))
        assert read.sha256 == changed.sha256


def test_every_activation_has_a_code() -> None:
    for name in ACTIVATIONS:
        network: Network = make_network(3, 4, 2, activation=name)
        assert PackedFormat().read(PackedFormat().write(network))[0].sha256 == network.sha256


def test_a_short_file_cannot_ask_for_much_memory() -> None:
    # A linear layer of 2^28 outputs and as many features, all of them one number.
    huge = bytes([0x18, 0xFF, 0xFF, 0xFF, 0x7F, 1, 31, 0xFF, 0xFF, 0xFF, 0x7F])
    tracemalloc.start()
    for tail in (b"\x0c\x00\x3c", b"\x08", b"\x00", b"\x01", b"\x84", b"\x80", b"\x40"):
        with pytest.raises(AuditError, match="not a policy that this release writes"):
            PackedFormat().read(MAGIC + huge + tail)
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()
