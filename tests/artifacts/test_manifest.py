from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from forgery import read_manifest
from hypothesis import given
from hypothesis import strategies as st

from squeezerl.artifacts.artifact import read_artifact
from squeezerl.artifacts.manifest import MANIFEST_NAME, Manifest
from squeezerl.errors import ArtifactError
from squeezerl.records import Calibration, ObservationsRecord

ODD_VALUES = [None, True, -1, 1e308, "x", [], [1], [[]], {}, {"kind": 1}]


def test_a_manifest_survives_its_json(any_folder: Path) -> None:
    manifest = read_manifest(any_folder)
    assert Manifest.loads(manifest.dumps()) == manifest


def test_calibration_survives_json(int8_folder: Path) -> None:
    calibration = Calibration(
        observations=4096,
        env_id="Ümläut-v0",
        env_kwargs={"gravity": [0.0, -9.8], "name": None},
        backend="envpool",
        first_seed=7,
        episodes=10,
    )
    observations = ObservationsRecord(count=4096, shape=(3, 4), sha256="0" * 64, origin="ü.npy")
    manifest = dataclasses.replace(
        read_manifest(int8_folder), calibration=calibration, observations=observations
    )
    assert Manifest.loads(manifest.dumps()) == manifest


@pytest.mark.parametrize("version", [0, 1, 2, "3", None, [2]])
def test_another_format_version_is_refused_and_named(int8_folder: Path, version: Any) -> None:
    data = json.loads((int8_folder / MANIFEST_NAME).read_text()) | {"format_version": version}
    with pytest.raises(ArtifactError, match="this release reads format 3"):
        Manifest.loads(json.dumps(data))


@pytest.mark.parametrize("text", ["", "{", "[]", "1", "null", '"x"', "{}", "[" * 100_000])
def test_text_that_is_no_manifest_is_refused(text: str) -> None:
    with pytest.raises(ArtifactError, match="not a manifest"):
        Manifest.loads(text)


@given(st.text())
def test_no_text_raises_anything_but_an_artifact_error(text: str) -> None:
    with pytest.raises(ArtifactError):
        Manifest.loads(text)


def test_each_field_is_needed(int8_folder: Path) -> None:
    data = json.loads((int8_folder / MANIFEST_NAME).read_text())
    # Manifests of the first release have no record of the observations.
    for name in data.keys() - {"observations", "learning"}:
        with pytest.raises(ArtifactError):
            Manifest.loads(json.dumps({key: data[key] for key in data if key != name}))


def _places(data: Any) -> Iterator[tuple[Any, Any]]:
    """Each container in a JSON value, with each of its keys or indices."""
    if isinstance(data, dict | list):
        keys = list(data) if isinstance(data, dict) else range(len(data))
        for key in keys:
            yield data, key
            yield from _places(data[key])


@pytest.mark.slow
def test_odd_values_anywhere_raise_nothing_but_artifact_errors(int8_folder: Path) -> None:
    path = int8_folder / MANIFEST_NAME
    data = json.loads(path.read_text())
    escaped = set()
    for container, key in list(_places(data)):
        original = container[key]
        for value in ODD_VALUES:
            container[key] = value
            path.write_text(json.dumps(data))
            try:
                read_artifact(int8_folder)
            except ArtifactError:
                pass
            except Exception as error:
                escaped.add(f"{key}={value!r}: {error!r}")
        container[key] = original
    assert not escaped
