"""What every format offers, and which there are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from squeezerl.network.network import Network
from squeezerl.registry import Registry


@dataclass(frozen=True, kw_only=True)
class SizeRecord:
    """The bytes of a file, and of the policy in it.

    `weight_bytes` is what the policy needs, packed (`formats/packed.py`), whatever the file holds:
    the weights (`matrix_bytes`), the biases, the scales and zero points of weights and of rounded
    values, the observation normaliser, and the layout, which says what the bytes are. These add up
    to it.
    """

    file_bytes: int
    weight_bytes: int
    matrix_bytes: int
    bias_bytes: int
    scale_bytes: int
    normalizer_bytes: int
    layout_bytes: int


class Format(ABC):
    """A way to write a network into one file."""

    name: str

    @abstractmethod
    def write(self, network: Network) -> bytes:
        """The file's content.

        Raises:
            FormatError: if the format cannot hold this network.
        """

    @abstractmethod
    def read(self, content: bytes) -> tuple[Network, SizeRecord]:
        """The network that `write` wrote, and its bytes.

        Raises:
            AuditError: if the file is anything but what `write` makes of the network in it.
        """


def _register_own() -> None:
    import squeezerl.formats.onnx
    import squeezerl.formats.packed  # noqa: F401 - each registers itself


FORMATS: Registry[Format] = Registry("format", built_in=_register_own)
