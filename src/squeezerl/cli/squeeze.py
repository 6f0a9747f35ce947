"""`squeezerl squeeze`: the smallest artifact that keeps the return."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from squeezerl.cli import console
from squeezerl.cli.stopping import interrupt_on_signals
from squeezerl.errors import InvalidArgumentError

if TYPE_CHECKING:
    from squeezerl.search.result import BestSoFar
    from squeezerl.search.working import OnBest, StageProgress


TrackOption = Annotated[
    str | None, typer.Option(help="Log figures and scalars: tensorboard or wandb.")
]


@console.reports_errors
def squeeze(
    agent: console.AgentArgument,
    output: console.OutputOption,
    env: console.EnvOption = None,
    observations: console.ObservationsOption = None,
    keep_actions: console.KeepActionsOption = None,
    retain: Annotated[
        float, typer.Option(help="Share of the (random-normalised) return to keep.")
    ] = 0.95,
    episodes: Annotated[int, typer.Option(help="Complete episodes per candidate.")] = 100,
    max_episodes: Annotated[
        int | None,
        typer.Option(
            help="Limit while undecided. [dim]default: 4 x episodes, or what --retain needs[/dim]"
        ),
    ] = None,
    recipes: Annotated[
        list[str] | None,
        typer.Option(
            "--recipe",
            "--recipes",
            help="Try this recipe; repeat for more. [dim]default: what every method offers[/dim]",
        ),
    ] = None,
    budget: Annotated[
        str,
        typer.Option(
            metavar="TIME",
            help="Time for small networks to learn from the agent: 90s, 10m; 0: none.",
        ),
    ] = "5m",
    optimize: Annotated[
        str,
        typer.Option(
            help="What to have least of: bytes (of the weights), latency (native) or macs."
        ),
    ] = "bytes",
    max_bytes: Annotated[
        str | None, typer.Option(metavar="BYTES", help="Most bytes of weights: 500, 2k, ...")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes side by side. [dim]default: one per core[/dim]")
    ] = None,
    seed: console.SeedOption = 0,
    env_kwargs: console.EnvKwargsOption = None,
    max_episode_steps: console.MaxEpisodeStepsOption = None,
    frame_stack: console.FrameStackOption = None,
    stochastic: console.StochasticOption = False,
    backend: console.BackendOption = "auto",
    vecnormalize: console.VecNormalizeOption = None,
    activation: console.ActivationOption = None,
    clip_actions: console.ClipActionsOption = None,
    opset: console.OpsetOption = None,
    measure: Annotated[
        bool, typer.Option(help="Also measure latency, memory and energy of the best candidates.")
    ] = True,
    watts_per_core: console.WattsOption = None,
    track: TrackOption = None,
    force: console.ForceOption = False,
    as_json: console.JsonOption = False,
) -> None:
    """Find the smallest artifact that keeps the return, and prove it on fresh episodes.

    With --budget 0 it tries PTDQ, PTSQ, 8 and 4 bits, and L1 and L2 at 5 to 70 %. Otherwise small
    networks learn from the agent, beside the quantizations alone. Exits with 3 if nothing smaller
    meets the demand.

    Without an environment, --observations LOG finds the smallest artifact whose actions are near
    the original's (--keep-actions), which is no guarantee on the return.

    DIR becomes the artifact (policy.onnx, manifest.json), with report.html, results.json, a video
    and all candidates beside it. If it is interrupted, the same command goes on.

    Example: squeezerl squeeze demo --env HalfCheetah-v5 --retain 0.95 --budget 10m -o out
    """
    from squeezerl.agents.load import load_agent
    from squeezerl.api import squeeze as squeeze_agent
    from squeezerl.artifacts.output import check_output
    from squeezerl.evaluation.actions import KEEP_ACTIONS
    from squeezerl.report.log_squeeze_report import log_squeeze_result
    from squeezerl.report.squeeze_report import squeeze_result
    from squeezerl.report.tracking import log_report, squeeze_scalars
    from squeezerl.search.result import LogSqueezeResult
    from squeezerl.training.config import check_tracker

    check_tracker(track)
    loaded = load_agent(
        agent, vecnormalize=vecnormalize, activation=activation, clip_actions=clip_actions
    )
    check_output(output, force=force)
    environment = None
    if observations is None:
        if keep_actions is not None:
            raise InvalidArgumentError("--keep-actions is for --observations LOG")
        environment = console.find_environment(
            env,
            loaded.source,
            env_kwargs,
            backend,
            max_episode_steps=max_episode_steps,
            frame_stack=frame_stack,
        )
    elif any(each is not None for each in (env, env_kwargs, max_episode_steps, frame_stack)):
        raise InvalidArgumentError(
            "--observations takes the place of an environment; give no --env and no options of one "
            "with it"
        )
    interruption = interrupt_on_signals("interrupted; the same command goes on with what was found")
    names = console.option_names(recipes="--recipe")
    with interruption, names, best_so_far() as (update, on_best):
        squeezed = squeeze_agent(
            loaded,
            env=environment,
            output=output,
            observations=observations,
            keep_actions=keep_actions or KEEP_ACTIONS,
            recipes=recipes or (),
            workers=workers,
            stochastic=stochastic,
            force=force,
            opset=opset,
            retain=retain,
            episodes=episodes,
            max_episodes=max_episodes,
            budget=budget,
            optimize=optimize,
            max_bytes=None if max_bytes is None else bytes_of(max_bytes),
            seed=seed,
            measure=measure,
            watts_per_core=watts_per_core,
            on_progress=update,
            on_best=on_best,
        )
    if track is not None:
        log_report(output, output.name, squeeze_scalars(squeezed.to_json()), track)
    if as_json:
        console.print_json(squeezed.to_json())
    else:
        result = squeezed.result
        if isinstance(result, LogSqueezeResult):
            console.show(log_squeeze_result(result).blocks)
        else:
            console.show(squeeze_result(result).blocks)
        console.say(f"{output}: policy.onnx, manifest.json; look at {output / 'report.html'}")
    if squeezed.result.confirmation is None:
        raise typer.Exit(console.NOTHING_KEEPS)


def bytes_of(text: str) -> int:
    """Bytes of texts such as "500", "2k" and "1.5M".

    Raises:
        InvalidArgumentError: if it is no such text.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([kM]?)", text.strip())
    if found is None:
        raise InvalidArgumentError(f"--max-bytes {text!r} is not of the form 500, 2k or 1M")
    return round(float(found[1]) * {"": 1, "k": 1_000, "M": 1_000_000}[found[2]])


@contextmanager
def best_so_far() -> Iterator[tuple[StageProgress, OnBest]]:
    """A live table of the best so far above a bar, on standard error; silent unless a terminal."""
    from rich.console import Group
    from rich.live import Live
    from rich.table import Table

    from squeezerl.report.text import DASH, format_return

    bar = console.bar_of_progress(console.err)
    task = bar.add_task("squeeze", total=1.0)
    if not console.err.is_terminal:
        yield (lambda stage, fraction: None), (lambda best, left_s: None)
        return
    with Live(bar, console=console.err, transient=True, refresh_per_second=4) as live:

        def update(stage: str, fraction: float) -> None:
            bar.update(task, description=stage, completed=fraction)

        def on_best(best: Sequence[BestSoFar], left_s: float) -> None:
            left = f", {left_s:,.0f} s left" if left_s else ""
            table = Table("bytes", "return [95 %]", "retention", title=f"best so far{left}")
            for row in best:
                table.add_row(
                    f"{row.weight_bytes:,}",
                    DASH if row.record is None else format_return(row.record),
                    f"{row.retention:.1%}",
                )
            live.update(Group(table, bar))

        yield update, on_best
