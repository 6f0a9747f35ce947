"""What the verbs of `squeezerl study` share."""

from __future__ import annotations

from typing import Annotated

import typer

StudyArgument = Annotated[
    str,
    typer.Argument(metavar="NAME|STUDY.yaml", help="A study's name, or its file."),
]
StoreOption = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="sqlite:///FILE.db or postgresql://USER@HOST/DATABASE. "
        "[dim]default: the study's, else sqlite:///NAME.db[/dim]",
        show_default=False,
    ),
]
