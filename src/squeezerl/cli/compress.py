"""`squeezerl compress`: one method, one artifact."""

from __future__ import annotations

from typing import Annotated

import typer

from squeezerl.cli.console import (
    AgentArgument,
    EnvKwargsOption,
    EnvOption,
    ForceOption,
    JsonOption,
    OutputOption,
    SeedOption,
    VecNormalizeOption,
    find_environment,
    print_json,
    print_table,
    progress_bar,
    reports_errors,
    say,
)


@reports_errors
def compress(
    agent: AgentArgument,
    method: Annotated[str, typer.Option(help="ptdq, ptsq, l1, l2 or float.", show_default=False)],
    output: OutputOption,
    env: EnvOption = None,
    ratio: Annotated[
        float | None,
        typer.Option(help="Share of neurons that l1 and l2 remove, e.g. 0.3.", show_default=False),
    ] = None,
    naive: Annotated[
        bool,
        typer.Option("--naive", help="Quantize as the study did: per tensor, the whole graph."),
    ] = False,
    calibration_episodes: Annotated[
        int, typer.Option(help="Episodes that ptsq takes its observations from.")
    ] = 10,
    seed: SeedOption = 0,
    env_kwargs: EnvKwargsOption = None,
    vecnormalize: VecNormalizeOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Compress an agent with one method and write the artifact.

    ptdq and ptsq are int8 quantization with activation scales computed at run time or fixed by
    calibration on the agent's own episodes; l1 and l2 remove neurons.

    Example: squeezerl compress demo --env HalfCheetah-v5 --method ptsq -o out
    """
    from squeezerl.agents.load import load_agent
    from squeezerl.api import make_actor
    from squeezerl.artifacts.output import check_output
    from squeezerl.artifacts.write import write_artifact
    from squeezerl.evaluation.evaluate import calibrate
    from squeezerl.methods.compress import compress as compress_policy
    from squeezerl.methods.specs import specs_for
    from squeezerl.records import to_json

    specs = specs_for(method, ratio, naive=naive)
    loaded = load_agent(agent, vecnormalize=vecnormalize)
    check_output(output, force=force)
    observations = calibration = None
    if env is not None or method == "ptsq":
        environment = find_environment(env, loaded.source, env_kwargs)
        actor = make_actor(loaded)
        environment.check_fits(actor)
        if method == "ptsq":
            with progress_bar("calibration") as update:
                observations, calibration = calibrate(
                    actor,
                    environment,
                    episodes=calibration_episodes,
                    seed=seed,
                    on_progress=lambda fraction: update("calibration", fraction),
                )
    compressed = compress_policy(loaded.policy, specs, observations=observations)
    manifest = write_artifact(
        compressed, loaded.source, output, calibration=calibration, force=force
    )
    if as_json:
        print_json(to_json(manifest))
        return
    print_table(
        ("layer", "before", "after", "dtype", "bytes before", "bytes after"),
        [
            (
                after.name,
                f"{before.in_features} → {before.out_features}",
                f"{after.in_features} → {after.out_features}",
                after.weight_dtype,
                f"{before.total_bytes:,}",
                f"{after.total_bytes:,}",
            )
            for before, after in zip(manifest.layers_before, manifest.layers, strict=True)
        ],
    )
    before_bytes = sum(layer.total_bytes for layer in manifest.layers_before)
    size = manifest.size
    say(
        f"\n{output}: {size.file_bytes:,} bytes, of which {size.weight_bytes:,} in the layers "
        f"({before_bytes / size.weight_bytes:.1f} times fewer than in float)\n"
        f"What that cost: squeezerl evaluate {output} --against {agent}"
    )
