"""`squeezerl squeeze`: the smallest artifact that keeps the return."""

from __future__ import annotations

from typing import Annotated

import typer

from squeezerl.cli import console
from squeezerl.cli.stopping import interrupt_on_signals


@console.reports_errors
def squeeze(
    agent: console.AgentArgument,
    output: console.OutputOption,
    env: console.EnvOption = None,
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
            help="Try this recipe; repeat for more. [dim]default: what every method offers[/dim]",
        ),
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
    opset: console.OpsetOption = None,
    measure: Annotated[
        bool, typer.Option(help="Also measure latency, memory and energy of the best candidates.")
    ] = True,
    watts_per_core: console.WattsOption = None,
    force: console.ForceOption = False,
    as_json: console.JsonOption = False,
) -> None:
    """Try PTDQ, PTSQ, L1 and L2 at 5 to 70 %; keep the smallest that keeps the return.

    DIR becomes the artifact (policy.onnx, manifest.json), with report.md, results.json,
    pareto.png and all candidates beside it. If it is interrupted, the same command goes on.

    Example: squeezerl squeeze demo --env HalfCheetah-v5 --retain 0.95 -o out
    """
    from squeezerl.agents.load import load_agent
    from squeezerl.api import squeeze as squeeze_agent
    from squeezerl.artifacts.output import check_output
    from squeezerl.report.squeeze_report import squeeze_result

    loaded = load_agent(agent, vecnormalize=vecnormalize)
    check_output(output, force=force)
    environment = console.find_environment(
        env,
        loaded.source,
        env_kwargs,
        backend,
        max_episode_steps=max_episode_steps,
        frame_stack=frame_stack,
    )
    interruption = interrupt_on_signals("interrupted; the same command goes on with what was found")
    with (
        interruption,
        console.option_names(recipes="--recipe"),
        console.progress_bar("squeeze") as update,
    ):
        squeezed = squeeze_agent(
            loaded,
            env=environment,
            output=output,
            recipes=recipes or (),
            workers=workers,
            stochastic=stochastic,
            force=force,
            opset=opset,
            retain=retain,
            episodes=episodes,
            max_episodes=max_episodes,
            seed=seed,
            measure=measure,
            watts_per_core=watts_per_core,
            on_progress=update,
        )
    if as_json:
        console.print_json(squeezed.to_json())
        return
    console.show(squeeze_result(squeezed.result).blocks)
    console.say(f"{output}: policy.onnx, manifest.json, report.md, results.json, pareto.png")
