from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from squeezerl.errors import InvalidArgumentError
from squeezerl.registry import PLUGINS_VARIABLE, Registry, load_plugin


@dataclass(frozen=True)
class Thing:
    number: int


def test_things_are_found_by_name_and_listed_in_order() -> None:
    things: Registry[Thing] = Registry("thing")
    for name, number in (("b", 2), ("a", 1)):
        things.register(name, Thing(number))
    assert things.names == ("a", "b")
    assert [thing.number for thing in things] == [1, 2]
    assert things.get("b") == Thing(2)
    assert "c" not in things
    with pytest.raises(InvalidArgumentError, match="unknown thing 'c'; known are a, b"):
        things.get("c")


def test_a_name_cannot_be_taken_from_another_thing() -> None:
    things: Registry[Thing] = Registry("thing")
    things.register("a", Thing(1))
    things.register("a", Thing(1))
    with pytest.raises(InvalidArgumentError, match="thing 'a' is registered already, by"):
        things.register("a", Thing(2))


def test_a_plugin_that_fails_fails_every_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PLUGINS_VARIABLE, "")
    plugin = tmp_path / "fails_in_a_test.py"
    plugin.write_text("1 / 0\n")
    for _ in range(2):
        with pytest.raises(InvalidArgumentError, match=r"fails_in_a_test\.py .* division by zero"):
            load_plugin(plugin)
    assert os.environ[PLUGINS_VARIABLE] == ""
    with pytest.raises(InvalidArgumentError, match="no such file"):
        load_plugin(tmp_path / "missing_in_a_test.py")


def test_a_plugin_does_not_take_the_place_of_a_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PLUGINS_VARIABLE, "")
    plugin = tmp_path / "json.py"
    plugin.write_text("")
    with pytest.raises(InvalidArgumentError, match="'json' is loaded already; rename the file"):
        load_plugin(plugin)
