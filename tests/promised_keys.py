"""The keys that `--json` promised in their first release; there may be more, none may be lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

KEYS = Path(__file__).parent / "cli" / "json_keys.json"
# Objects with names of packages and arguments of environments as keys.
FREE = ("versions", "libraries", "env_kwargs", "settings")


def key_paths(data: Any, path: str = "") -> set[str]:
    """The path of each key, such as "layers[].name"; of a list its first element counts."""
    if isinstance(data, list):
        return key_paths(data[0], f"{path}[]") if data else set()
    if not isinstance(data, dict) or path.rpartition(".")[2] in FREE:
        return set()
    paths: set[str] = set()
    for key, value in data.items():
        inner = f"{path}.{key}" if path else key
        paths |= {inner} | key_paths(value, inner)
    return paths


def lost_keys(command: str, data: dict[str, Any]) -> set[str]:
    """The keys that a command promises and an object lacks."""
    promised: dict[str, list[str]] = json.loads(KEYS.read_text(encoding="utf-8"))
    return set(promised[command]) - key_paths(data)
