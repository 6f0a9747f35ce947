"""The activations that networks may use, by the name of their torch class."""

from __future__ import annotations

from torch import nn

from squeezerl.errors import UnsupportedPolicyError

ACTIVATIONS: dict[str, type[nn.Module]] = {
    cls.__name__: cls
    for cls in (nn.ReLU, nn.Tanh, nn.ELU, nn.LeakyReLU, nn.Sigmoid, nn.Softplus, nn.SELU, nn.SiLU)
}


def make_activation(name: str) -> nn.Module:
    """A new activation with torch's default settings, as Stable-Baselines3 makes them."""
    if name not in ACTIVATIONS:
        raise UnsupportedPolicyError(
            f"activation {name!r} is not supported; supported are {', '.join(sorted(ACTIVATIONS))}"
        )
    return ACTIVATIONS[name]()
