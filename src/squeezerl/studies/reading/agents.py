"""The agents in a study's file: existing ones are loaded, trainings get all their settings."""

from __future__ import annotations

import dataclasses
import fnmatch
import glob
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from squeezerl.agents.load import DEMO, demo_agent_path, load_agent
from squeezerl.evaluation.environment import Environment
from squeezerl.pipeline.place import Place
from squeezerl.studies.reading.trainings import read_trainings
from squeezerl.studies.reading.yaml_node import YamlNode
from squeezerl.studies.study import ExistingAgent, Training, agent_name

_KEYS = ("path", "env", "env_kwargs", "environments", "name")
_GLOB = "*?["


class Environments:
    """Environments by name and arguments, each made once."""

    def __init__(self) -> None:
        self._found: dict[str, Environment] = {}

    def find(self, place: Place) -> Environment:
        """The environment at a place; see `Environment.find`."""
        key = json.dumps(place.params, sort_keys=True)
        if key not in self._found:
            self._found[key] = place.find()
        return self._found[key]


def read_agents(
    node: YamlNode, folder: Path, elsewhere: YamlNode | None
) -> tuple[tuple[ExistingAgent, ...], tuple[Training, ...]]:
    """The agents that exist and those to train.

    Args:
        node: the list of agents.
        folder: where relative paths start.
        elsewhere: which environments to play in instead of those that agents were trained on.

    Raises:
        StudyError: if something cannot be read, does not fit, or is listed twice.
    """
    environments = Environments()
    moved = _read_moved(elsewhere, environments)
    existing: list[ExistingAgent] = []
    trainings: list[Training] = []
    for item in node.items():
        if item.is_mapping and any(key.text() == "train" for key, _ in item.entries()):
            new = read_trainings(item.mapping(("train",))["train"], environments.find)
            for training in new:
                _check_new(training, trainings, item)
                trainings.append(training)
            continue
        for agent in _read_existing(item, folder, moved, environments):
            known = [(a.name, a.agent.key, a.place) for a in existing]
            if (agent.name, agent.agent.key, agent.place) not in known:
                existing.append(agent)
    if elsewhere is not None:
        trained_on = {given.agent.source.env_id for given in existing}
        for key, _ in elsewhere.entries():
            if key.text() not in trained_on:
                raise key.error(f"none of the agents was trained on {key.text()}")
    return _with_own_names(existing, {training.name for training in trainings}), tuple(trainings)


def _check_new(training: Training, trainings: list[Training], item: YamlNode) -> None:
    for other in trainings:
        if other.name == training.name:
            same = dataclasses.replace(other, seed=training.seed) == training
            if other.seed == training.seed or not same:
                raise item.error(
                    f"{training.name} is trained twice"
                    + (f" with seed {training.seed}" if same else ", with other settings")
                    + "; give one of them another name with name:"
                )
        if dataclasses.replace(other, name=training.name) == training:
            raise item.error(
                f"{training.name} with seed {training.seed} is the same training as {other.name}"
            )


def _read_moved(node: YamlNode | None, environments: Environments) -> Mapping[str, Place]:
    moved = {}
    for key, value in node.entries() if node is not None else ():
        place = Place(env_id=value.text())
        with value.blamed():
            environments.find(place)
        moved[key.text()] = place
    return moved


def _read_existing(
    item: YamlNode, folder: Path, moved: Mapping[str, Place], environments: Environments
) -> list[ExistingAgent]:
    """The agents that one item of the list names."""
    parts = item.mapping(_KEYS, required=("path",)) if item.is_mapping else {"path": item}
    paths = _paths(parts["path"], folder)
    wanted: list[str] | None = None
    if "environments" in parts:
        wanted = [part.text() for part in parts["environments"].items_or_one()]
    kwargs: dict[str, Any] | None = None
    if "env_kwargs" in parts:
        kwargs = {key.text(): value.plain() for key, value in parts["env_kwargs"].entries()}
    agents = []
    for path in paths:
        with parts["path"].blamed():
            agent = load_agent(path)
        source = agent.source
        if wanted is not None and not any(
            fnmatch.fnmatchcase(source.env_id or "", pattern) for pattern in wanted
        ):
            continue
        blame = parts.get("env", parts["path"])
        place = Place(env_id=source.env_id or "", env_kwargs=source.env_kwargs)
        if "env" in parts:
            place = dataclasses.replace(place, env_id=parts["env"].text())
        elif source.env_id in moved:
            place = dataclasses.replace(place, env_id=moved[source.env_id or ""].env_id)
        elif source.env_id is None:
            raise parts["path"].error(
                f"{path} does not say what it was trained on; add env: to its item"
            )
        if kwargs is not None:
            place = dataclasses.replace(place, env_kwargs=kwargs)
        with blame.blamed():
            environment = environments.find(place)
            environment.check_fits(agent.network)
        place = place.found(environment)
        suffix = parts["name"].text() if "name" in parts else ""
        name = agent_name(source.label, place, suffix)
        agents.append(ExistingAgent(name=name, agent=agent, place=place, path=path))
    if not agents:
        raise parts["environments"].error(
            f"none of the {len(paths)} agents was trained on one of {', '.join(wanted or ())}"
        )
    return agents


def _paths(node: YamlNode, folder: Path) -> list[Path]:
    """The paths that match a path or pattern; relative ones start in the study's folder."""
    text = node.text()
    if text == DEMO and not (folder / DEMO).exists():
        return [demo_agent_path()]
    if not any(letter in text for letter in _GLOB):
        return [Path(os.path.normpath(folder / text))]
    found = sorted(glob.glob(str(folder / text)))  # noqa: PTH207 - Path.glob takes no absolute patterns
    if not found:
        raise node.error(f"no file or folder matches {text}")
    return [Path(os.path.normpath(path)) for path in found]


def _with_own_names(agents: list[ExistingAgent], taken: set[str]) -> tuple[ExistingAgent, ...]:
    """Agents that would share a name get the hash of their policies and arguments as a suffix."""
    named = []
    for agent in agents:
        shared = agent.name in taken or sum(a.name == agent.name for a in agents) > 1
        what = json.dumps([agent.agent.key, agent.place.params], sort_keys=True)
        mark = hashlib.sha256(what.encode()).hexdigest()[:8]
        name = f"{agent.name}-{mark}" if shared else agent.name
        named.append(dataclasses.replace(agent, name=name))
    return tuple(named)
