"""How the house grows: named things register themselves, also from outside the package.

A plugin is a module that registers methods, runtimes, sources, meters or executors when it is
imported. Plugins come from three places: the entry points of installed packages (group
`squeezerl.plugins`), `load_plugin`, and the environment variable `SQUEEZERL_PLUGINS`, through which
the processes that this one starts get the same plugins.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Generic, TypeVar

from squeezerl.errors import InvalidArgumentError, SqueezeRLError

PLUGINS_VARIABLE = "SQUEEZERL_PLUGINS"
_ENTRY_POINTS = "squeezerl.plugins"
_loaded: set[str] = set()

T = TypeVar("T")


class Registry(Generic[T]):
    """Things of one sort, in the order of their names.

    Args:
        sort: what one of them is called in messages, for example "runtime".
        error: what an unknown name raises.
        built_in: imports the modules that register the library's own; called once, on first use.
    """

    def __init__(
        self,
        sort: str,
        *,
        error: type[SqueezeRLError] = InvalidArgumentError,
        built_in: Callable[[], None] = lambda: None,
    ) -> None:
        self._sort, self._error = sort, error
        self._built_in: Callable[[], None] | None = built_in
        self._things: dict[str, T] = {}

    def register(self, name: str, thing: T) -> T:
        """Add a thing; the same name again replaces it only if its module was loaded again.

        Raises:
            InvalidArgumentError: if something else has this name already.
        """
        known = self._things.get(name)
        if known is not None and known != thing and not _is_loaded_again(known, thing):
            raise InvalidArgumentError(
                f"{self._sort} {name!r} is registered already, by {_home(known)}"
            )
        self._things[name] = thing
        return thing

    def get(self, name: str) -> T:
        """The thing of that name.

        Raises:
            SqueezeRLError: if there is none; it names those that there are.
        """
        self._load_built_in()
        if name not in self._things:
            load_plugins()
        if name not in self._things:
            raise self._error(f"unknown {self._sort} {name!r}; known are {', '.join(self.names)}")
        return self._things[name]

    def __contains__(self, name: object) -> bool:
        self._load_built_in()
        if name not in self._things:
            load_plugins()
        return name in self._things

    def __iter__(self) -> Iterator[T]:
        self._load()
        return iter([self._things[name] for name in sorted(self._things)])

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all."""
        self._load()
        return tuple(sorted(self._things))

    def _load(self) -> None:
        self._load_built_in()
        load_plugins()

    def _load_built_in(self) -> None:
        if self._built_in is not None:
            built_in, self._built_in = self._built_in, None
            built_in()


def load_plugin(plugin: str | Path) -> None:
    """Import a module, by its name or its file, that registers something of yours.

    Processes that this one starts import it, too.

    Raises:
        InvalidArgumentError: if it cannot be imported.
    """
    name = str(plugin)
    if name.endswith(".py"):
        name = str(Path(name).absolute())
    _import(name)
    named = [part for part in os.environ.get(PLUGINS_VARIABLE, "").split(os.pathsep) if part]
    if name not in named:
        os.environ[PLUGINS_VARIABLE] = os.pathsep.join([*named, name])


def load_plugins() -> None:
    """Import the plugins of installed packages and of `SQUEEZERL_PLUGINS`, each once."""
    for name in _installed_plugins():
        _import(name)
    for name in os.environ.get(PLUGINS_VARIABLE, "").split(os.pathsep):
        if name:
            _import(name)


@functools.cache
def _installed_plugins() -> tuple[str, ...]:
    from importlib.metadata import entry_points  # late, so that measured processes stay small

    return tuple(entry.module for entry in entry_points(group=_ENTRY_POINTS))


def _import(name: str) -> None:
    if name in _loaded:
        return
    _loaded.add(name)
    try:
        if name.endswith(".py"):
            _import_file(Path(name))
        else:
            importlib.import_module(name)
    except Exception as error:  # a plugin's own code may raise anything
        _loaded.discard(name)
        raise InvalidArgumentError(f"plugin {name} cannot be imported: {error}") from error


def _import_file(path: Path) -> None:
    """Import a file as the module of its name, where pickled objects of it will look for it."""
    module_name = path.stem
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise InvalidArgumentError("no such file")
    present = sys.modules.get(module_name)
    if present is not None:
        if getattr(present, "__file__", None) == str(path):
            return
        raise InvalidArgumentError(f"a module {module_name!r} is loaded already; rename the file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[module_name]
        raise


def _is_loaded_again(known: object, thing: object) -> bool:
    """Whether two things are of classes that differ only in when their module was loaded."""
    first, second = (x if isinstance(x, type) else type(x) for x in (known, thing))
    same_place = (first.__module__, first.__qualname__) == (second.__module__, second.__qualname__)
    return first is not second and same_place


def _home(thing: object) -> str:
    return str(getattr(thing, "__module__", type(thing).__module__))
