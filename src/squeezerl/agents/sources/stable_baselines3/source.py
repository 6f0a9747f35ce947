"""The source that reads Stable-Baselines3's zips and rl-zoo's folders."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import final

from squeezerl.agents.load import SOURCES, Agent, Source, source_file
from squeezerl.agents.sources.stable_baselines3.files import (
    MAX_METADATA_BYTES,
    MAX_WEIGHTS_BYTES,
    CheckpointArchive,
    find_agent,
)
from squeezerl.agents.sources.stable_baselines3.metadata import parse_metadata
from squeezerl.agents.sources.stable_baselines3.network import build_network
from squeezerl.agents.sources.stable_baselines3.vecnormalize import read_vecnormalize
from squeezerl.agents.torch_file import read_state_dict
from squeezerl.errors import CheckpointError, SqueezeRLError
from squeezerl.records import AgentSource

_VERSION = "_stable_baselines3_version"
_MEMBERS = {"data", "policy.pth", _VERSION}


@final
class StableBaselines3(Source):
    """Reads the policies of Stable-Baselines3 and sb3-contrib that are multilayer perceptrons."""

    kind = "stable-baselines3"
    takes = "a Stable-Baselines3 .zip or an rl-zoo folder"

    def recognises(self, path: Path) -> bool:
        """See `Source`. Every damaged .zip and every folder with a .zip counts."""
        if path.is_dir():
            return any(path.glob("*.zip"))
        if not path.is_file():
            return path.with_name(f"{path.name}.zip").is_file()
        try:
            with zipfile.ZipFile(path) as archive:
                return not _MEMBERS.isdisjoint(archive.namelist())
        except (zipfile.BadZipFile, ValueError, NotImplementedError):
            return path.suffix == ".zip"

    def load(self, path: Path, *, normalizer: Path | None = None) -> Agent:
        """See `Source`; the normaliser is a saved VecNormalize."""
        files = find_agent(path)
        normalizer = normalizer or files.vecnormalize
        if normalizer is None and files.normalized:
            raise CheckpointError(
                f"{files.checkpoint}: trained on normalised observations, but no vecnormalize.pkl "
                "stands beside it; give it as vecnormalize"
            )
        archive = CheckpointArchive(files.checkpoint)
        try:
            data = archive.read("data", MAX_METADATA_BYTES)
            weights = archive.read("policy.pth", MAX_WEIGHTS_BYTES)
            versions = {}
            if _VERSION in archive:
                text = archive.read(_VERSION, 1024).decode("ascii", errors="replace")
                versions[self.kind] = text.strip()
            metadata = parse_metadata(data)
            network = build_network(
                metadata,
                read_state_dict(weights, "policy.pth"),
                read_vecnormalize(normalizer) if normalizer else None,
            )
        except SqueezeRLError as error:
            if str(error).startswith((f"{files.checkpoint}:", f"{normalizer}:")):
                raise
            raise type(error)(f"{files.checkpoint}: {error}") from error
        finally:
            archive.close()
        read = [source_file("checkpoint", files.checkpoint)]
        if normalizer is not None:
            read.append(source_file("normalizer", normalizer))
        source = AgentSource(
            kind=self.kind,
            path=str(path),
            algorithm=metadata.algorithm,
            env_id=files.env_id,
            env_kwargs=files.env_kwargs,
            files=tuple(read),
            versions=versions,
        )
        return Agent(network, source)


SOURCES.register(StableBaselines3.kind, StableBaselines3())
