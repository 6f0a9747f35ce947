"""A model of Stable-Baselines3 with its environments, and the policy that it is learning."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from gymnasium.spaces import Box
from stable_baselines3.common.noise import NormalActionNoise, OrnsteinUhlenbeckActionNoise
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import VecNormalize

from squeezerl.agents.load import agent_path
from squeezerl.agents.sources.stable_baselines3.files import (
    MAX_WEIGHTS_BYTES,
    CheckpointArchive,
    find_agent,
)
from squeezerl.agents.sources.stable_baselines3.metadata import (
    BoxSpace,
    CheckpointMetadata,
    DiscreteSpace,
    is_image,
)
from squeezerl.agents.sources.stable_baselines3.network import build_network
from squeezerl.agents.sources.stable_baselines3.vecnormalize import (
    make_normalizer,
    read_vecnormalize,
)
from squeezerl.agents.torch_file import read_state_dict
from squeezerl.errors import (
    CheckpointError,
    HyperparameterError,
    InvalidArgumentError,
    SqueezeRLError,
    UnsupportedPolicyError,
)
from squeezerl.evaluation.environment import choices_of
from squeezerl.network.network import Network, Normalizer, as_float
from squeezerl.network.policy import TORCH_ACTIVATIONS
from squeezerl.training.algorithms import Algorithm
from squeezerl.training.hyperparameters.tables import LINEAR
from squeezerl.training.resolve import Training
from squeezerl.training.vector_env import make_vector_env

_SCHEDULED = ("learning_rate", "clip_range", "clip_range_vf")


def make_model(training: Training, monitor: Path) -> Any:
    """The untrained model in its environments; `monitor` is the file of their episode log.

    Raises:
        SqueezeRLError: if Stable-Baselines3 refuses the settings, or an agent does not fit.
    """
    torch.set_num_threads(training.config.threads)
    hyperparameters, algorithm = training.hyperparameters, training.algorithm
    keywords = _keywords(training)
    env: Any = make_vector_env(
        training.environment, hyperparameters.n_envs, seed=training.seed, monitor=monitor
    )
    if (normalize := hyperparameters.normalize) is not None:
        env = VecNormalize(
            env,
            norm_obs=normalize.norm_obs,
            norm_reward=normalize.norm_reward,
            clip_obs=normalize.clip_obs,
            clip_reward=normalize.clip_reward,
            gamma=keywords.get("gamma", 0.99),
        )
    try:
        if training.original is None:
            model = _construct(training, env, keywords, {})
        else:
            model = _construct_ticket(training, env, keywords)
        if training.config.init is not None:
            _start_from(model, env, agent_path(training.config.init))
    except SqueezeRLError:
        env.close()
        raise
    except (ValueError, TypeError, AssertionError) as error:
        env.close()
        raise InvalidArgumentError(f"{algorithm.name} refuses these settings: {error}") from error
    return model


def _construct(
    training: Training, env: Any, keywords: Mapping[str, Any], networks: Mapping[str, Any]
) -> Any:
    """A model with its initial weights, which the seed decides."""
    return training.algorithm.load()(
        "MlpPolicy",
        env,
        seed=training.seed,
        device=_device(training.config.device, training.algorithm),
        policy_kwargs=_policy_kwargs({**training.hyperparameters.policy_kwargs, **networks}),
        **keywords,
    )


def _construct_ticket(training: Training, env: Any, keywords: Mapping[str, Any]) -> Any:
    """A smaller model with the weights that the original's neurons started from."""
    original, ticket, algorithm = training.original, training.config.ticket, training.algorithm
    assert original is not None
    assert ticket is not None
    # The whole model is never trained, so its replay buffer can be as small as possible.
    least = {} if algorithm.on_policy else {"buffer_size": 1}
    whole = _construct(training, env, {**keywords, **least}, {})
    net_arch, state = original.rewind(
        ticket, network_of(whole, algorithm), whole, family=algorithm.family, seed=training.seed
    )
    model = _construct(training, env, keywords, {"net_arch": net_arch})
    model.policy.load_state_dict(state)
    return model


def network_of(model: Any, algorithm: Algorithm) -> Network:
    """A copy of the model's deterministic policy on the CPU, as `load_agent` will read it."""
    use_sde = bool(getattr(model, "use_sde", False))
    clip_mean = getattr(getattr(model, "actor", None), "clip_mean", 0.0) if use_sde else 0.0
    choices = choices_of(model.action_space)
    metadata = CheckpointMetadata(
        family=algorithm.family,
        algorithm=algorithm.name,
        observation_space=_box(model.observation_space),
        action_space=(
            _box(model.action_space)
            if choices is None
            else DiscreteSpace(choices, type(model.action_space).__name__)
        ),
        activation=model.policy.activation_fn.__name__,
        is_squashed=bool(model.policy.squash_output),
        clip_mean=clip_mean if clip_mean > 0 else None,
        is_image=is_image(_box(model.observation_space)) and model.policy.normalize_images,
    )
    state = {
        name: value.detach().cpu().numpy() for name, value in model.policy.state_dict().items()
    }
    return build_network(metadata, state, _normalizer(model.get_vec_normalize_env()))


def _box(space: Any) -> BoxSpace:
    if not isinstance(space, Box):
        raise UnsupportedPolicyError(f"{type(space).__name__} spaces are not supported yet")
    low, high = (np.asarray(bound, dtype=np.float32).ravel() for bound in (space.low, space.high))
    return BoxSpace(space.shape, str(space.dtype), low, high)


def _normalizer(vec_normalize: Any) -> Normalizer | None:
    if vec_normalize is None or not vec_normalize.norm_obs:
        return None
    return make_normalizer(
        vec_normalize.obs_rms.mean,
        vec_normalize.obs_rms.var,
        epsilon=vec_normalize.epsilon,
        clip=vec_normalize.clip_obs,
    )


def schedule(value: float | str) -> float | Callable[[float], float]:
    """A number as it is; "lin_0.001" as a schedule that falls linearly from there to 0.

    The schedule is an object of Stable-Baselines3, so that saved agents load without this library.

    Raises:
        HyperparameterError: for any other text.
    """
    if not isinstance(value, str):
        return value
    try:
        initial = float(value.removeprefix(LINEAR))
    except ValueError:
        initial = math.nan
    if not value.startswith(LINEAR) or not math.isfinite(initial):
        raise HyperparameterError(f"{value!r} is not a schedule; write {LINEAR}0.001, for example")
    linear: Callable[[float], float] = LinearSchedule(initial, 0.0, 1.0)
    return linear


def check_memory(training: Training) -> None:
    """Check that the replay buffer fits into memory.

    Raises:
        InvalidArgumentError: if it does not.
    """
    need, available = training.replay_bytes, psutil.virtual_memory().available
    if need > available:
        raise InvalidArgumentError(
            f"the replay buffer needs {need / 1e9:.1f} GB of memory, {available / 1e9:.1f} GB are "
            'available; make it smaller with `hyperparameters=["buffer_size:100000"]`'
        )


def _keywords(training: Training) -> dict[str, Any]:
    keywords = dict(training.hyperparameters.model)
    keywords |= {name: schedule(keywords[name]) for name in _SCHEDULED if name in keywords}
    if not training.algorithm.on_policy:
        keywords["buffer_size"] = training.buffer_size
    if training.hyperparameters.noise is not None:
        kind, std = training.hyperparameters.noise
        shape = training.environment.action_shape
        make = NormalActionNoise if kind == "normal" else OrnsteinUhlenbeckActionNoise
        keywords["action_noise"] = make(np.zeros(shape), np.full(shape, std))
    return keywords


def _policy_kwargs(given: Any) -> dict[str, Any]:
    keywords = dict(given)
    if "activation_fn" in keywords:
        keywords["activation_fn"] = TORCH_ACTIVATIONS[keywords["activation_fn"]]
    # The same arithmetic in one pass over the parameters instead of a dozen passes.
    keywords["optimizer_kwargs"] = {"fused": True, **keywords.get("optimizer_kwargs", {})}
    return keywords


def _device(name: str, algorithm: Algorithm) -> str:
    """Small on-policy networks learn faster on the processor than on a GPU."""
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise InvalidArgumentError(f"`device={name}`: torch sees no GPU")
    if name == "auto":
        return "cuda" if torch.cuda.is_available() and not algorithm.on_policy else "cpu"
    return name


def _start_from(model: Any, env: Any, path: Path) -> None:
    """Take over an agent's weights and its normaliser's statistics, without unpickling."""
    files = find_agent(path)
    archive = CheckpointArchive(files.checkpoint)
    try:
        arrays = read_state_dict(archive.read("policy.pth", MAX_WEIGHTS_BYTES), "policy.pth")
    finally:
        archive.close()
    try:
        model.policy.load_state_dict({n: torch.tensor(array) for n, array in arrays.items()})
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(
            f"{files.checkpoint}: its networks are not those of this training; set them with "
            f'`hyperparameters=["net_arch:[...]"]` ({reason})'
        ) from error
    normalizer = None if files.vecnormalize is None else read_vecnormalize(files.vecnormalize)
    if not isinstance(env, VecNormalize) or not env.norm_obs:
        if normalizer is not None:
            raise CheckpointError(
                f"{files.checkpoint}: trained on normalised observations, this training is not; "
                'add `hyperparameters=["normalize:true"]`'
            )
        return
    if normalizer is None:
        raise CheckpointError(
            f"{files.checkpoint}: trained on raw observations, this training normalises them; "
            'add `hyperparameters=["normalize:false"]`'
        )
    shape = env.observation_space.shape
    env.obs_rms.mean = as_float(normalizer.mean).astype(np.float64).reshape(shape)
    variance = as_float(normalizer.inverse_std).astype(np.float64) ** -2 - env.epsilon
    env.obs_rms.var = np.maximum(variance, 0).reshape(shape)
    # As many observations as an agent has typically seen, so that the first new ones do not
    # outweigh its statistics.
    env.obs_rms.count = 1e6
