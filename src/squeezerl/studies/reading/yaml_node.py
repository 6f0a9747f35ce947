"""YAML that is read node by node, so that each error names the file and the line."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import yaml

from squeezerl.errors import SqueezeRLError, StudyError, did_you_mean

_MAX_BYTES = 2**20
_MAX_DEPTH = 20
_MAX_NODES = 100_000
_MAX_SHOWN = 80

T = TypeVar("T")


class YamlNode:
    """One value in a YAML file, and the errors about it.

    Args:
        node: as PyYAML composes it; only plain data is constructed from it.
        file: the file's name in messages.
        name: the value's name in messages.
    """

    def __init__(self, node: yaml.Node, file: str, name: str) -> None:
        self._node, self._file, self.name = node, file, name

    @property
    def line(self) -> int:
        """The line, counted from 1."""
        return int(self._node.start_mark.line) + 1

    @property
    def place(self) -> str:
        """`FILE:LINE`."""
        return f"{self._file}:{self.line}"

    def error(self, message: str) -> StudyError:
        """The error for something that is wrong here."""
        return StudyError(f"{self.place}: {message}")

    @contextmanager
    def blamed(self) -> Iterator[None]:
        """Give errors of the block the file and line of this value, unless they have their own."""
        try:
            yield
        except SqueezeRLError as error:
            if isinstance(error, StudyError) and str(error).startswith(f"{self._file}:"):
                raise
            raise self.error(str(error)) from error

    @property
    def is_mapping(self) -> bool:
        """Whether it is a mapping with keys."""
        return isinstance(self._node, yaml.MappingNode)

    @property
    def is_list(self) -> bool:
        """Whether it is a list."""
        return isinstance(self._node, yaml.SequenceNode)

    @property
    def is_empty(self) -> bool:
        """Whether there is no value."""
        return isinstance(self._node, yaml.ScalarNode) and self.plain() is None

    def entries(self) -> list[tuple[YamlNode, YamlNode]]:
        """Keys and values of a mapping, in order.

        Raises:
            StudyError: if it is not a mapping, or has a key twice.
        """
        if not isinstance(self._node, yaml.MappingNode):
            raise self.error(f"{self.name} must be keys with values, not {self._shown()}")
        seen: set[str] = set()
        pairs = []
        for key_node, value_node in self._node.value:
            key = YamlNode(key_node, self._file, f"a key of {self.name}")
            text = key.text()
            if text in seen:
                raise key.error(f"{text} is given twice in {self.name}")
            seen.add(text)
            pairs.append((key, YamlNode(value_node, self._file, text)))
        return pairs

    def mapping(
        self, known: Collection[str], required: Collection[str] = ()
    ) -> dict[str, YamlNode]:
        """The values by key.

        Raises:
            StudyError: if a key is not known, or a required one is missing.
        """
        values = {}
        for key, value in self.entries():
            text = key.text()
            if text not in known:
                raise key.error(f"unknown key {unknown(text, known, f'in {self.name}')}")
            values[text] = value
        for text in required:
            if text not in values:
                raise self.error(f"{self.name} lacks {text}")
        return values

    def items(self) -> list[YamlNode]:
        """The items of a list that is not empty.

        Raises:
            StudyError: if it is not such a list.
        """
        if not isinstance(self._node, yaml.SequenceNode):
            raise self.error(f"{self.name} must be a list, not {self._shown()}")
        if not self._node.value:
            raise self.error(f"{self.name} is an empty list")
        return [YamlNode(item, self._file, f"an item of {self.name}") for item in self._node.value]

    def items_or_one(self) -> list[YamlNode]:
        """The items of a list; any other value is its own only item."""
        return self.items() if self.is_list else [self]

    def text(self) -> str:
        """Text, as it is written.

        Raises:
            StudyError: if it is not text.
        """
        value = self.plain()
        if not isinstance(value, str):
            raise self.error(f"{self.name} must be text, not {self._shown()}")
        return value

    def choice(self, known: Collection[str]) -> str:
        """One of some words.

        Raises:
            StudyError: if it is not one of them.
        """
        text = self.text()
        if text not in known:
            raise self.error(f"{self.name}: unknown {unknown(text, known)}")
        return text

    def whole(self, low: int, high: int) -> int:
        """A whole number between two bounds, also written 1_000 or 1e6.

        Raises:
            StudyError: if it is not such a number.
        """
        number = self._number()
        if number is None or number != int(number) or not low <= number <= high:
            raise self.error(
                f"{self.name} must be a whole number from {low:,} to {high:,}, not {self._shown()}"
            )
        return int(number)

    def number(self, low: float, high: float) -> float:
        """A number between two bounds.

        Raises:
            StudyError: if it is not such a number.
        """
        number = self._number()
        if number is None or not low <= number <= high:
            raise self.error(
                f"{self.name} must be a number from {low:g} to {high:g}, not {self._shown()}"
            )
        return number

    def switch(self) -> bool:
        """True or false.

        Raises:
            StudyError: if it is neither.
        """
        value = self.plain()
        if not isinstance(value, bool):
            raise self.error(f"{self.name} must be true or false, not {self._shown()}")
        return value

    def plain(self) -> Any:
        """The value as numbers, text, lists and dictionaries.

        Raises:
            StudyError: if it is anything else.
        """
        _check_size(self._node, self._file)
        loader = yaml.SafeLoader("")
        try:
            value = loader.construct_document(self._node)
            json.dumps(value, allow_nan=False)
        except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
            raise self.error(f"{self.name} is not plain data: {_reason(error)}") from error
        finally:
            loader.dispose()
        return value

    def _number(self) -> float | None:
        value = self.plain()
        if isinstance(value, str):
            try:  # YAML reads 1e6 as text, but everyone who writes it means the number
                value = float(value)
            except ValueError:
                return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        return value if math.isfinite(value) else None

    def _shown(self) -> str:
        if self.is_mapping:
            return "keys with values"
        if self.is_list:
            return "a list"
        return repr(self.plain())[:_MAX_SHOWN] if not self.is_empty else "nothing"


def read_yaml_node(path: Path) -> tuple[YamlNode, str]:
    """The root of a YAML file, and the file's text.

    Raises:
        StudyError: if the file cannot be read, or is not YAML.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise StudyError(f"{path}: larger than any study should be")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise StudyError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise StudyError(f"{path}: is not text ({error.reason})") from error
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{path}:{mark.line + 1}" if mark else str(path)
        raise StudyError(f"{place}: not YAML: {error.problem or error}") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise StudyError(f"{path}: not YAML: {_reason(error)}") from error
    if node is None:
        raise StudyError(f"{path}: is empty")
    return YamlNode(node, str(path), "the study"), text


def unknown(name: str, known: Collection[str], where: str = "") -> str:
    """The message about an unknown name: `'x' WHERE; did you mean y? known are ...`."""
    hint = did_you_mean(name, known) or ";"
    shown = repr(name[:_MAX_SHOWN])
    return f"{' '.join(filter(None, (shown, where)))}{hint} known are {', '.join(known)}"


def each(node: YamlNode, read: Callable[[YamlNode], T]) -> tuple[T, ...]:
    """Read the items of a list, or the only item; no value may be given twice."""
    values: list[T] = []
    for item in node.items_or_one():
        value = read(item)
        if value in values:
            raise item.error(f"{value} is given twice in {node.name}")
        values.append(value)
    return tuple(values)


def _reason(error: Exception) -> str:
    return " ".join(str(getattr(error, "problem", None) or error).split())[:200]


def _check_size(root: yaml.Node, file: str) -> None:
    """Refuse nodes that are too large: aliases let a small file grow without end."""
    count, open_nodes = 0, [(root, 0)]
    while open_nodes:
        node, depth = open_nodes.pop()
        count += 1
        if count > _MAX_NODES or depth > _MAX_DEPTH:
            raise StudyError(f"{file}:{node.start_mark.line + 1}: nested too deep, or too large")
        if isinstance(node, yaml.MappingNode):
            open_nodes += [(part, depth + 1) for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            open_nodes += [(part, depth + 1) for part in node.value]
