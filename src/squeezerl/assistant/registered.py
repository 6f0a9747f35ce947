"""Passages about what is registered: methods, runtimes, meters, formats and sources."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from squeezerl.agents.load import SOURCES
from squeezerl.assistant.passage import Passage
from squeezerl.formats.base import FORMATS
from squeezerl.measurement.meters.meter import METERS
from squeezerl.methods.base import SPECS
from squeezerl.registry import Registry
from squeezerl.runtimes.base import RUNTIMES

_REGISTRIES: dict[str, Registry[Any]] = {
    "method": SPECS, "runtime": RUNTIMES, "energy meter": METERS, "format": FORMATS,
    "source of agents": SOURCES,
}  # fmt: skip


def registered_passages() -> list[Passage]:
    """One passage for each registered thing, from its own docstrings."""
    return [
        Passage(
            id=f"{sort.split()[-1] if sort != 'source of agents' else 'source'}:{name}",
            title=f"The {sort} {name}",
            text="\n".join(_described(thing)),
            source=f"registered {sort}, {_home(thing).__name__}",
            kind="registry",
        )
        for sort, registry in _REGISTRIES.items()
        for name in registry.names
        for thing in (registry.get(name),)
    ]


def _described(thing: Any) -> Iterator[str]:
    """What the docstrings of its module and class say, and how a method is written."""
    yield (inspect.getdoc(_home(thing)) or "").strip()
    kind = thing if isinstance(thing, type) else type(thing)
    if kind.__doc__ and kind.__module__ != "builtins":
        yield (inspect.getdoc(kind) or "").strip()
    if aliases := getattr(thing, "aliases", None):
        yield "Short: " + ", ".join(f"{short} for {full}" for short, full in aliases.items()) + "."
    for name in ("description", "reads"):
        if isinstance(said := getattr(thing, name, None), str):
            yield f"{name}: {said}"


def _home(thing: Any) -> Any:
    module = inspect.getmodule(thing if inspect.isclass(thing) or callable(thing) else type(thing))
    assert module is not None
    return module
