"""The artifact: a model and its manifest, built and read with the same audit."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from squeezerl.artifacts.audit import audit, layer_records
from squeezerl.artifacts.manifest import MANIFEST_NAME, MODEL_NAME, Manifest
from squeezerl.artifacts.output import new_folder
from squeezerl.errors import ArtifactError, AuditError
from squeezerl.formats.base import FORMATS
from squeezerl.methods.recipe import Recipe
from squeezerl.network.network import Network
from squeezerl.records import AgentSource, Calibration, Learning, ObservationsRecord

_MAX_BYTES = 512 * 2**20
_LIBRARIES = ("squeezerl", "onnx", "onnxruntime", "numpy")


@dataclass(frozen=True, eq=False)
class Artifact:
    """What is deployed, in memory, after its audit.

    Args:
        manifest: what it claims.
        model: the bytes of `policy.onnx`.
        network: what was read from them.
    """

    manifest: Manifest
    model: bytes
    network: Network

    @property
    def algorithm(self) -> str:
        """That the agent was trained with."""
        return self.manifest.source.algorithm

    @property
    def recipe(self) -> Recipe:
        """How it was made."""
        return Recipe.from_json(self.manifest.specs)

    def save(self, path: str | Path, *, force: bool = False) -> None:
        """Write `policy.onnx` and `manifest.json` to a folder, whole or not at all.

        Args:
            path: the folder; it must not exist or be empty, unless `force`.
            force: replace the artifact that is there.

        Raises:
            OutputError: if the folder cannot be written.
        """
        with new_folder(Path(path), force=force) as folder:
            for name, content in self.files.items():
                (folder / name).write_bytes(content)

    @property
    def files(self) -> Mapping[str, bytes]:
        """The content of its files, by their names."""
        return {MODEL_NAME: self.model, MANIFEST_NAME: self.manifest.dumps().encode()}


def build_artifact(
    network: Network,
    recipe: Recipe,
    *,
    original: Network,
    source: AgentSource,
    calibration: Calibration | None = None,
    observations: ObservationsRecord | None = None,
    learning: Learning | None = None,
) -> Artifact:
    """The artifact of a network: written, read back, and audited.

    Args:
        network: what `recipe` made of `original`.
        recipe: how the network came about.
        original: the agent's network in float.
        source: the agent that it came from.
        calibration: the episodes that the recipe's observations were taken from.
        observations: which observations the recipe was given.
        learning: where the recipe learned.

    Raises:
        AuditError: if the model is not what the recipe promises.
        FormatError: if the network cannot be written.
    """
    from squeezerl.formats.onnx import with_metadata  # which brings onnx, as FORMATS does

    written = FORMATS.get("onnx")
    model = with_metadata(written.write(network), source.metadata)
    read, size = written.read(model)
    manifest = Manifest(
        source=source,
        recipe=recipe.text,
        specs=tuple(recipe.to_json()),
        specs_sha256=recipe.sha256,
        calibration=calibration,
        observations=observations,
        learning=learning,
        observation_shape=network.observation_shape,
        action_shape=network.action_shape,
        discrete=network.head.is_discrete,
        noise=network.head.noise,
        groups=network.head.groups,
        observation_parts=network.observation_parts,
        layers_before=layer_records(original),
        layers=layer_records(network),
        size=size,
        model_sha256=hashlib.sha256(model).hexdigest(),
        versions={"python": platform.python_version()} | {n: version(n) for n in _LIBRARIES},
    )
    audit(read, size, manifest)
    return Artifact(manifest, model, read)


def is_artifact(path: str | Path) -> bool:
    """Whether `path` is a folder with a manifest."""
    return (Path(path) / MANIFEST_NAME).is_file()


def read_artifact(path: str | Path) -> Artifact:
    """Read and audit the artifact in a folder.

    Raises:
        ArtifactError: if it is missing or damaged.
        AuditError: if the model is not what the manifest claims.
    """
    from squeezerl.formats.onnx import metadata_of

    folder = Path(path)
    for name in (MANIFEST_NAME, MODEL_NAME):
        if not (folder / name).is_file():
            raise ArtifactError(f"{folder}: holds no {name}, so it is not an artifact")
        if (folder / name).stat().st_size > _MAX_BYTES:
            raise ArtifactError(f"{folder / name}: larger than an artifact can be")
    try:
        manifest = Manifest.loads((folder / MANIFEST_NAME).read_text(encoding="utf-8"))
        model = (folder / MODEL_NAME).read_bytes()
        if hashlib.sha256(model).hexdigest() != manifest.model_sha256:
            raise AuditError(f"{MODEL_NAME} is not the file that the manifest describes")
        network, size = FORMATS.get("onnx").read(model)
        if metadata_of(model) != manifest.source.metadata:
            raise AuditError(f"the metadata in {MODEL_NAME} are not those of the manifest")
        audit(network, size, manifest)
    except ArtifactError as error:
        raise type(error)(f"{folder}: {error}") from error
    except Exception as error:  # a hostile file can make the readers fail in any way
        raise ArtifactError(f"{folder}: damaged ({error})") from error
    return Artifact(manifest, model, network)
