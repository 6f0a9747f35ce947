"""What every format offers, and which there are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from squeezerl.network.network import Network
from squeezerl.registry import Registry


@dataclass(frozen=True, kw_only=True)
class SizeRecord:
    """Where a file's bytes are. The parts add up to `file_bytes`.

    `weight_bytes` is what the layers hold: weights, biases, their scales and zero points.
    `activation_bytes` are the scales of rounded values; `other_bytes` are the observation
    normaliser, the action head and the constants of activations; `graph_bytes` is the rest of the
    file.
    """

    file_bytes: int
    weight_bytes: int
    activation_bytes: int
    other_bytes: int
    graph_bytes: int


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
        """The network that `write` wrote, and its bytes by part, counted in the file.

        Raises:
            AuditError: if the file is anything but what `write` makes of the network in it.
        """


def _register_own() -> None:
    import squeezerl.formats.onnx  # noqa: F401 - registers itself


FORMATS: Registry[Format] = Registry("format", built_in=_register_own)
