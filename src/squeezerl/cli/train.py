"""`squeezerl train`: train an agent in float or for int8."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from squeezerl.cli import console
from squeezerl.cli.stopping import stop_on_signals
from squeezerl.errors import InvalidArgumentError

if TYPE_CHECKING:
    from squeezerl.methods.pruning import StructuredPruning
    from squeezerl.training.result import TrainingProgress, TrainingResult


@console.reports_errors
def train(
    algorithm: Annotated[
        str,
        typer.Argument(
            metavar="ALGO",
            help="trpo, ppo, a2c; ddpg, td3, sac, tqc for continuous actions; dqn, qrdqn for "
            "discrete ones.",
        ),
    ],
    output: console.OutputOption,
    env: Annotated[
        str | None,
        typer.Argument(
            metavar="ENV",
            help="Environment id, or module:Id for your own. "
            "[dim]default: that of --init or --ticket-of[/dim]",
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(help="Environment steps. [dim]default: as published, else 1,000,000[/dim]"),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of everything random. [dim]default: 0[/dim]")
    ] = None,
    hyperparams: Annotated[
        list[str] | None,
        typer.Option(
            "--hyperparams",
            "--hyperparameters",
            metavar="FILE.yml|K:V",
            help="An rl-zoo file, or one setting; repeat for more. "
            "[dim]default: published settings for ENV[/dim]",
        ),
    ] = None,
    qat: Annotated[
        str | None, typer.Option(help="Train for integers: int8.", metavar="int8")
    ] = None,
    qat_warmup: Annotated[
        float, typer.Option(help="Share of the steps in float, before int8 is simulated.")
    ] = 0.1,
    qat_keep: Annotated[
        list[str] | None,
        typer.Option(help="Layer to leave in float, such as layer0; repeat for more."),
    ] = None,
    qat_critic: Annotated[
        bool, typer.Option("--qat-critic", help="Simulate int8 in the critic as well.")
    ] = False,
    qat_naive: Annotated[
        bool,
        typer.Option("--qat-naive", help="One scale per tensor, also for weights and observation."),
    ] = False,
    prune: Annotated[
        str | None,
        typer.Option(
            metavar="l2:RATIO", help="Silence neurons as the training goes on: l1:0.5 or l2:0.5."
        ),
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(
            metavar="AGENT", help="Start from the weights of a trained agent, or of 'demo'."
        ),
    ] = None,
    ticket_of: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            help="A finished training: prune its actor, rewind to the first weights, train again.",
        ),
    ] = None,
    ticket: Annotated[
        str | None,
        typer.Option(
            help="Which neurons stay: l1, l2 or random. [dim]default: l2[/dim]",
            metavar="l1|l2|random",
        ),
    ] = None,
    ticket_ratio: Annotated[
        float | None,
        typer.Option(help="Share of the hidden neurons to remove. [dim]default: 0.5[/dim]"),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the training that DIR holds.")
    ] = False,
    evaluations: Annotated[
        int, typer.Option(help="Number of evaluations during the training.")
    ] = 20,
    eval_episodes: Annotated[int, typer.Option(help="Episodes of each evaluation.")] = 10,
    checkpoint_seconds: Annotated[float, typer.Option(help="Time between checkpoints.")] = 120.0,
    track: Annotated[str | None, typer.Option(help="Log curves: tensorboard or wandb.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    threads: Annotated[int, typer.Option(help="Threads of torch.")] = 1,
    env_kwargs: console.EnvKwargsOption = None,
    backend: console.BackendOption = "auto",
    as_json: console.JsonOption = False,
) -> None:
    """Train an agent with Stable-Baselines3 into an rl-zoo folder, which all commands can load.

    With --qat int8 the policy learns in simulated integers, and DIR/int8 is the artifact to
    deploy. With --prune l2:0.5 half of its hidden neurons fall silent on the way, and DIR/pruned is
    the artifact without them. After Ctrl-C, or even kill -9, the same command with --resume goes on
    from the last checkpoint. With --ticket-of, part of a trained network learns again from its
    first weights.

    Example: squeezerl train sac Hopper-v4 --steps 50_000 --qat int8 -o hopper

    Example: squeezerl train ppo Ant-v4 --ticket-of ant --ticket l2 --ticket-ratio 0.7 -o ticket
    """
    from squeezerl.methods.trained_int8 import QuantizationAwareTraining
    from squeezerl.training.config import QatConfig, TicketConfig, TrainConfig
    from squeezerl.training.train import train as train_agent

    if qat not in (None, "int8"):
        raise InvalidArgumentError(f"--qat {qat!r} is not supported; int8 is")
    if ticket_of is None and (ticket is not None or ticket_ratio is not None):
        raise InvalidArgumentError(
            "a ticket is taken of a finished training: name its folder with --ticket-of"
        )
    stopping = stop_on_signals(
        asked="writing a checkpoint", ended=f"{output} has the last checkpoint"
    )
    names = console.option_names(
        env="ENV", hyperparameters="--hyperparams", warmup="--qat-warmup", ticket="--ticket-of",
        choice="--ticket", keep="--qat-keep",
    )  # fmt: skip
    with stopping as stop, names, _training_bar(f"{algorithm} {env or ''}") as update:
        config = TrainConfig(
            algorithm=algorithm,
            env=env,
            env_kwargs=console.parse_kwargs(env_kwargs or ()),
            backend=backend,
            steps=steps,
            seed=seed,
            hyperparameters=hyperparams or (),
            qat=QatConfig(
                spec=QuantizationAwareTraining(
                    per_channel=not qat_naive, per_feature=not qat_naive, keep=tuple(qat_keep or ())
                ),
                warmup=qat_warmup,
                critic=qat_critic,
            )
            if qat
            else None,
            prune=None if prune is None else _pruning(prune),
            init=init,
            ticket=TicketConfig(
                of=ticket_of,
                choice="l2" if ticket is None else ticket,
                ratio=0.5 if ticket_ratio is None else ticket_ratio,
            )
            if ticket_of is not None
            else None,
            evaluations=evaluations,
            eval_episodes=eval_episodes,
            checkpoint_seconds=checkpoint_seconds,
            track=track,
            device=device,
            threads=threads,
        )
        result = train_agent(
            config, output=output, resume=resume, on_progress=update, should_stop=stop.is_asked
        )
    if as_json:
        from squeezerl.report.evaluation_report import training_json

        console.print_json(training_json(result))
    else:
        _say_result(result)
    if not result.complete:
        raise typer.Exit(stop.exit_code)


def _pruning(text: str) -> StructuredPruning:
    from squeezerl.methods.base import parse_spec
    from squeezerl.methods.pruning import StructuredPruning

    spec = parse_spec(text)
    if not isinstance(spec, StructuredPruning):
        raise InvalidArgumentError(f"--prune {text!r} is not supported; l1:0.5 and l2:0.5 are")
    return spec


@contextmanager
def _training_bar(description: str) -> Iterator[Callable[[TrainingProgress], None]]:
    """Show steps, rate, returns and time left on standard error if it is a terminal."""
    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TextColumn("{task.fields[returns]}"),
        TimeRemainingColumn(),
        console=console.err,
        transient=True,
        disable=not console.err.is_terminal,
    ) as progress:
        task = progress.add_task(description, total=None, rate="", returns="")

        def update(now: TrainingProgress) -> None:
            speed = progress.tasks[task].speed
            rate = f"{speed:,.0f} steps/s" if speed else ""
            parts = []
            if now.mean_return is not None:
                parts.append(f"return {now.mean_return:,.0f}")
            if now.evaluation is not None:
                parts.append(f"evaluated {now.evaluation:,.0f}")
            progress.update(
                task,
                completed=now.steps,
                total=now.total_steps,
                rate=rate,
                returns=", ".join(parts),
            )

        yield update


def _say_result(result: TrainingResult) -> None:
    from squeezerl.report.evaluation_report import training_document

    if not result.complete:
        console.say(f"stopped at {result.steps:,} steps; go on with --resume")
        return
    console.show(training_document(result).blocks)
