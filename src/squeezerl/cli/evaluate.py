"""`squeezerl evaluate`: the return of an agent or an artifact, alone or against another."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from squeezerl.cli.console import (
    BackendOption,
    EnvKwargsOption,
    EnvOption,
    JsonOption,
    SeedOption,
    VecNormalizeOption,
    find_environment,
    print_json,
    progress_bar,
    reports_errors,
    show,
)
from squeezerl.errors import InvalidArgumentError


@reports_errors
def evaluate(
    policy: Annotated[
        str,
        typer.Argument(
            metavar="AGENT_OR_ARTIFACT",
            help="An agent's .zip or folder, 'demo', or an artifact's folder.",
            show_default=False,
        ),
    ],
    env: EnvOption = None,
    episodes: Annotated[
        int, typer.Option(help="Complete episodes to run; more while undecided.")
    ] = 100,
    seed: SeedOption = 0,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="AGENT_OR_ARTIFACT",
            help="Baseline to compare with, on the same seeds.",
            show_default=False,
        ),
    ] = None,
    retain: Annotated[float, typer.Option(help="Retention that the verdict is for.")] = 0.95,
    max_episodes: Annotated[
        int | None,
        typer.Option(
            help="Limit while undecided. [dim]default: 4 x episodes, or what --retain needs[/dim]",
            show_default=False,
        ),
    ] = None,
    env_kwargs: EnvKwargsOption = None,
    backend: BackendOption = "auto",
    vecnormalize: VecNormalizeOption = None,
    against_vecnormalize: Annotated[
        Path | None,
        typer.Option(help="The same for the agent of --against.", show_default=False),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Run complete, seeded episodes with deterministic actions and report the return.

    Every episode counts, however long. With --against both sides play the same seeds, and the
    verdict on the retention comes from an interval, never from the mean.

    Example: squeezerl evaluate out --env HalfCheetah-v5 --against demo
    """
    from squeezerl.api import load_any_actor
    from squeezerl.evaluation.evaluate import check_numbers
    from squeezerl.evaluation.evaluate import evaluate as evaluate_actor
    from squeezerl.evaluation.referee import Referee
    from squeezerl.report.evaluation_report import (
        comparison_document,
        evaluation_document,
        evaluation_json,
    )

    check_numbers(episodes, seed)
    if against is None and (max_episodes is not None or against_vecnormalize is not None):
        raise InvalidArgumentError(
            "--max-episodes and --against-vecnormalize are for comparisons; add --against"
        )
    actor, source = load_any_actor(policy, vecnormalize=vecnormalize)
    baseline = None
    if against is not None:
        baseline, _ = load_any_actor(against, vecnormalize=against_vecnormalize)
    environment = find_environment(env, source, env_kwargs, backend)
    environment.check_fits(actor)
    if baseline is None:
        with progress_bar("episodes") as update:
            record = evaluate_actor(
                actor,
                environment,
                episodes=episodes,
                seed=seed,
                on_progress=lambda fraction: update("episodes", fraction),
            )
        if as_json:
            print_json(evaluation_json(record))
            return
        show(evaluation_document(record).blocks)
        return
    environment.check_fits(baseline)
    referee = Referee(
        environment,
        baseline,
        threshold=retain,
        seed=seed,
        episodes=episodes,
        max_episodes=max_episodes,
    )
    with progress_bar("baseline") as update:
        referee.prepare(lambda fraction: update("baseline", fraction))
        judgement = referee.decide(actor, on_progress=lambda fraction: update("policy", fraction))
    retention = judgement.retention
    count = retention.episodes
    baseline_record, random_record = referee.records(count)
    if as_json:
        print_json(evaluation_json(judgement.record, retention, baseline_record, random_record))
        return
    records = (
        (Path(policy).name, judgement.record),
        (Path(against or "").name, baseline_record),
        ("random policy", random_record),
    )
    show(comparison_document(records, retention).blocks)
