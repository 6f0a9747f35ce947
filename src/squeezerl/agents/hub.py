"""Agents on the Hugging Face Hub: `hf://organisation/name@revision` becomes files in its cache.

huggingface_hub downloads and keeps them; what is in them is read like any other file.
"""

from __future__ import annotations

import re
from pathlib import Path

from squeezerl.errors import CheckpointError, InvalidArgumentError

# A path has lost one of the two slashes.
_NAME = re.compile(r"hf://?(?P<repo>[\w.-]+/(?P<name>[\w.-]+))(@(?P<revision>[\w./-]+))?", re.ASCII)
_SINGLE = (".onnx", ".pt", ".pth", ".safetensors")
_READ = ("*.zip", "*.pkl", "*.yml", "manifest.json", *(f"*{ending}" for ending in _SINGLE))
# What Stable-Baselines3's own repositories have besides: logs, and the zip unpacked.
_UNREAD = ("train_eval_metrics.zip", "*replay_buffer*", "*/*.pth")


def is_on_hub(name: str | Path) -> bool:
    """Whether a name is that of a repository on the Hub."""
    return str(name).startswith("hf:/")


def fetch(name: str | Path) -> Path:
    """The agent of a repository on the Hub, from the cache if it is there already.

    Raises:
        CheckpointError: if it cannot be reached, or has no policy in it.
        InvalidArgumentError: if the name is of another form, or huggingface_hub is not installed.
    """
    match = _NAME.fullmatch(str(name))
    if match is None:
        raise InvalidArgumentError(
            f"{name} is not of the form hf://organisation/name or hf://organisation/name@revision"
        )
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import (
            HfHubHTTPError,
            LocalEntryNotFoundError,
            RepositoryNotFoundError,
            RevisionNotFoundError,
        )
    except ImportError as error:
        raise InvalidArgumentError(
            "the Hub needs huggingface_hub: pip install 'squeezerl[hub]'"
        ) from error
    place = f"hf://{match['repo']}"
    try:
        folder = snapshot_download(
            match["repo"],
            revision=match["revision"],
            allow_patterns=list(_READ),
            ignore_patterns=list(_UNREAD),
            library_name="squeezerl",
        )
    except RevisionNotFoundError as error:
        raise CheckpointError(f"{place} has no revision {match['revision']!r}") from error
    except RepositoryNotFoundError as error:
        raise CheckpointError(
            f"{place}: there is no such repository, or it is private and you are not logged in"
        ) from error
    except (LocalEntryNotFoundError, ConnectionError) as error:
        raise CheckpointError(
            f"{place}: the Hub cannot be reached, and the agent is not in its cache; try again "
            "with a connection, or download the files elsewhere and name their folder"
        ) from error
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise CheckpointError(f"{place}: {str(error).splitlines()[0]}") from error
    return _policy_in(Path(folder), match["name"], place)


def _policy_in(folder: Path, name: str, place: str) -> Path:
    if (folder / f"{name}.zip").is_file():
        return folder / f"{name}.zip"
    if any(folder.glob("*.zip")) or (folder / "manifest.json").is_file():
        return folder
    found = [path for path in sorted(folder.glob("*")) if path.suffix in _SINGLE]
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise CheckpointError(
            f"{place}: one policy is needed, and there are these: {names}; a policy is a .zip of "
            f"Stable-Baselines3 or a file in {', '.join(_SINGLE)}"
        )
    return found[0]
