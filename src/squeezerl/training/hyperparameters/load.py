"""From an algorithm, an environment and what the user gave to the settings for training."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from squeezerl.agents.sources.stable_baselines3.files import read_yaml
from squeezerl.errors import CheckpointError, HyperparameterError
from squeezerl.training.hyperparameters.check import shown, unknown
from squeezerl.training.hyperparameters.literal import read_literal
from squeezerl.training.hyperparameters.network import (
    POLICIES,
    read_policy_kwargs,
    write_policy_kwargs,
)
from squeezerl.training.hyperparameters.read import SETTINGS, Hyperparameters, read_settings
from squeezerl.training.hyperparameters.tables import ALGORITHMS

_YAML = (".yml", ".yaml")
_PAIR = re.compile(r"\s*([A-Za-z_]\w*)\s*:\s*(.*?)\s*", re.DOTALL)
_WORDS: dict[str, bool | None] = {"true": True, "false": False, "null": None, "none": None}
# Kept as text, for rl-zoo to read again.
_CODE = ("policy_kwargs", "normalize", "env_kwargs")


def load_hyperparameters(algorithm: str, env_id: str, given: Sequence[str] = ()) -> Hyperparameters:
    """Settings for an algorithm on an environment: those that come with SqueezeRL, or the user's.

    Args:
        algorithm: one of the nine, for example "ppo".
        env_id: a Gymnasium id; unknown ones take the entry `default`.
        given: at most one path of a YAML file, whose entry for this environment (or `default`, or
            all of a config.yml) replaces the one that comes with SqueezeRL; and pairs such as
            "learning_rate:1e-3", each of which replaces one setting. Settings of the networks,
            "net_arch:[64, 64]", replace that one of `policy_kwargs`.

    Raises:
        HyperparameterError: if a file cannot be read, or a setting is unknown, impossible or not
            supported.
    """
    if algorithm not in ALGORITHMS:
        raise unknown("algorithm", algorithm, ALGORITHMS)
    files = [item for item in given if _is_file(item)]
    if len(files) > 1:
        raise HyperparameterError(f"give one file of settings, not {' and '.join(files)}")
    path = Path(files[0]) if files else Path(__file__).with_name(f"{algorithm}.yml")
    settings = dict(_entry(path, env_id))
    for item in given:
        if item not in files:
            settings |= _override(algorithm, settings, item)
    return read_settings(algorithm, settings)


def _is_file(item: str) -> bool:
    return item.lower().endswith(_YAML) or not _PAIR.fullmatch(item)


def _entry(path: Path, env_id: str) -> Mapping[str, Any]:
    try:
        data = read_yaml(path)
    except CheckpointError as error:
        is_yaml = path.suffix.lower() in _YAML
        hint = "" if is_yaml else "; give a YAML file, or pairs such as gamma:0.99"
        raise HyperparameterError(f"{error}{hint}") from error
    if not SETTINGS.isdisjoint(data):
        return data
    names = (env_id, env_id.rpartition(":")[2], "default")
    name = next((name for name in names if name in data), None)
    if name is None:
        raise unknown(f"environment in {path}:", env_id, [str(key) for key in data])
    entry = data[name]
    if not isinstance(entry, dict):
        raise HyperparameterError(f"{path}: {name} is {shown(entry)}, not settings")
    return entry


def _override(algorithm: str, settings: Mapping[str, Any], item: str) -> dict[str, Any]:
    match = _PAIR.fullmatch(item)
    assert match is not None  # else it would have been taken for a file
    key, text = match[1], match[2]
    value = _read_value(text)
    if key in POLICIES[algorithm]:
        current = read_policy_kwargs(algorithm, settings.get("policy_kwargs"))
        changed = read_policy_kwargs(algorithm, {**current, key: value})
        return {"policy_kwargs": write_policy_kwargs(changed)}
    return {key: text if key in _CODE and isinstance(value, dict) else value}


def _read_value(text: str) -> Any:
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if re.fullmatch(r"[A-Za-z][\w.+-]*", text):  # a word: auto, lin_3e-4, ornstein-uhlenbeck, ReLU
        return text
    value = read_literal(text)
    return list(value) if isinstance(value, tuple) else value
