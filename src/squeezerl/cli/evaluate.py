"""`squeezerl evaluate`: the return of an agent or an artifact, alone or against another."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from squeezerl.cli import console
from squeezerl.errors import InvalidArgumentError


@console.reports_errors
def evaluate(
    policy: Annotated[
        str,
        typer.Argument(
            metavar="AGENT_OR_ARTIFACT",
            help="An agent's .zip or folder, 'demo', or an artifact's folder.",
        ),
    ],
    env: console.EnvOption = None,
    episodes: Annotated[
        int, typer.Option(help="Complete episodes to run; more while undecided.")
    ] = 100,
    seed: console.SeedOption = 0,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="AGENT_OR_ARTIFACT", help="Baseline to compare with, on the same seeds."
        ),
    ] = None,
    retain: Annotated[float, typer.Option(help="Retention that the verdict is for.")] = 0.95,
    max_episodes: Annotated[
        int | None,
        typer.Option(
            help="Limit while undecided. [dim]default: 4 x episodes, or what --retain needs[/dim]"
        ),
    ] = None,
    observations: console.ObservationsOption = None,
    keep_actions: console.KeepActionsOption = None,
    env_kwargs: console.EnvKwargsOption = None,
    max_episode_steps: console.MaxEpisodeStepsOption = None,
    frame_stack: console.FrameStackOption = None,
    stochastic: console.StochasticOption = False,
    backend: console.BackendOption = "auto",
    runtime: Annotated[
        str, typer.Option(help="Runtime that plays: ort, native, torch, sb3.")
    ] = "ort",
    vecnormalize: console.VecNormalizeOption = None,
    activation: console.ActivationOption = None,
    clip_actions: console.ClipActionsOption = None,
    against_vecnormalize: Annotated[
        Path | None, typer.Option(help="The same for the agent of --against.")
    ] = None,
    as_json: console.JsonOption = False,
) -> None:
    """Run complete, seeded episodes and report the return.

    Every episode counts, however long. With --against both sides play the same seeds, and the
    verdict on the retention comes from a sequential test, never from the mean. Actions are
    deterministic unless agents are --stochastic; artifacts act as they were made.

    Without an environment, --observations compares the actions of both sides instead, on a log.

    Example: squeezerl evaluate out --env HalfCheetah-v5 --against demo
    """
    from squeezerl.agents.load import Agent
    from squeezerl.api import compare_actions, read_policy
    from squeezerl.api import evaluate as evaluate_policy
    from squeezerl.evaluation.actions import KeepActions
    from squeezerl.report.action_report import action_document, action_json
    from squeezerl.report.evaluation_report import (
        comparison_document,
        evaluation_document,
        evaluation_json,
    )

    if against is None and (max_episodes is not None or against_vecnormalize is not None):
        raise InvalidArgumentError(
            "--max-episodes and --against-vecnormalize are for comparisons; add --against"
        )
    loaded = read_policy(
        policy, vecnormalize=vecnormalize, activation=activation, clip_actions=clip_actions
    )
    source = loaded.source if isinstance(loaded, Agent) else loaded.manifest.source
    baseline = None
    if against is not None:
        with console.option_names(vecnormalize="--against-vecnormalize"):
            baseline = read_policy(
                against,
                vecnormalize=against_vecnormalize,
                activation=activation,
                clip_actions=clip_actions,
            )
    if observations is not None or keep_actions is not None:
        if observations is None or baseline is None or env is not None or env_kwargs:
            raise InvalidArgumentError(
                "actions are compared with --observations LOG, --against AGENT and no --env; "
                "--keep-actions is for that"
            )
        kept = compare_actions(
            loaded,
            against=baseline,
            observations=observations,
            keep_actions=keep_actions or KeepActions(),
            runtime=runtime,
        )
        if as_json:
            console.print_json(action_json(kept))
        else:
            console.show(action_document(kept).blocks)
        return
    with console.progress_bar("episodes") as update:
        found = evaluate_policy(
            loaded,
            env=console.find_environment(
                env,
                source,
                env_kwargs,
                backend,
                max_episode_steps=max_episode_steps,
                frame_stack=frame_stack,
            ),
            against=baseline,
            episodes=episodes,
            seed=seed,
            retain=retain,
            max_episodes=max_episodes,
            runtime=runtime,
            stochastic=stochastic,
            on_progress=update,
        )
    if as_json:
        console.print_json(
            evaluation_json(found.record, found.retention, found.baseline, found.random)
        )
        return
    if found.retention is None or found.baseline is None or found.random is None:
        console.show(evaluation_document(found.record).blocks)
        return
    records = (
        (Path(policy).name, found.record),
        (Path(against or "").name, found.baseline),
        ("random policy", found.random),
    )
    console.show(comparison_document(records, found.retention).blocks)
