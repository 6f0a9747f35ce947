"""The source that reads Stable-Baselines3's zips and rl-zoo's folders."""

from __future__ import annotations

import math
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any, final

import numpy as np

from squeezerl.agents.load import (
    NO_NORMALIZER,
    SOURCES,
    Agent,
    Source,
    source_file,
    zip_names,
)
from squeezerl.agents.sources.stable_baselines3.files import (
    MAX_METADATA_BYTES,
    MAX_WEIGHTS_BYTES,
    AgentFiles,
    CheckpointArchive,
    find_agent,
)
from squeezerl.agents.sources.stable_baselines3.metadata import CheckpointMetadata, parse_metadata
from squeezerl.agents.sources.stable_baselines3.network import build_network, build_sampled
from squeezerl.agents.sources.stable_baselines3.vecnormalize import read_vecnormalize
from squeezerl.agents.torch_file import read_state_dict
from squeezerl.errors import CheckpointError, SqueezeRLError, SqueezeRLWarning
from squeezerl.network.network import Normalizer, as_float
from squeezerl.records import (
    CHANNELS_FIRST,
    DICT_PARTS,
    ENV_WRAPPERS,
    FRAME_PADDING,
    FRAME_STACK,
    WRAPPED_SIZE,
    AgentSource,
)

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
        names = zip_names(path)
        return path.suffix == ".zip" if names is None else not _MEMBERS.isdisjoint(names)

    def load(self, path: Path, *, normalizer: Path | None = None) -> Agent:
        """See `Source`; the normaliser is a saved VecNormalize."""
        files, insisted = find_agent(path), normalizer == NO_NORMALIZER
        archive = CheckpointArchive(files.checkpoint)
        try:
            data = archive.read("data", MAX_METADATA_BYTES)
            versions = {}
            if _VERSION in archive:
                text = archive.read(_VERSION, 1024).decode("ascii", errors="replace")
                versions[self.kind] = text.strip()
            if "policy.pth" not in archive:
                with suppress(CheckpointError):  # only that of SBX says more
                    parse_metadata(data)
            weights = archive.read("policy.pth", MAX_WEIGHTS_BYTES)
            metadata = parse_metadata(data)
            normalizer = _find_normalizer(files, metadata, normalizer)
            state = read_state_dict(weights, "policy.pth")
            statistics = _read_normalizer(normalizer, metadata) if normalizer else None
            kwargs = files.env_kwargs | ({CHANNELS_FIRST: True} if metadata.has_images else {})
            if statistics is not None:
                statistics, more = _of_stacked(statistics, metadata.observation_space.shape)
                kwargs = kwargs | more
            if ENV_WRAPPERS in kwargs:
                seen = math.prod(metadata.observation_space.shape) // kwargs.get(FRAME_STACK, 1)
                kwargs = kwargs | {WRAPPED_SIZE: seen}
            if metadata.parts:
                sizes = [f"{part.name}:{part.stop - part.start}" for part in metadata.parts]
                kwargs = kwargs | {DICT_PARTS: sizes}
            network = build_network(metadata, state, statistics)
            sampled = build_sampled(metadata, state, network)
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
            env_kwargs=kwargs,
            files=tuple(read),
            versions=versions,
            activation_from="the default of the policy's class; the zip names none"
            if metadata.activation_is_default
            else "policy_kwargs in the zip",
            may_lack_normalizer=not insisted
            and normalizer is None
            and files.normalized is None
            and metadata.normalized == "unknown",
            trained_to=_mean_and_deviation(metadata.training_returns),
            trained_steps=metadata.training_steps,
        )
        return Agent(network, source, sampled)


def _of_stacked(
    normalizer: Normalizer, shape: tuple[int, ...]
) -> tuple[Normalizer, dict[str, Any]]:
    """The normaliser of stacked observations, where it is that of a single one.

    And what the environment needs to know: rl-zoo stacks what it has normalised, so that the mean
    stands for the observations before the first.
    """
    mean, inverse_std = as_float(normalizer.mean), as_float(normalizer.inverse_std)
    width, features = mean.size, math.prod(shape)
    if not shape or features == width or features % width or shape[-1] % (features // width):
        return normalizer, {}
    count = features // width
    single = (*shape[:-1], shape[-1] // count)
    padding = mean.reshape(single).tolist()
    mean, inverse_std = (
        np.concatenate([values.reshape(single)] * count, axis=-1).ravel()
        for values in (mean, inverse_std)
    )
    return (
        Normalizer(mean=mean, inverse_std=inverse_std, clip=normalizer.clip),
        {FRAME_STACK: count, FRAME_PADDING: padding},
    )


def _mean_and_deviation(returns: tuple[float, ...]) -> tuple[float, float] | None:
    return (float(np.mean(returns)), float(np.std(returns))) if returns else None


def _read_normalizer(file: Path, metadata: CheckpointMetadata) -> Normalizer | None:
    """A VecNormalize's statistics of observations; `None` if it normalises rewards only."""
    return read_vecnormalize(file, [part.name for part in metadata.parts])


def _find_normalizer(
    files: AgentFiles, metadata: CheckpointMetadata, given: Path | None
) -> Path | None:
    """The file of the normaliser, if there is one and the agent was trained with it.

    Raises:
        CheckpointError: if the agent was trained with one, and it is not there.
    """
    if given == NO_NORMALIZER:
        return None
    if given is not None:
        return given
    normalized = metadata.normalized
    if files.normalized is not None:  # what the settings of the training say is sure
        normalized = "observations" if files.normalized else "nothing"
    if (found := files.vecnormalize) is not None:
        if normalized != "nothing" or files.is_own or _read_normalizer(found, metadata) is None:
            return found
        warnings.warn(
            f"{files.checkpoint}: {found.name} beside it is not used, as its "
            f"{'checkpoint' if files.normalized is None else 'settings'} shows that it was trained "
            "without one; give the file as `vecnormalize` to insist on it",
            SqueezeRLWarning,
            stacklevel=4,
        )
        return None
    if normalized == "nothing" or (normalized == "unknown" and not files.others):
        return None
    if len(files.others) == 1:
        warnings.warn(
            f"{files.checkpoint}: its observations are normalised with {files.others[0].name}, the "
            "only such file beside it; `vecnormalize` names another, or none",
            SqueezeRLWarning,
            stacklevel=4,
        )
        return files.others[0]
    sure = normalized == "observations"
    there = ", ".join(file.name for file in files.others)
    raise CheckpointError(
        f"trained {'on normalised observations' if sure else 'with a VecNormalize'}, but "
        + (
            f"several files may be its normaliser: {there}"
            if there
            else "no vecnormalize.pkl stands beside it"
        )
        + ". Without it the policy sees other numbers than it learned with: give the file as "
        "`vecnormalize`, or `vecnormalize=none` "
        + ("to do without" if sure else "if only rewards were normalised (norm_obs=False)")
    )


SOURCES.register(StableBaselines3.kind, StableBaselines3())
