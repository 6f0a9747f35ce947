"""A checkpoint's metadata, read as JSON; the pickles embedded in it are never opened."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from squeezerl.agents.spaces import BoxSpace, DiscreteSpace, parse_space
from squeezerl.errors import CheckpointError, UnsupportedPolicyError

# The module of the policy class → the family that decides how its weights are named.
_FAMILIES = {
    "stable_baselines3.common.policies": "actor-critic",
    "stable_baselines3.sac.policies": "sac",
    "stable_baselines3.td3.policies": "td3",
    "stable_baselines3.dqn.policies": "dqn",
    "sb3_contrib.tqc.policies": "tqc",
    "sb3_contrib.qrdqn.policies": "qrdqn",
}
_ACTIVATIONS = "torch.nn.modules.activation."
_EXTRACTORS = "stable_baselines3.common.torch_layers."
_UNSUPPORTED = {
    "sb3_contrib.common.recurrent.policies": "recurrent policies (RecurrentPPO)",
    "sb3_contrib.common.maskable.policies": "maskable policies (MaskablePPO)",
    "sb3_contrib.ars.policies": "ARS policies",
    "sb3_contrib.crossq.policies": "CrossQ policies (batch renormalisation)",
}


@dataclass(frozen=True)
class CheckpointMetadata:
    """What the metadata says of the policy."""

    family: str
    algorithm: str
    observation_space: BoxSpace
    action_space: BoxSpace | DiscreteSpace
    activation: str
    squashed_gsde: bool
    clip_mean: float | None


def parse_metadata(content: bytes) -> CheckpointMetadata:
    """Read the `data` member of a checkpoint.

    Raises:
        CheckpointError: if it is not what Stable-Baselines3 writes.
        UnsupportedPolicyError: for image, dict-observation, recurrent and custom policies.
    """
    try:
        data = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"the metadata is not valid JSON ({error})") from error
    if not isinstance(data, dict) or not isinstance(data.get("policy_class"), dict):
        raise CheckpointError("the metadata names no policy class")
    module = str(data["policy_class"].get("__module__"))
    if module in _UNSUPPORTED:
        raise UnsupportedPolicyError(f"{_UNSUPPORTED[module]} are not supported yet")
    if module not in _FAMILIES:
        raise UnsupportedPolicyError(
            f"the policy class is defined in {module!r}; only the MLP policies of "
            "Stable-Baselines3 and sb3-contrib are supported"
        )
    family = _FAMILIES[module]
    kwargs = data.get("policy_kwargs")
    kwargs = kwargs if isinstance(kwargs, dict) else {}
    default_activation = "Tanh" if family == "actor-critic" else "ReLU"
    use_sde = bool(data.get("use_sde") or kwargs.get("use_sde"))
    observation_space = parse_space(data.get("observation_space"), "observation")
    if isinstance(observation_space, DiscreteSpace):
        raise UnsupportedPolicyError("discrete observations are not supported yet")
    _check_features(kwargs, observation_space)
    return CheckpointMetadata(
        family=family,
        algorithm=_algorithm(family, data, kwargs),
        observation_space=observation_space,
        action_space=parse_space(data.get("action_space"), "action"),
        activation=_activation(kwargs.get("activation_fn"), default_activation),
        squashed_gsde=use_sde and bool(kwargs.get("squash_output")),
        clip_mean=_clip_mean(kwargs) if use_sde else None,
    )


def _check_features(kwargs: dict[str, Any], space: BoxSpace) -> None:
    name = kwargs.get("features_extractor_class")
    extractor = f"{_EXTRACTORS}FlattenExtractor" if name is None else _class_name(name)
    if extractor == f"{_EXTRACTORS}NatureCNN" or (len(space.shape) == 3 and space.dtype == "uint8"):
        raise UnsupportedPolicyError("CNN policies on images are not supported yet")
    if extractor == f"{_EXTRACTORS}CombinedExtractor":
        raise UnsupportedPolicyError("dict-observation policies are not supported yet")
    if extractor != f"{_EXTRACTORS}FlattenExtractor":
        raise UnsupportedPolicyError(
            f"the custom features extractor {extractor!r} is not supported"
        )


def _activation(text: Any, default: str) -> str:
    """`ReLU`, if it is torch's own: a class of that name from elsewhere may do anything."""
    if text is None:
        return default
    name = _class_name(text)
    if not name.startswith(_ACTIVATIONS):
        raise UnsupportedPolicyError(f"the custom activation {name!r} is not supported")
    return name.removeprefix(_ACTIVATIONS)


def _class_name(text: Any) -> str:
    """`a.b.C` from `<class 'a.b.C'>`, as JSON writes a class."""
    return str(text).removeprefix("<class '").removesuffix("'>")


def _clip_mean(kwargs: dict[str, Any]) -> float | None:
    """Bound of a gSDE actor's mean before the tanh (SAC and TQC; 2 unless set, 0 is none)."""
    value = kwargs.get("clip_mean", 2.0)
    if not isinstance(value, int | float):
        raise CheckpointError(f"clip_mean is {value!r}, not a number")
    return float(value) if value > 0 else None


def _algorithm(family: str, data: dict[str, Any], kwargs: dict[str, Any]) -> str:
    if family == "actor-critic":
        if "clip_range" in data:
            return "ppo"
        return "trpo" if "cg_max_steps" in data else "a2c"
    if family == "td3":
        return "ddpg" if kwargs.get("n_critics") == 1 and data.get("policy_delay") == 1 else "td3"
    return family
