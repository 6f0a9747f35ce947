"""The command line: one file a verb; the only place that prints or exits."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from squeezerl import __version__
from squeezerl.cli import console
from squeezerl.cli.ask import ask
from squeezerl.cli.card import card
from squeezerl.cli.check import check
from squeezerl.cli.compress import compress
from squeezerl.cli.console import keep_output_for_json, reports_errors
from squeezerl.cli.doctor import doctor
from squeezerl.cli.evaluate import evaluate
from squeezerl.cli.export import export
from squeezerl.cli.inspect import inspect
from squeezerl.cli.profile import profile
from squeezerl.cli.push import push
from squeezerl.cli.research import research
from squeezerl.cli.squeeze import squeeze
from squeezerl.cli.study import study
from squeezerl.cli.train import train
from squeezerl.registry import load_plugin

app = typer.Typer(
    name="squeezerl",
    help="Make a trained agent's policy small, fast and frugal, and prove what that cost.",
    epilog="Try it: squeezerl squeeze demo -o out",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
for command in (inspect, compress, evaluate, squeeze, profile, export, check, card, push, train):
    app.command(no_args_is_help=True)(command)
app.add_typer(study)
app.add_typer(research)
app.command()(doctor)
app.command(no_args_is_help=True)(ask)


def _print_version(value: bool) -> None:
    if value:
        print(f"squeezerl {__version__}")
        raise typer.Exit


@app.callback()
@reports_errors
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print it and exit."
        ),
    ] = False,
    plugin: Annotated[
        list[str] | None,
        typer.Option(
            "--plugin",
            metavar="FILE_OR_MODULE",
            help="Python file or module that registers a source, method or runtime of your own; "
            "repeat for more. It is executed.",
        ),
    ] = None,
) -> None:
    console.keep_plugins(plugin or ())
    for name in plugin or ():
        load_plugin(name)


def _terminate(number: int, frame: FrameType | None) -> None:
    """End like Ctrl-C does, so that temporary folders are removed."""
    raise SystemExit(128 + number)


def main() -> None:
    """Entry point of the `squeezerl` command."""
    signal.signal(signal.SIGTERM, _terminate)
    # `module:Id` environments may live in the folder that the user works in. Last, so that
    # nothing there can stand in for an installed module.
    sys.path.append(str(Path.cwd()))
    if "--json" in sys.argv:
        keep_output_for_json()
    app()
