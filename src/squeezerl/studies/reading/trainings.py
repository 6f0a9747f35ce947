"""A grid of agents to train: algorithms, environments and seeds, with all settings resolved."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from squeezerl.errors import HyperparameterError
from squeezerl.evaluation.environment import Environment
from squeezerl.evaluation.evaluate import MAX_SEED
from squeezerl.pipeline.place import Place
from squeezerl.runtimes.sb3_predictor import import_contrib, import_sb3
from squeezerl.studies.estimate import learning_s
from squeezerl.studies.reading.yaml_node import YamlNode, each
from squeezerl.studies.study import Training, agent_name

if TYPE_CHECKING:
    from squeezerl.training.hyperparameters import Hyperparameters

TRAIN_KEYS = (
    *("algorithms", "environments", "seeds", "steps", "hyperparameters", "env_kwargs"),
    *("evaluations", "eval_episodes", "name"),
)
_DEFAULT = "default"
_PUBLISHED = "published"
_MOST_SEEDS = 10_000
# Settings for which a training has fields of its own.
_ELSEWHERE = ("n_timesteps", "env_kwargs")


def read_trainings(node: YamlNode, find: Callable[[Place], Environment]) -> tuple[Training, ...]:
    """The trainings of one grid.

    Args:
        node: the value of `train`.
        find: gives the environment at a place.

    Raises:
        StudyError: if something is unknown, impossible or does not fit together.
    """
    parts = node.mapping(TRAIN_KEYS, required=("algorithms", "environments"))
    with node.blamed():
        import_sb3()
        import_contrib()
    # Imported here: it needs Stable-Baselines3, which is an extra.
    from squeezerl.training.algorithms import ALGORITHMS

    algorithms = parts["algorithms"].items_or_one()
    names = each(parts["algorithms"], lambda item: item.choice(tuple(ALGORITHMS)))
    seeds = _read_seeds(parts["seeds"]) if "seeds" in parts else (0,)
    each(parts["environments"], YamlNode.text)
    trainings: list[Training] = []
    for env_node in parts["environments"].items_or_one():
        for name, algorithm_node in zip(names, algorithms, strict=True):
            trainings += _read_cell(parts, name, algorithm_node, env_node, seeds, find)
    return tuple(trainings)


def _read_cell(
    parts: dict[str, YamlNode],
    algorithm: str,
    algorithm_node: YamlNode,
    env_node: YamlNode,
    seeds: Sequence[int],
    find: Callable[[Place], Environment],
) -> list[Training]:
    """One algorithm in one environment, with all seeds."""
    from squeezerl.training.algorithms import check_actions, find_algorithm
    from squeezerl.training.config import TrainConfig
    from squeezerl.training.resolve import resolve

    env_id = env_node.text()
    given: dict[str, YamlNode] = {}
    if "hyperparameters" in parts:
        given = _read_hyperparameters(parts["hyperparameters"], algorithm)
    with parts.get("hyperparameters", algorithm_node).blamed():
        loaded = _load_hyperparameters(given, algorithm, env_id)
    kwargs = dict(loaded.env_kwargs)
    if "env_kwargs" in parts:
        kwargs |= {key.text(): value.plain() for key, value in parts["env_kwargs"].entries()}
    place = Place(env_id=env_id, env_kwargs=kwargs)
    with env_node.blamed():
        environment = find(place)
        check_actions(find_algorithm(algorithm), environment)
    place = place.found(environment)
    steps, blame = None, algorithm_node
    if "steps" in parts and (step_node := _steps_of(parts["steps"], algorithm)) is not None:
        blame = step_node
        steps = step_node.whole(1, 10**10)
    evaluations = parts["evaluations"].whole(1, 10_000) if "evaluations" in parts else 20
    eval_episodes = parts["eval_episodes"].whole(1, 10_000) if "eval_episodes" in parts else 10
    suffix = parts["name"].text() if "name" in parts else ""
    with blame.blamed():
        for seed in seeds:
            config = TrainConfig(
                algorithm=algorithm,
                env=env_id,
                hyperparameters=loaded.raw,
                steps=steps,
                seed=seed,
                evaluations=evaluations,
                eval_episodes=eval_episodes,
            )
            training = resolve(config, environment)
    raw = {key: value for key, value in loaded.raw.items() if key not in _ELSEWHERE}
    learning = learning_s(
        algorithm,
        place,
        on_policy=training.algorithm.on_policy,
        steps=training.steps,
        evaluation_episodes=evaluations * eval_episodes,
        model=loaded.model,
        parameters=_parameters(algorithm, loaded.policy_kwargs.get("net_arch"), environment),
    )
    return [
        Training(
            name=agent_name(algorithm, place, suffix),
            algorithm=algorithm,
            place=place,
            seed=seed,
            steps=training.steps,
            hyperparameters=json.loads(json.dumps(raw)),
            evaluations=evaluations,
            eval_episodes=eval_episodes,
            learning_s=learning,
            scratch_bytes=2 * training.replay_bytes,
        )
        for seed in seeds
    ]


_WIDTHS = {"trpo": (64, 64), "ppo": (64, 64), "a2c": (64, 64), "dqn": (64, 64), "qrdqn": (64, 64)}
_WIDTHS |= {"ddpg": (400, 300), "td3": (400, 300)}
_NETWORKS = {"td3": 3, "sac": 3, "tqc": 3, "dqn": 1, "qrdqn": 1}


def _parameters(algorithm: str, net_arch: Any, environment: Environment) -> int:
    """Roughly how many parameters all networks that learn have."""
    if isinstance(net_arch, dict):
        net_arch = next(iter(net_arch.values()), None)
    widths = [int(np.prod(environment.observation_shape))]
    widths += net_arch if net_arch is not None else _WIDTHS.get(algorithm, (256, 256))
    one = sum(a * b for a, b in itertools.pairwise(widths))
    return one * _NETWORKS.get(algorithm, 2)


def _read_seeds(node: YamlNode) -> tuple[int, ...]:
    """The seeds: a list, or how many."""
    if node.is_list:
        return each(node, lambda item: item.whole(0, MAX_SEED))
    return tuple(range(node.whole(1, _MOST_SEEDS)))


def _steps_of(node: YamlNode, algorithm: str) -> YamlNode | None:
    """The node with the number of steps; `None` for the published number."""
    from squeezerl.training.algorithms import ALGORITHMS

    found: YamlNode | None = node
    if node.is_mapping:
        values = node.mapping((*ALGORITHMS, _DEFAULT))
        found = values.get(algorithm, values.get(_DEFAULT))
    if found is None or found.plain() == _PUBLISHED:
        return None
    return found


def _read_hyperparameters(node: YamlNode, algorithm: str) -> dict[str, YamlNode]:
    """The node of each setting for one algorithm."""
    from squeezerl.training.algorithms import ALGORITHMS

    values = node.mapping((*ALGORITHMS, _DEFAULT))
    settings: dict[str, YamlNode] = {}
    for name in (_DEFAULT, algorithm):
        if name in values:
            settings |= {key.text(): item for key, item in values[name].entries()}
    return settings


def _load_hyperparameters(
    settings: Mapping[str, YamlNode], algorithm: str, env_id: str
) -> Hyperparameters:
    """The published settings, replaced by those that are given."""
    from squeezerl.training.hyperparameters import load_hyperparameters

    pairs = {}
    for key, node in settings.items():
        value = node.plain()
        pairs[key] = f"{key}:{value if isinstance(value, str) else repr(value)}"
    try:
        return load_hyperparameters(algorithm, env_id, tuple(pairs.values()))
    except HyperparameterError:
        # If one setting alone is wrong, name its line.
        for key, pair in pairs.items():
            with settings[key].blamed():
                load_hyperparameters(algorithm, env_id, (pair,))
        raise
