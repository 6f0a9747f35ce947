"""A policy as plain data: tensors, numbers and words, and nothing that runs when it is read.

For handing a policy to a fresh process that is to load torch and the policy, and nothing else.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from squeezerl.errors import ArtifactError, OutputError
from squeezerl.network.action_head import ActionHead, HeadKind
from squeezerl.network.normalizer import ObservationNormalizer
from squeezerl.network.parts import check_policy, policy_layers
from squeezerl.network.policy import LinearLayer, Policy

_FORMAT = "squeezerl policy, version 1"


def save_policy(policy: Policy, path: Path) -> None:
    """Write all that `load_policy` needs to build the same policy again, bit for bit.

    Raises:
        UnsupportedPolicyError: if the network holds more than linear layers and activations.
        OutputError: if the file cannot be written.
    """
    head, normalizer = policy.head, None
    if policy.normalizer is not None:
        mean, inverse_std = policy.normalizer.mean, policy.normalizer.inverse_std
        normalizer = _plain(mean), _plain(inverse_std), policy.normalizer.clip
    content = io.BytesIO()
    torch.save(
        {
            "format": _FORMAT,
            "layers": [
                (_plain(layer.weight), _plain(layer.bias), layer.activation)
                for layer in policy_layers(policy)
            ],
            "head": (head.kind, _plain(head.low), _plain(head.high), head.clip_mean),
            "normalizer": normalizer,
            "observation_shape": policy.observation_shape,
            "action_shape": policy.action_shape,
        },
        content,
    )
    try:
        path.write_bytes(content.getvalue())
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from error


def load_policy(path: Path) -> Policy:
    """The policy that `save_policy` wrote; nothing in the file is executed.

    Raises:
        ArtifactError: if the file is missing, damaged, or holds anything else.
    """
    if not path.is_file():
        raise ArtifactError(f"{path}: no such file")
    try:
        policy = _from_state(torch.load(path, map_location="cpu", weights_only=True))
        check_policy(policy)
    except Exception as error:  # a damaged file can make the reader fail in any way
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ArtifactError(f"{path}: not a saved policy, or damaged ({reason[:200]})") from error
    return policy


def _plain(tensor: Tensor) -> Tensor:
    """The numbers alone: a view would be saved with all the memory that it looks at."""
    return tensor.detach().clone(memory_format=torch.contiguous_format)


def _from_state(state: Any) -> Policy:
    if not isinstance(state, dict) or state.get("format") != _FORMAT:
        raise ArtifactError(f"the format is not {_FORMAT!r}")
    kind, low, high, clip_mean = state["head"]
    if kind not in get_args(HeadKind) or not isinstance(clip_mean, float | int | None):
        raise ArtifactError(f"there is no action head of kind {kind!r}, bounded at {clip_mean!r}")
    normalizer = None
    if state["normalizer"] is not None:
        mean, inverse_std, clip = state["normalizer"]
        normalizer = ObservationNormalizer.from_inverse_std(
            _checked(mean, 1), _checked(inverse_std, 1), clip=clip
        )
    return Policy(
        [
            LinearLayer(_checked(weight, 2), _checked(bias, 1), activation)
            for weight, bias, activation in state["layers"]
        ],
        ActionHead(kind, _checked(low, 1).numpy(), _checked(high, 1).numpy(), clip_mean=clip_mean),
        normalizer=normalizer,
        observation_shape=_shape(state["observation_shape"]),
        action_shape=_shape(state["action_shape"]),
    )


def _checked(tensor: Any, dimensions: int) -> Tensor:
    """A dense float32 tensor that holds as many numbers as its shape claims."""
    if not isinstance(tensor, Tensor) or tensor.dtype != torch.float32 or tensor.ndim != dimensions:
        raise ArtifactError(f"{str(tensor)[:80]} stands where float32 numbers should")
    is_plain = tensor.layout == torch.strided and tensor.device.type == "cpu"
    if not is_plain or tensor.untyped_storage().nbytes() < 4 * tensor.numel():
        raise ArtifactError(f"a tensor of shape {tuple(tensor.shape)} holds less than that")
    return tensor


def _shape(value: Any) -> tuple[int, ...]:
    if not isinstance(value, tuple) or not all(isinstance(n, int) and n > 0 for n in value):
        raise ArtifactError(f"{str(value)[:80]} stands where a shape should")
    return value
