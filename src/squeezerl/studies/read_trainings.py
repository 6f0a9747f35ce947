"""A grid of agents to train: algorithms, environments and seeds, with settings resolved."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from squeezerl.agents.sb3_model import import_contrib, import_sb3
from squeezerl.evaluation.environment import Environment
from squeezerl.evaluation.evaluate import MAX_SEED
from squeezerl.studies.study import Place, Training
from squeezerl.studies.yaml_node import YamlNode, each

TRAIN_KEYS = (
    *("algorithms", "environments", "seeds", "steps", "hyperparameters", "env_kwargs"),
    *("evaluations", "eval_episodes", "name"),
)
_DEFAULT = "default"
_PUBLISHED = "published"
_STEPS_UNLESS_PUBLISHED = 1_000_000
_MOST_SEEDS = 10_000
# What a training's identity has places of its own for.
_ELSEWHERE = ("n_timesteps", "env_kwargs")


def read_trainings(node: YamlNode, find: Callable[[Place], Environment]) -> tuple[Training, ...]:
    """The trainings of one grid.

    Args:
        node: what stands at `train`.
        find: gives the environment at a place.

    Raises:
        StudyError: for what is unknown, impossible or does not fit together.
    """
    parts = node.mapping(TRAIN_KEYS, required=("algorithms", "environments"))
    with node.blamed():
        import_sb3()
        import_contrib()
    # Imports Stable-Baselines3, which is an extra.
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
    from squeezerl.training.hyperparameters import load_hyperparameters
    from squeezerl.training.settings import TrainingSettings

    env_id = env_node.text()
    given: list[str] = []
    if "hyperparameters" in parts:
        given = _read_hyperparameters(parts["hyperparameters"], algorithm)
    with parts.get("hyperparameters", algorithm_node).blamed():
        loaded = load_hyperparameters(algorithm, env_id, given)
    kwargs = dict(loaded.env_kwargs)
    if "env_kwargs" in parts:
        kwargs |= {key.text(): value.plain() for key, value in parts["env_kwargs"].entries()}
    place = Place(env_id=env_id, env_kwargs=kwargs)
    with env_node.blamed():
        environment = find(place)
        check_actions(find_algorithm(algorithm), environment)
    steps = loaded.n_timesteps or _STEPS_UNLESS_PUBLISHED
    blame = algorithm_node
    if "steps" in parts and (step_node := _steps_of(parts["steps"], algorithm)) is not None:
        blame = step_node
        steps = step_node.whole(1, 10**10)
    evaluations, eval_episodes = 20, 10
    if "evaluations" in parts:
        evaluations = parts["evaluations"].whole(1, 10_000)
    if "eval_episodes" in parts:
        eval_episodes = parts["eval_episodes"].whole(1, 10_000)
    suffix = parts["name"].text() if "name" in parts else ""
    with blame.blamed():
        for seed in seeds:
            TrainingSettings(
                algorithm=find_algorithm(algorithm),
                environment=environment,
                hyperparameters=loaded,
                steps=steps,
                seed=seed,
                evaluations=evaluations,
                eval_episodes=eval_episodes,
            )
    raw = {key: value for key, value in loaded.raw.items() if key not in _ELSEWHERE}
    env_name = env_id.rpartition(":")[2].replace("/", "-")
    return [
        Training(
            name="-".join(filter(None, (algorithm, env_name, suffix))),
            algorithm=algorithm,
            place=place,
            seed=seed,
            steps=steps,
            hyperparameters=json.loads(json.dumps(raw)),
            evaluations=evaluations,
            eval_episodes=eval_episodes,
        )
        for seed in seeds
    ]


def _read_seeds(node: YamlNode) -> tuple[int, ...]:
    """A list of them, or how many."""
    if node.is_list:
        return each(node, lambda item: item.whole(0, MAX_SEED))
    return tuple(range(node.whole(1, _MOST_SEEDS)))


def _steps_of(node: YamlNode, algorithm: str) -> YamlNode | None:
    """Where the number of steps stands; `None` for the published one."""
    from squeezerl.training.algorithms import ALGORITHMS

    found: YamlNode | None = node
    if node.is_mapping:
        values = node.mapping((*ALGORITHMS, _DEFAULT))
        found = values.get(algorithm, values.get(_DEFAULT))
    if found is None or found.plain() == _PUBLISHED:
        return None
    return found


def _read_hyperparameters(node: YamlNode, algorithm: str) -> list[str]:
    """The settings for one algorithm, as `load_hyperparameters` takes them."""
    from squeezerl.training.algorithms import ALGORITHMS

    values = node.mapping((*ALGORITHMS, _DEFAULT))
    merged: dict[str, Any] = {}
    for name in (_DEFAULT, algorithm):
        if name in values:
            merged |= {key.text(): item.plain() for key, item in values[name].entries()}
    return [
        f"{key}:{value if isinstance(value, str) else repr(value)}" for key, value in merged.items()
    ]
