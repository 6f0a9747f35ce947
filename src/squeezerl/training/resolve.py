"""From a config to a training: everything that the config leaves open is looked up and checked."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path

import yaml

from squeezerl.agents.load import agent_path
from squeezerl.agents.sources.stable_baselines3.files import find_agent
from squeezerl.errors import InvalidArgumentError
from squeezerl.evaluation.environment import Environment
from squeezerl.training.algorithms import (
    Algorithm,
    check_actions,
    check_supports_qat,
    find_algorithm,
)
from squeezerl.training.config import TrainConfig, check_tracker
from squeezerl.training.hyperparameters import Hyperparameters, load_hyperparameters
from squeezerl.training.tickets import Original

_DEFAULT_STEPS = 1_000_000
_DEFAULT_BUFFER_SIZE = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Training:
    """A config, together with the algorithm, the environment and the settings that it names.

    `steps` and `seed` are the config's or their defaults; `original` is the finished training that
    a lottery ticket is taken of.
    """

    config: TrainConfig
    algorithm: Algorithm
    environment: Environment
    hyperparameters: Hyperparameters
    steps: int
    seed: int
    original: Original | None

    @property
    def env_name(self) -> str:
        """The environment's id in the form that file names use."""
        return _file_name(self.environment.id)

    @property
    def buffer_size(self) -> int:
        """The size of the replay buffer in transitions; there are never more of them than steps."""
        if self.algorithm.on_policy:
            return 0
        given = self.hyperparameters.model.get("buffer_size", _DEFAULT_BUFFER_SIZE)
        return min(int(given), self.steps)

    @property
    def replay_bytes(self) -> int:
        """The size of the full replay buffer in bytes."""
        features = math.prod(self.environment.observation_shape)
        actions = max(1, math.prod(self.environment.action_shape))
        # Two observations (many environments give doubles), action, reward, end, reason of the end.
        return (8 * 2 * features + 4 * (actions + 3)) * self.buffer_size


def resolve(config: TrainConfig, environment: Environment | None = None) -> Training:
    """Look up what a config names, and check that it can be trained.

    Args:
        config: what to train.
        environment: the one that the config names, if it was looked up before.

    Raises:
        SqueezeRLError: if something is unknown, or does not fit together.
    """
    algorithm = find_algorithm(config.algorithm)
    config, env_id = _with_environment(config)
    original = None
    if config.ticket is not None:
        original = Original.read(Path(config.ticket.of), algorithm.name, _file_name(env_id))
        config = dataclasses.replace(
            config,
            steps=original.steps if config.steps is None else config.steps,
            seed=original.seed if config.seed is None else config.seed,
            hyperparameters=config.hyperparameters or (str(original.config),),
            env_kwargs=config.env_kwargs or original.env_kwargs,
        )
    hyperparameters = load_hyperparameters(algorithm.name, env_id, config.hyperparameters)
    if environment is None:
        kwargs = {**hyperparameters.env_kwargs, **config.env_kwargs}
        environment = Environment.find(env_id, kwargs, backend=config.backend)
    steps = hyperparameters.n_timesteps or _DEFAULT_STEPS if config.steps is None else config.steps
    training = Training(
        config=config,
        algorithm=algorithm,
        environment=environment,
        hyperparameters=hyperparameters,
        steps=steps,
        seed=config.seed or 0,
        original=original,
    )
    _check(training)
    return training


def _with_environment(config: TrainConfig) -> tuple[TrainConfig, str]:
    """The config with its environment, which by default is that of the agent it starts from."""
    if config.env is not None:
        return config, config.env
    start = config.init if config.ticket is None else config.ticket.of
    files = None if start is None else find_agent(agent_path(start))
    if files is None or files.env_id is None:
        raise InvalidArgumentError(
            "`env` is missing: give the environment to train in, such as Hopper-v4"
        )
    kwargs = config.env_kwargs or files.env_kwargs
    return dataclasses.replace(config, env=files.env_id, env_kwargs=kwargs), files.env_id


def _check(training: Training) -> None:
    algorithm, config = training.algorithm, training.config
    check_actions(algorithm, training.environment)
    waits = training.hyperparameters.model.get("learning_starts", 0)
    if not algorithm.on_policy and waits >= training.steps:
        raise InvalidArgumentError(
            f"{algorithm.name} would learn nothing: it first collects {waits:,} steps, and the "
            f"training has {training.steps:,}; give more steps, or "
            f'`hyperparameters=["learning_starts:{training.steps // 10}"]`'
        )
    if config.qat is not None:
        check_supports_qat(algorithm)
    if training.original is not None:
        training.original.check_same(
            {
                # As the settings come back from a file.
                **yaml.safe_load(yaml.safe_dump(dict(training.hyperparameters.raw))),
                "env": training.environment.id,
                "env_kwargs": dict(training.environment.kwargs),
                "seed": training.seed,
                "steps": training.steps,
            }
        )
    check_tracker(config.track)


def _file_name(env_id: str) -> str:
    """An environment's id in the names of files: without the module that registers it."""
    return env_id.rpartition(":")[2].replace("/", "-")
