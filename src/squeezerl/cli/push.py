"""`squeezerl push`: an artifact with its card to the Hugging Face Hub."""

from __future__ import annotations

from typing import Annotated

import typer

from squeezerl.cli import console
from squeezerl.cli.card import FolderArgument


@console.reports_errors
def push(
    folder: FolderArgument,
    repo: Annotated[str, typer.Option(metavar="ORG/NAME", help="Of the Hub; made if needed.")],
    private: Annotated[bool, typer.Option("--private", help="For a new repository.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would be uploaded.")
    ] = False,
) -> None:
    """Upload an artifact and its card with huggingface_hub, and its own login (`hf auth login`).

    The other candidates of a squeeze stay here.

    Example: squeezerl push out --repo me/cheetah --dry-run
    """
    from squeezerl.report import hub

    hub.check_repo(repo)
    files = hub.files_to_push(folder)
    if dry_run:
        rows = [(str(path), f"{(folder / path).stat().st_size:,}") for path in files]
        console.print_table(("file", "bytes"), rows, left=(0,))
        console.say(f"{hub.files_summary(folder, files)} would go to {repo}")
        return
    console.say(hub.push(folder, repo, private=private))
