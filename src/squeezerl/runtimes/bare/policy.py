"""What each bare runtime offers."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

RUNTIMES = ("ort", "torch", "torch-cuda", "sb3")
GPU_RUNTIMES = ("torch-cuda",)
# Algorithms whose users import sb3-contrib as well.
_CONTRIBUTED = ("trpo", "tqc", "qrdqn")


class BarePolicy(Protocol):
    """A loaded policy, called as its users call it."""

    def act(self, observations: Any) -> Any:
        """Actions (batch, *action_shape), an array, for raw observations (batch, ...) float32."""

    def working_bytes(self, observations: Any) -> int | None:
        """Most bytes of intermediate results that one `act` holds at once; `None` if not told."""

    def gpu_memory(self) -> dict[str, int] | None:
        """Bytes that the runtime's allocator gave out and holds on a GPU; `None` on the CPU."""


class BareRuntime(Protocol):
    """A module of this package."""

    def load(self, payload: Path, *, threads: int, options: dict[str, Any]) -> BarePolicy:
        """Load what `payload` holds: an ONNX model, or a policy's state."""


def module_name(runtime: str, algorithm: str) -> str:
    """The module that holds a runtime; not imported here, since importing it is measured."""
    names = {"ort": "ort", "torch": "torch_eager", "torch-cuda": "torch_eager", "sb3": "sb3"}
    name = names[runtime]
    if name == "sb3" and algorithm in _CONTRIBUTED:
        name = "sb3_contrib"
    return f"{__package__}.{name}"
