from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from forgery import put_model
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from squeezerl.artifacts.artifact import read_artifact
from squeezerl.artifacts.manifest import Manifest
from squeezerl.errors import ArtifactError, AuditError
from squeezerl.runtimes.onnx_runtime import OnnxRuntime

# The fixture's copy is written anew by each example.
FUZZ = settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
FILES = ["policy.onnx", "manifest.json"]
DAMAGE = st.tuples(st.integers(0, 2**32), st.integers(1, 255))


def _flip(content: bytes, damage: tuple[int, int]) -> bytes:
    position, mask = damage
    flipped = bytearray(content)
    flipped[position % len(content)] ^= mask
    return bytes(flipped)


def _facts(manifest: Manifest) -> tuple[object, ...]:
    """What a manifest says of its model."""
    return (
        manifest.observation_shape,
        manifest.action_shape,
        manifest.discrete,
        manifest.layers,
        manifest.size,
        manifest.model_sha256,
    )


@FUZZ
@given(damage=DAMAGE)
def test_any_changed_byte_of_the_model_is_found(
    sound_artifacts: dict[str, Path], int8_folder: Path, damage: tuple[int, int]
) -> None:
    sound = (sound_artifacts["ptdq"] / "policy.onnx").read_bytes()
    (int8_folder / "policy.onnx").write_bytes(_flip(sound, damage))
    with pytest.raises(AuditError):
        read_artifact(int8_folder)


@FUZZ
@given(damage=DAMAGE)
def test_a_changed_byte_of_the_manifest_is_found_or_says_nothing_else_of_the_model(
    sound_artifacts: dict[str, Path], int8_folder: Path, damage: tuple[int, int]
) -> None:
    sound = (sound_artifacts["ptdq"] / "manifest.json").read_bytes()
    (int8_folder / "manifest.json").write_bytes(_flip(sound, damage))
    try:
        manifest = read_artifact(int8_folder).manifest
    except ArtifactError:
        return
    assert _facts(manifest) == _facts(read_artifact(sound_artifacts["ptdq"]).manifest)


@FUZZ
@given(length=st.integers(0, 2**32), name=st.sampled_from(FILES))
def test_a_truncated_file_is_found(
    sound_artifacts: dict[str, Path], int8_folder: Path, length: int, name: str
) -> None:
    sounds = {n: (sound_artifacts["ptdq"] / n).read_bytes() for n in FILES}
    for other, sound in sounds.items():
        (int8_folder / other).write_bytes(sound)
    # One byte less of the manifest is the line's end only.
    (int8_folder / name).write_bytes(sounds[name][: length % (len(sounds[name]) - 1)])
    with pytest.raises(ArtifactError):
        read_artifact(int8_folder)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ptdq", "ptsq"])
@FUZZ
@given(damage=DAMAGE)
def test_a_changed_byte_under_a_new_hash_raises_nothing_but_artifact_errors(
    sound_artifacts: dict[str, Path], int8_folder: Path, damage: tuple[int, int], kind: str
) -> None:
    for name in FILES:
        (int8_folder / name).write_bytes((sound_artifacts[kind] / name).read_bytes())
    put_model(int8_folder, _flip((sound_artifacts[kind] / "policy.onnx").read_bytes(), damage))
    with contextlib.suppress(ArtifactError):
        OnnxRuntime().load(read_artifact(int8_folder))
