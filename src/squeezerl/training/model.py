"""A model of Stable-Baselines3 and its environments, as the settings ask for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from stable_baselines3.common.noise import NormalActionNoise, OrnsteinUhlenbeckActionNoise
from stable_baselines3.common.vec_env import VecNormalize

from squeezerl.agents.load import agent_path
from squeezerl.agents.sources.stable_baselines3.files import (
    MAX_WEIGHTS_BYTES,
    CheckpointArchive,
    find_agent,
)
from squeezerl.agents.sources.stable_baselines3.vecnormalize import read_vecnormalize
from squeezerl.agents.torch_file import read_state_dict
from squeezerl.errors import CheckpointError, InvalidArgumentError, SqueezeRLError
from squeezerl.network.network import as_float
from squeezerl.network.policy import TORCH_ACTIVATIONS
from squeezerl.training.algorithms import Algorithm
from squeezerl.training.schedules import schedule
from squeezerl.training.settings import TrainingSettings
from squeezerl.training.tickets import rewind
from squeezerl.training.vector_env import make_vector_env

_SCHEDULED = ("learning_rate", "clip_range", "clip_range_vf")
_DEFAULT_BUFFER_SIZE = 1_000_000


def make_model(settings: TrainingSettings, monitor: Path) -> Any:
    """The model, untrained, in its environments; `monitor` names their episode log.

    Raises:
        SqueezeRLError: if the settings cannot be met.
    """
    torch.set_num_threads(settings.threads)
    hyperparameters, algorithm = settings.hyperparameters, settings.algorithm
    keywords = _keywords(settings)
    env: Any = make_vector_env(
        settings.environment, hyperparameters.n_envs, seed=settings.seed, monitor=monitor
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
        if settings.ticket is None:
            model = _construct(settings, env, keywords, {})
        else:
            model = _construct_ticket(settings, env, keywords)
        if settings.init is not None:
            _start_from(model, env, agent_path(settings.init))
    except SqueezeRLError:
        env.close()
        raise
    except (ValueError, TypeError, AssertionError) as error:
        env.close()
        raise InvalidArgumentError(f"{algorithm.name} refuses these settings: {error}") from error
    return model


def _construct(
    settings: TrainingSettings, env: Any, keywords: Mapping[str, Any], networks: Mapping[str, Any]
) -> Any:
    """A model with its initial weights, which the seed decides."""
    return settings.algorithm.load()(
        "MlpPolicy",
        env,
        seed=settings.seed,
        device=_device(settings.device, settings.algorithm),
        policy_kwargs=_policy_kwargs({**settings.hyperparameters.policy_kwargs, **networks}),
        **keywords,
    )


def _construct_ticket(settings: TrainingSettings, env: Any, keywords: Mapping[str, Any]) -> Any:
    """A smaller model with the weights that the original's neurons started from."""
    # The whole one plays nothing.
    least = {} if settings.algorithm.on_policy else {"buffer_size": 1}
    whole = _construct(settings, env, {**keywords, **least}, {})
    net_arch, state = rewind(settings, whole)
    model = _construct(settings, env, keywords, {"net_arch": net_arch})
    model.policy.load_state_dict(state)
    return model


def check_memory(settings: TrainingSettings) -> int:
    """Bytes that the replay buffer will take; 0 for on-policy algorithms.

    Raises:
        InvalidArgumentError: if there is not as much memory.
    """
    if settings.algorithm.on_policy:
        return 0
    environment = settings.environment
    features = int(np.prod(environment.observation_shape))
    actions = max(1, int(np.prod(environment.action_shape)))
    # Both observations (in double precision in many environments), action, reward, end, reason.
    need = (8 * 2 * features + 4 * (actions + 3)) * _buffer_size(settings)
    available = psutil.virtual_memory().available
    if need > available:
        raise InvalidArgumentError(
            f"the replay buffer needs {need / 1e9:.1f} GB of memory, {available / 1e9:.1f} GB are "
            "available; make it smaller with --hyperparams buffer_size:100000"
        )
    return need


def _buffer_size(settings: TrainingSettings) -> int:
    """No larger than the number of steps: what will not be filled need not be there."""
    given = settings.hyperparameters.model.get("buffer_size", _DEFAULT_BUFFER_SIZE)
    return min(int(given), settings.steps)


def _keywords(settings: TrainingSettings) -> dict[str, Any]:
    keywords = dict(settings.hyperparameters.model)
    keywords |= {name: schedule(keywords[name]) for name in _SCHEDULED if name in keywords}
    if not settings.algorithm.on_policy:
        keywords["buffer_size"] = _buffer_size(settings)
    if settings.hyperparameters.noise is not None:
        kind, std = settings.hyperparameters.noise
        shape = settings.environment.action_shape
        make = NormalActionNoise if kind == "normal" else OrnsteinUhlenbeckActionNoise
        keywords["action_noise"] = make(np.zeros(shape), np.full(shape, std))
    return keywords


def _policy_kwargs(given: Any) -> dict[str, Any]:
    keywords = dict(given)
    if "activation_fn" in keywords:
        keywords["activation_fn"] = TORCH_ACTIVATIONS[keywords["activation_fn"]]
    # The same arithmetic in one pass over the parameters instead of a dozen.
    keywords["optimizer_kwargs"] = {"fused": True, **keywords.get("optimizer_kwargs", {})}
    return keywords


def _device(name: str, algorithm: Algorithm) -> str:
    """Small on-policy networks are faster on the processor than on a GPU that waits for it."""
    if name not in ("auto", "cpu") and not name.startswith("cuda"):
        raise InvalidArgumentError(f"device {name!r} is not one of auto, cpu, cuda, cuda:N")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise InvalidArgumentError(f"device {name}: torch sees no GPU")
    if name == "auto":
        return "cuda" if torch.cuda.is_available() and not algorithm.on_policy else "cpu"
    return name


def _start_from(model: Any, env: Any, path: Path) -> None:
    """Take over an agent's weights and its normaliser's statistics, without unpickling."""
    files = find_agent(path)
    archive = CheckpointArchive(files.checkpoint)
    try:
        state = read_state_dict(archive.read("policy.pth", MAX_WEIGHTS_BYTES), "policy.pth")
    finally:
        archive.close()
    try:
        tensors = {name: torch.tensor(array) for name, array in state.items()}
        model.policy.load_state_dict(tensors)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(
            f"{files.checkpoint}: its networks are not those of this training, which "
            f"--hyperparams net_arch:[...] decides ({reason})"
        ) from error
    normalizer = None if files.vecnormalize is None else read_vecnormalize(files.vecnormalize)
    if not isinstance(env, VecNormalize) or not env.norm_obs:
        if normalizer is not None:
            raise CheckpointError(
                f"{files.checkpoint}: trained on normalised observations, this training is not; "
                "add --hyperparams normalize:true"
            )
        return
    if normalizer is None:
        raise CheckpointError(
            f"{files.checkpoint}: trained on raw observations, this training normalises them; "
            "add --hyperparams normalize:false"
        )
    shape = env.observation_space.shape
    env.obs_rms.mean = as_float(normalizer.mean).astype(np.float64).reshape(shape)
    variance = as_float(normalizer.inverse_std).astype(np.float64) ** -2 - env.epsilon
    env.obs_rms.var = np.maximum(variance, 0).reshape(shape)
    # As many observations as an agent has typically seen: its statistics shall not be forgotten.
    env.obs_rms.count = 1e6
