"""Agents on the Hugging Face Hub: `hf://organisation/name@revision` becomes files in its cache.

huggingface_hub downloads and keeps them; what is in them is read like any other file.
"""

from __future__ import annotations

import re
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from squeezerl.errors import CheckpointError, InvalidArgumentError, SqueezeRLError

# A path has lost one of the two slashes.
_NAME = re.compile(r"hf://?(?P<repo>[\w.-]+/(?P<name>[\w.-]+))(@(?P<revision>[\w./-]+))?", re.ASCII)
_SINGLE = (".onnx", ".pt", ".pth", ".safetensors")
_READ = ("*.zip", "*.pkl", "*.yml", "manifest.json", *(f"*{ending}" for ending in _SINGLE))
# What Stable-Baselines3's own repositories have besides: logs, and the zip unpacked.
_UNREAD = ("train_eval_metrics.zip", "*replay_buffer*", "*/*.pth")
MAX_BYTES = 512 * 2**20


def is_on_hub(name: str | Path) -> bool:
    """Whether a name is that of a repository on the Hub."""
    return str(name).startswith("hf:/")


def fetch(name: str | Path) -> Path:
    """The agent of a repository on the Hub, from the cache if it is there already.

    Raises:
        CheckpointError: if it cannot be reached, has no policy in it, or more than `MAX_BYTES` to
            download.
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
            DryRunError,
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
    download = partial(
        snapshot_download,
        match["repo"],
        revision=match["revision"],
        allow_patterns=list(_READ),
        ignore_patterns=list(_UNREAD),
        library_name="squeezerl",
    )
    try:
        with suppress(DryRunError):  # offline, the cache may have it
            planned: Any = download(dry_run=True)
            files = [file for file in planned if file.will_download]
            if (size := sum(file.file_size for file in files)) > MAX_BYTES:
                largest = max(files, key=lambda file: file.file_size)
                raise CheckpointError(
                    f"{place}: {size:,} bytes to download, most of them in {largest.filename!r}; "
                    f"{MAX_BYTES:,} are allowed. Download what is needed elsewhere, and name its "
                    "folder"
                )
        folder = download()
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
    except SqueezeRLError:
        raise
    except Exception as error:  # a spoiled answer makes huggingface_hub fail in any way
        reason = (str(error).splitlines() or [""])[0][:200]
        if not isinstance(error, HfHubHTTPError | OSError):
            reason = f"the Hub's answer cannot be read ({type(error).__name__}: {reason})"
        raise CheckpointError(f"{place}: {reason}") from error
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
