"""`squeezerl card`: the README of a repository on the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from squeezerl.cli import console
from squeezerl.errors import InvalidArgumentError

FolderArgument = Annotated[
    Path, typer.Argument(metavar="DIR", help="An artifact, or what a squeeze wrote.")
]


@console.reports_errors
def card(
    folder: FolderArgument,
    env: console.EnvOption = None,
    episodes: Annotated[
        int, typer.Option(help="Complete episodes, where there is no squeeze to take them from.")
    ] = 100,
    seed: console.SeedOption = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace the card that is there.")] = False,
) -> None:
    """Write README.md with what the Hub reads: task, environment, mean reward, tags, usage.

    The returns are those of the squeeze's fresh episodes. A plain artifact plays some first.

    Example: squeezerl card out
    """
    from squeezerl.report.model_card import CARD, model_card, read_results

    path = folder / CARD
    if path.exists() and not force:
        raise InvalidArgumentError(f"{path} exists; --force replaces it")
    if read_results(folder) is not None:
        text = model_card(folder)
    else:
        from squeezerl.api import evaluate

        with console.progress_bar("episodes") as update:
            found = evaluate(folder, env=env, episodes=episodes, seed=seed, on_progress=update)
        text = model_card(folder, found.record.returns, found.record.env_id)
    path.write_text(text, encoding="utf-8")
    console.say(f"{path}")
