"""Artifacts go to the Hugging Face Hub with its own client, login and cache."""

from __future__ import annotations

import re
from pathlib import Path

from squeezerl.artifacts.artifact import read_artifact
from squeezerl.errors import InvalidArgumentError, OutputError
from squeezerl.report.model_card import CARD

# The other candidates of a squeeze can be many times as large as what was chosen.
_LEFT_OUT = "candidates"
_REPO = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)


def files_to_push(folder: Path) -> list[Path]:
    """The files of an artifact's folder that go to the Hub; hidden files and candidates do not.

    Raises:
        SqueezeRLError: if it holds no artifact, or no model card.
    """
    read_artifact(folder)
    if not (folder / CARD).is_file():
        raise InvalidArgumentError(f"{folder} has no model card; make it with squeezerl card")
    found = (path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file())
    return [
        path
        for path in found
        if path.parts[0] != _LEFT_OUT and not any(part.startswith(".") for part in path.parts)
    ]


def check_repo(repo: str) -> None:
    """Raise an `InvalidArgumentError` unless it is of the form organisation/name."""
    if _REPO.fullmatch(repo) is None:
        raise InvalidArgumentError(f"`repo` {repo!r} is not of the form organisation/name")


def push(
    folder: Path,
    repo: str,
    *,
    private: bool = False,
    endpoint: str | None = None,
    token: str | None = None,
) -> str:
    """Upload an artifact's folder in one commit, and give the commit's address.

    Args:
        folder: with the artifact and its card.
        repo: organisation/name; made if it does not exist.
        private: whether a new repository is.
        endpoint: of the Hub; unless given, huggingface_hub's own.
        token: unless given, that of its own login.

    Raises:
        InvalidArgumentError: if something is missing.
        OutputError: if the Hub refuses.
    """
    check_repo(repo)
    files = files_to_push(folder)
    try:
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError
    except ImportError as error:
        raise InvalidArgumentError(
            "the Hub needs huggingface_hub: pip install 'squeezerl[hub]'"
        ) from error
    hub = HfApi(endpoint=endpoint, token=token, library_name="squeezerl")
    try:
        hub.create_repo(repo, private=private, exist_ok=True)
        done = hub.upload_folder(
            repo_id=repo,
            folder_path=folder,
            allow_patterns=[path.as_posix() for path in files],
            commit_message=f"Upload of {files_summary(folder, files)}",
        )
    except (HfHubHTTPError, OSError) as error:
        raise OutputError(f"the Hub did not take {folder}: {error}") from error
    return str(done.commit_url)


def files_summary(folder: Path, files: list[Path]) -> str:
    """For example "12 files, 345,678 bytes"."""
    size = sum((folder / path).stat().st_size for path in files)
    return f"{len(files)} files, {size:,} bytes"
