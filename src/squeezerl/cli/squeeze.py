"""`squeezerl squeeze`: the smallest artifact that keeps the return."""

from __future__ import annotations

from typing import Annotated

import typer

from squeezerl.cli.console import (
    AgentArgument,
    BackendOption,
    EnvKwargsOption,
    EnvOption,
    ForceOption,
    JsonOption,
    MaxEpisodeStepsOption,
    OutputOption,
    SeedOption,
    VecNormalizeOption,
    WattsOption,
    find_environment,
    option_names,
    print_json,
    progress_bar,
    reports_errors,
    say,
    show,
)
from squeezerl.cli.stopping import interrupt_on_signals


@reports_errors
def squeeze(
    agent: AgentArgument,
    output: OutputOption,
    env: EnvOption = None,
    retain: Annotated[
        float, typer.Option(help="Share of the (random-normalised) return to keep.")
    ] = 0.95,
    episodes: Annotated[int, typer.Option(help="Complete episodes per candidate.")] = 100,
    max_episodes: Annotated[
        int | None,
        typer.Option(
            help="Limit while undecided. [dim]default: 4 x episodes, or what --retain needs[/dim]",
            show_default=False,
        ),
    ] = None,
    recipes: Annotated[
        list[str] | None,
        typer.Option(
            "--recipe",
            help="Try this recipe; repeat for more. [dim]default: what every method offers[/dim]",
            show_default=False,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            help="Processes side by side. [dim]default: one per core[/dim]", show_default=False
        ),
    ] = None,
    seed: SeedOption = 0,
    env_kwargs: EnvKwargsOption = None,
    max_episode_steps: MaxEpisodeStepsOption = None,
    backend: BackendOption = "auto",
    vecnormalize: VecNormalizeOption = None,
    measure: Annotated[
        bool,
        typer.Option(help="Also measure latency, memory and energy of the best candidates."),
    ] = True,
    watts_per_core: WattsOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
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
    environment = find_environment(
        env, loaded.source, env_kwargs, backend, max_episode_steps=max_episode_steps
    )
    interruption = interrupt_on_signals("interrupted; the same command goes on with what was found")
    with interruption, option_names(recipes="--recipe"), progress_bar("squeeze") as update:
        squeezed = squeeze_agent(
            loaded,
            env=environment,
            output=output,
            recipes=recipes or (),
            workers=workers,
            force=force,
            retain=retain,
            episodes=episodes,
            max_episodes=max_episodes,
            seed=seed,
            measure=measure,
            watts_per_core=watts_per_core,
            on_progress=update,
        )
    if as_json:
        print_json(squeezed.to_json())
        return
    show(squeeze_result(squeezed.result).blocks)
    say(f"{output}: policy.onnx, manifest.json, report.md, results.json, pareto.png")
