"""What the verbs share: errors without tracebacks, JSON, progress, common options."""

from __future__ import annotations

import functools
import json
import os
import re
import shlex
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from inspect import Parameter, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec, TextIO

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from squeezerl.errors import InvalidArgumentError, SqueezeRLError, SqueezeRLWarning

if TYPE_CHECKING:
    from squeezerl.evaluation.environment import Environment
    from squeezerl.records import AgentSource
    from squeezerl.report.document import Block

P = ParamSpec("P")

_NUMBER = re.compile(r"\s*[-+]?\d+(\.\d*)?[eE][-+]?\d+\s*")

INTERRUPTED = 130
BAD_INPUT = 2
NOTHING_KEEPS = 3  # of a squeeze, and of a check whose actions differ

_json_stream: TextIO | None = None
_plugins: list[str] = []
out = Console()
err = Console(stderr=True)

AgentArgument = Annotated[
    str,
    typer.Argument(
        metavar="AGENT",
        help="A Stable-Baselines3 .zip, an rl-zoo folder (.../Hopper-v3_1), 'demo', or what a "
        "--plugin of yours reads.",
    ),
]
EnvOption = Annotated[
    str | None,
    typer.Option(
        "--env",
        help="Environment id, or module:Id for your own. "
        "[dim]default: the one the agent was trained on[/dim]",
    ),
]
EnvKwargsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--env-kwargs", metavar="K:V", help="Argument for the environment; repeat for more."
    ),
]
StochasticOption = Annotated[
    bool,
    typer.Option(
        "--stochastic",
        help="Agents draw their actions, as in training. [dim]default: deterministic[/dim]",
    ),
]
MaxEpisodeStepsOption = Annotated[
    int | None,
    typer.Option(
        help="End each episode after so many steps. [dim]default: the environment's limit[/dim]"
    ),
]
FrameStackOption = Annotated[
    int | None,
    typer.Option(help="Stack the last so many observations, as SB3's VecFrameStack does."),
]
VecNormalizeOption = Annotated[
    Path | None,
    typer.Option(
        help="Saved VecNormalize, where it does not stand beside the agent; 'none' for none."
    ),
]
ActivationOption = Annotated[
    str | None,
    typer.Option(
        help="Activation between the layers of weights that do not name one: elu, leaky_relu:0.1."
    ),
]
ClipActionsOption = Annotated[
    str | None,
    typer.Option(
        metavar="LOW:HIGH",
        help="Bounds that the policy shall clip its actions to where its file has none: -1:1.",
    ),
]
OpsetOption = Annotated[
    int | None,
    typer.Option(
        help="ONNX opset of policy.onnx, for an older ONNX Runtime on the device. "
        "[dim]default: 17, or 21 for weights of 4 bits and fewer[/dim]"
    ),
]
OutputOption = Annotated[
    Path, typer.Option("--output", "-o", metavar="DIR", help="Folder to write.")
]
ObservationsOption = Annotated[
    Path | None,
    typer.Option(
        metavar="LOG",
        help="Recorded observations in order of time (.npz, .npy, .csv, .parquet), in the place of "
        "an environment.",
    ),
]
KeepActionsOption = Annotated[
    str | None,
    typer.Option(
        metavar="SHARE:TOLERANCE",
        help="With --observations: share of decisions to keep, and how far they may deviate, of "
        "the action's range or (:units) in its units. [dim]default: 0.99:0.02[/dim]",
    ),
]
BackendOption = Annotated[str, typer.Option(help="auto, envpool or gymnasium.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace the artifact at DIR.")]
SeedOption = Annotated[int, typer.Option(help="Seed of the first episode.")]
WattsOption = Annotated[
    float | None,
    typer.Option(help="Estimate energy as CPU time x watts. [dim]default: a sensor, if any[/dim]"),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on standard output, nothing else.")
]


def reports_errors(command: Callable[P, None]) -> Callable[..., None]:
    """Bad input ends with a message and exit code 2, Ctrl-C with 130; neither with a traceback.

    The library's messages name arguments; the printed message names the command's options instead.
    """

    own = signature(command, eval_str=True)
    options = {name: f"--{name.replace('_', '-')}" for name in own.parameters}

    @functools.wraps(command)
    def wrapper(context: typer.Context, *args: P.args, **kwargs: P.kwargs) -> None:
        try:
            with _warnings_printed(options, context):
                command(*args, **kwargs)
        except SqueezeRLError as error:
            _tell("error", _with_options(str(error), options), error.try_with, context)
            raise typer.Exit(BAD_INPUT) from None
        except KeyboardInterrupt:
            err.print("interrupted; nothing was written", style="yellow")
            raise typer.Exit(INTERRUPTED) from None

    # Typer passes its context to whatever declares it.
    declared = Parameter("context", Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    wrapper.__signature__ = own.replace(  # type: ignore[attr-defined]
        parameters=[declared, *own.parameters.values()]
    )
    wrapper.__annotations__ = {"context": typer.Context, **command.__annotations__}
    return wrapper


@contextmanager
def _warnings_printed(options: Mapping[str, str], context: typer.Context) -> Iterator[None]:
    """Each warning of ours goes to standard error once, as a line with the names of options."""
    shown: set[str] = set()

    def show_ours(message: Warning | str, category: type[Warning], *where: Any, **how: Any) -> None:
        if not issubclass(category, SqueezeRLWarning):
            usual(message, category, *where, **how)
        elif str(message) not in shown:
            shown.add(str(message))
            changes = getattr(message, "try_with", {})
            _tell("warning", _with_options(str(message), options), changes, context)

    with warnings.catch_warnings():
        warnings.simplefilter("always", SqueezeRLWarning)
        usual = warnings.showwarning
        warnings.showwarning = show_ours
        yield


@contextmanager
def option_names(**options: str) -> Iterator[None]:
    """For library calls whose arguments have other names than the command's options.

    Args:
        options: the option for each such argument.
    """
    try:
        yield
    except SqueezeRLError as error:
        named = type(error)(_with_options(str(error), options))
        named.try_with = error.try_with
        raise named from error


def _with_options(message: str, options: Mapping[str, str]) -> str:
    """A message of the library with options in place of arguments, where these are known.

    The library writes arguments as `` `seed` ``, `` `resume=True` `` or
    `` `hyperparameters=["gamma:0.9"]` ``, which become `--seed`, `--resume` and
    `--hyperparams gamma:0.9`.
    """

    def to_option(match: re.Match[str]) -> str:
        name, value = match[1], match[2]
        option = options.get(name)
        if option is None:
            return match[0]
        if value is None or value == "True":
            return option
        return " ".join((option, value.removeprefix('["').removesuffix('"]')))

    return re.sub(r"`(\w+)(?:=([^`]+))?`", to_option, message)


_COLORS = {"error": "red", "warning": "yellow", "try": "green"}


def _tell(kind: str, message: str, changes: Mapping[str, Any], context: typer.Context) -> None:
    """A line on standard error; then, ready to copy, the running command with these changes."""
    lines = [(kind, message)]
    if changes and changes.keys() <= {parameter.name for parameter in context.command.params}:
        lines.append(("try", _command_with(changes, context)))
    for kind, text in lines:
        err.print(f"[bold {_COLORS[kind]}]{kind}:[/] ", end="")
        err.print(text, markup=False, emoji=False, highlight=False, soft_wrap=True)


def _command_with(changes: Mapping[str, Any], context: typer.Context) -> str:
    """The running command, as it can be typed, with other values of some options."""
    words = []
    for level in (*([] if context.parent is None else [context.parent]), context):
        words.append(str(level.info_name))
        for parameter in level.command.params:
            name = str(parameter.name)
            source = level.get_parameter_source(name)
            given = source is not None and source.name == "COMMANDLINE"
            value = level.params.get(name) if given else None
            if level is context and isinstance(changes.get(name), Mapping):
                more = [f"{key}:{json.dumps(item)}" for key, item in changes[name].items()]
                value = [*(value or ()), *more]
            elif level is context and name in changes:
                value = changes[name]
            words += _words(parameter, value)
    return shlex.join(words)


def _words(parameter: Any, value: Any) -> list[str]:
    """An argument or an option with its value, as they are typed."""
    if value is False:
        return list(parameter.secondary_opts[:1])
    if value is None:
        return []
    values = list(value) if isinstance(value, list | tuple) else [value]
    if parameter.param_type_name == "argument":
        return [str(item) for item in values]
    option = max(parameter.opts, key=len)
    if value is True:
        return [option]
    return [word for item in values for word in (option, str(item))]


def say(text: str = "") -> None:
    """A line on standard output, as it is."""
    out.print(text, markup=False, emoji=False, highlight=False, soft_wrap=True)


def command(*words: str) -> str:
    """A command to type, with the plugins that this one was given."""
    return shlex.join(["squeezerl", *(f"--plugin={name}" for name in _plugins), *words])


def keep_plugins(names: Sequence[str]) -> None:
    """From now on commands that `command` shows have these plugins."""
    _plugins[:] = names


def print_json(data: dict[str, Any]) -> None:
    """One JSON object on standard output."""
    stream = _json_stream or sys.stdout
    stream.write(json.dumps(data) + "\n")
    stream.flush()


def keep_output_for_json() -> None:
    """From now on everything but `print_json` goes to standard error, also what C code prints."""
    global _json_stream
    _json_stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)


def print_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, left: Sequence[int] = (0,)
) -> None:
    """A table on standard output; columns are right-aligned unless listed in `left`.

    Where the terminal is too narrow, columns go below each other, the first ones repeated.
    """
    # A pipe has no width: let every row keep its line.
    wide = Console(width=200) if not out.is_terminal else out
    for number, columns in enumerate(_column_groups(header, rows, left, wide.width)):
        table = Table(box=None, pad_edge=False, header_style="bold")
        for index in columns:
            table.add_column(header[index], justify="left" if index in left else "right")
        for row in rows:
            table.add_row(*(row[index] for index in columns))
        if number:
            wide.print()
        wide.print(table, markup=False)


def show(blocks: Sequence[Block]) -> None:
    """Blocks of a report on standard output: tables, and the lines of text."""
    from squeezerl.report.document import Items, Paragraph, Table, plain

    for number, block in enumerate(blocks):
        if number and isinstance(blocks[number - 1], Table):
            say()
        match block:
            case Table():
                print_table(block.header, block.plain_rows, left=block.left)
            case Paragraph():
                say(plain(block.text))
            case Items():
                for item in block.items:
                    say(plain(item))


def _column_groups(
    header: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[int], width: int
) -> list[list[int]]:
    widths = [max(len(row[i]) for row in (header, *rows)) + 2 for i in range(len(header))]
    names = [i for i in range(len(header)) if set(range(i + 1)) <= set(left)]
    groups = [list(names)]
    for index in range(len(names), len(header)):
        if sum(widths[i] for i in (*groups[-1], index)) > width and len(groups[-1]) > len(names):
            groups.append(list(names))
        groups[-1].append(index)
    return groups


def bar_of_progress(console: Console, *, disable: bool = False) -> Progress:
    """What is done, a bar, and the time left."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=disable,
    )


@contextmanager
def progress_bar(description: str) -> Iterator[Callable[[str, float], None]]:
    """A bar on standard error with time left; silent where that is not a terminal."""
    with bar_of_progress(err, disable=not err.is_terminal) as progress:
        task = progress.add_task(description, total=1.0)

        def update(stage: str, fraction: float) -> None:
            progress.update(task, description=stage, completed=fraction)

        yield update


def find_environment(
    env: str | None,
    source: AgentSource,
    kwargs: Sequence[str] | None,
    backend: str = "auto",
    *,
    max_episode_steps: int | None = None,
    frame_stack: int | None = None,
) -> Environment:
    """The environment that was asked for, or the one that the agent was trained on.

    The arguments that the agent was trained with are the default, as in rl-zoo.
    """
    from squeezerl.evaluation.environment import Environment
    from squeezerl.records import FRAME_STACK

    env_id = env or source.env_id
    if env_id is None:
        raise InvalidArgumentError(
            "the agent does not say what it was trained on; name the environment with --env"
        )
    given = source.env_kwargs | parse_kwargs(kwargs or ())
    for name, value in (("max_episode_steps", max_episode_steps), (FRAME_STACK, frame_stack)):
        if value is not None:
            given[name] = value
    return Environment.find(env_id, given, backend=backend)


def parse_kwargs(pairs: Sequence[str]) -> dict[str, Any]:
    """`["k:1", "b:true", "r:[0, 1]"]` as plain values, never evaluated.

    Raises:
        InvalidArgumentError: if one is not of that form.
    """
    import yaml

    kwargs = {}
    for pair in pairs:
        key, colon, value = pair.partition(":")
        if not colon or not key.isidentifier():
            raise InvalidArgumentError(
                f"--env-kwargs {pair!r} is not of the form name:value, e.g. reset_noise_scale:0.1"
            )
        try:
            # YAML takes 1e-3 for a word; everyone who types it means the number.
            parsed = float(value) if _NUMBER.fullmatch(value) else yaml.safe_load(value)
            json.dumps(parsed)  # YAML also knows dates and sets, environments do not
        except (yaml.YAMLError, ValueError, TypeError) as error:
            raise InvalidArgumentError(f"--env-kwargs {pair!r}: unreadable value") from error
        kwargs[key] = parsed
    return kwargs
