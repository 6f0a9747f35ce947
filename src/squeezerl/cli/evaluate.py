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
    print_table,
    progress_bar,
    reports_errors,
    say,
)
from squeezerl.errors import InvalidArgumentError

_VERDICTS = {
    "keeps": "keeps",
    "loses": "does not keep",
    "undecided": "undecided whether it keeps",
}


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
    runtime: Annotated[str, typer.Option(help="Runtime that plays: ort, torch, sb3.")] = "ort",
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
    from squeezerl.api import as_artifact
    from squeezerl.api import evaluate as evaluate_policy
    from squeezerl.report.contract import evaluation_json
    from squeezerl.report.text import format_interval, format_return

    if against is None and (max_episodes is not None or against_vecnormalize is not None):
        raise InvalidArgumentError(
            "--max-episodes and --against-vecnormalize are for comparisons; add --against"
        )
    artifact = as_artifact(policy, vecnormalize=vecnormalize)
    baseline = None
    if against is not None:
        baseline = as_artifact(against, vecnormalize=against_vecnormalize)
    with progress_bar("episodes") as update:
        found = evaluate_policy(
            artifact,
            env=find_environment(env, artifact.manifest.source, env_kwargs, backend),
            against=baseline,
            episodes=episodes,
            seed=seed,
            retain=retain,
            max_episodes=max_episodes,
            runtime=runtime,
            on_progress=update,
        )
    record = found.record
    if as_json:
        print_json(evaluation_json(record, found.retention, found.baseline, found.random))
        return
    if found.retention is None or found.baseline is None or found.random is None:
        print_table(
            ("environment", "episodes", "mean return [95 %]", "steps", "steps/s", "backend"),
            [
                (
                    record.env_id,
                    str(len(record.episodes)),
                    format_return(record),
                    f"{record.steps:,}",
                    f"{record.steps / record.seconds:,.0f}",
                    record.backend,
                )
            ],
        )
        return
    names = (Path(policy).name, Path(against or "").name, "random policy")
    print_table(
        ("policy", "episodes", "mean return [95 %]"),
        [
            (name, str(len(each.episodes)), format_return(each))
            for name, each in zip(names, (record, found.baseline, found.random), strict=True)
        ],
    )
    retention = found.retention
    say(
        f"\nretention {format_interval(retention.normalized)} "
        f"(ratio of returns {format_interval(retention.ratio)})",
    )
    if retention.verdict is None:
        say("The baseline is not clearly better than random: untrained, so no verdict.")
    else:
        verdict = _VERDICTS[retention.verdict]
        say(f"{verdict} {retain:.0%} of the return ({retention.episodes} episodes)")
