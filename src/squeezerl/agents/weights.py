"""Named tensors from a checkpoint, through `torch.load(weights_only=True)` and checks."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Mapping

import torch
from torch import Tensor

from squeezerl.agents.archive import check_nested_zip
from squeezerl.errors import CheckpointError, UnsupportedPolicyError
from squeezerl.network.policy import LinearLayer


def read_state_dict(content: bytes, name: str) -> dict[str, Tensor]:
    """The tensors of a torch file; nothing in it is executed.

    Raises:
        CheckpointError: if it is damaged or holds anything but named tensors.
    """
    check_nested_zip(content, name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loaded = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # a hostile file can make the reader fail in any way
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"{name!r} cannot be read as plain weights ({reason[:200]}); nothing was executed"
        ) from error
    if not isinstance(loaded, Mapping) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in loaded.items()
    ):
        raise CheckpointError(f"{name!r} does not hold a mapping of names to tensors")
    return dict(loaded)


def checked(state: Mapping[str, Tensor], name: str) -> Tensor:
    """One floating-point tensor that is really as large as it says, and finite."""
    if name not in state:
        raise CheckpointError(f"the weights lack {name!r}")
    tensor = state[name]
    is_dense = tensor.layout == torch.strided and not (tensor.is_nested or tensor.is_meta)
    if not (is_dense and tensor.is_floating_point()):
        raise CheckpointError(f"{name!r} is not a dense floating-point tensor")
    if tensor.untyped_storage().nbytes() < tensor.numel() * tensor.element_size():
        raise CheckpointError(f"{name!r} claims shape {tuple(tensor.shape)} but holds less data")
    tensor = tensor.detach().to(torch.float32)
    if not torch.isfinite(tensor).all():
        raise CheckpointError(f"{name!r} holds NaN or infinite values")
    return tensor


def read_linear(state: Mapping[str, Tensor], name: str, activation: str | None) -> LinearLayer:
    """The layer whose tensors are `name.weight` (out, in) and `name.bias` (out,)."""
    weight, bias = checked(state, f"{name}.weight"), checked(state, f"{name}.bias")
    if weight.ndim != 2 or bias.shape != weight.shape[:1]:
        raise CheckpointError(
            f"{name!r} is no linear layer: weight {tuple(weight.shape)}, bias {tuple(bias.shape)}"
        )
    return LinearLayer(weight, bias, activation)


def read_sequential(state: Mapping[str, Tensor], prefix: str, activation: str) -> list[LinearLayer]:
    """The linear layers `prefix.0`, `prefix.2`, ... of a torch Sequential, maybe none."""
    pattern = re.compile(re.escape(prefix) + r"\.(\d+)\.(.+)")
    indices: set[str] = set()
    for key, tensor in state.items():
        if not (match := pattern.fullmatch(key)):
            continue
        if match[2] not in ("weight", "bias") or (match[2] == "weight" and tensor.ndim != 2):
            raise UnsupportedPolicyError(
                f"{key!r} is not part of a plain multilayer perceptron; only linear layers "
                "with activations between them are supported"
            )
        indices.add(match[1])
    # An activation stands between two layers, so the layers have the even places.
    expected = [str(2 * place) for place in range(len(indices))]
    if indices != set(expected):
        raise CheckpointError(f"{prefix!r} lacks layers: only {sorted(indices)[:9]} are there")
    return [read_linear(state, f"{prefix}.{index}", activation) for index in expected]
