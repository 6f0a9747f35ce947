"""What every format has to keep; the test class of each inherits it."""

from __future__ import annotations

from functools import cache
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from random_networks import drawn_networks, integer_networks, low_bit_networks, networks
from small_policies import compress, make_network, random_observations
from squeezerl.errors import AuditError
from squeezerl.formats.base import FORMATS, Format
from squeezerl.network.arithmetic import act
from squeezerl.network.network import IntegerTensor, Network

INHERITED = settings(suppress_health_check=[HealthCheck.differing_executors])


class FormatContract:
    """`recipes` give networks that the format can hold."""

    format: ClassVar[Format]
    recipes: ClassVar[tuple[str, ...]]

    def comes_back(self, network: Network) -> Network:
        """The network of its own file: the same tensors, and the same actions but for rounding."""
        content = self.format.write(network)
        assert self.format.write(network) == content
        read, _ = self.format.read(content)
        assert self.format.write(read) == content
        assert read.signature == network.signature
        assert read.roundings == network.roundings
        for (name, ours), (other, theirs) in zip(network.tensors(), read.tensors(), strict=True):
            assert name == other
            assert getattr(ours, "bits", None) == getattr(theirs, "bits", None), name
            for part in ("values", "scale", "zero_point") if isinstance(ours, IntegerTensor) else (
                "data",
            ):  # fmt: skip
                assert bytes(getattr(ours, part)) == bytes(getattr(theirs, part)), name
        observations = random_observations(network, 20)
        expected, actual = act(network, observations), act(read, observations)
        assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape)
        size = float(np.abs([network.head.low, network.head.high]).max(initial=0))
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-6 * size)
        if network.noise_width is not None:
            rng = np.random.default_rng(0)
            noise = rng.normal(size=(20, network.noise_width)).astype(np.float32)
            expected, actual = (act(n, observations, noise=noise) for n in (network, read))
            np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-6 * size)
        return read

    def test_it_is_registered_under_its_name(self) -> None:
        assert type(FORMATS.get(self.format.name)) is type(self.format)

    @INHERITED
    @given(st.one_of(networks(), integer_networks(), low_bit_networks(), drawn_networks()))
    def test_any_network_comes_back(self, network: Network) -> None:
        self.comes_back(network)

    @INHERITED
    @given(st.one_of(networks(), integer_networks(), low_bit_networks()))
    def test_the_bytes_of_the_policy_are_those_of_its_packed_form(self, network: Network) -> None:
        content = self.format.write(network)
        # Not `network`: bounds that were rounded in the file can take other bytes.
        read, size = self.format.read(content)
        assert size.file_bytes == len(content)
        parts = (
            *(size.matrix_bytes, size.bias_bytes, size.scale_bytes),
            *(size.normalizer_bytes, size.layout_bytes),
        )
        assert sum(parts) == size.weight_bytes == len(FORMATS.get("packed").write(read)) - 4
        assert min(parts) >= 0
        assert bool(size.normalizer_bytes) == (network.normalizer is not None)
        assert size.matrix_bytes >= sum(
            layer.weight.nbytes
            for layer in network.layers
            if isinstance(layer.weight, IntegerTensor)
        )

    @INHERITED
    @given(content=st.binary())
    def test_garbage_is_refused(self, content: bytes) -> None:
        with pytest.raises(AuditError, match="not a policy that this release writes"):
            self.format.read(content)

    @INHERITED
    @given(data=st.data())
    def test_a_file_that_was_cut_or_extended_is_refused(self, data: st.DataObject) -> None:
        content = self.format.write(self._some_network(data))
        cut = content[: data.draw(st.integers(0, len(content) - 1))]
        longer = content + data.draw(st.binary(min_size=1, max_size=8))
        for other in (cut, longer, content + content):
            with pytest.raises(AuditError):
                self.format.read(other)

    @settings(INHERITED, max_examples=300)
    @given(data=st.data())
    def test_a_changed_byte_is_refused_or_makes_another_sound_file(
        self, data: st.DataObject
    ) -> None:
        content = bytearray(self.format.write(self._some_network(data)))
        position = data.draw(st.integers(0, len(content) - 1))
        content[position] ^= data.draw(st.integers(1, 255))
        try:
            network, _ = self.format.read(bytes(content))
        except AuditError:
            return
        assert self.written_like(bytes(content), network) == bytes(content)

    def written_like(self, content: bytes, network: Network) -> bytes:
        """A file of this network, in the version of the format that the content says it has."""
        return self.format.write(network)

    def _some_network(self, data: st.DataObject) -> Network:
        return _small_network(data.draw(st.sampled_from(self.recipes)))


@cache
def _small_network(recipe: str) -> Network:
    return compress(make_network(3, 4, 2, activation="LeakyReLU"), recipe)
