"""`squeezerl profile`: what a policy costs in bytes, memory, time and energy."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from squeezerl.cli import console
from squeezerl.errors import InvalidArgumentError


@console.reports_errors
def profile(
    policies: Annotated[
        list[str],
        typer.Argument(
            metavar="AGENT_OR_ARTIFACT",
            help="Agents (.zip files, folders or 'demo') and artifacts (folders). "
            "The first is the reference.",
        ),
    ],
    runtime: Annotated[
        str,
        typer.Option(
            help="Names of runtimes with commas, as squeezerl doctor lists them. cortex-m4 and "
            "cortex-m0plus are emulated: flash, RAM and instructions per decision."
        ),
    ] = "ort,torch,sb3",
    batch: Annotated[int, typer.Option(help="Observations for each call of the policy.")] = 1,
    threads: Annotated[int, typer.Option(help="Threads of the runtime, pinned to cores.")] = 1,
    seconds: Annotated[
        float, typer.Option(help="For which each row is timed, over six processes or more.")
    ] = 5.0,
    precision: Annotated[
        float,
        typer.Option(
            help="Of the median latency, as a share; noisy rows get up to twelve processes."
        ),
    ] = 0.05,
    energy: Annotated[
        str, typer.Option(help="auto, none, cpu-time (an estimate) or a sensor that doctor lists.")
    ] = "auto",
    watts_per_core: console.WattsOption = None,
    episodes: Annotated[
        bool,
        typer.Option(
            "--episodes",
            help="Also play complete episodes in Gymnasium: time and energy per step and episode.",
        ),
    ] = False,
    env: console.EnvOption = None,
    env_kwargs: console.EnvKwargsOption = None,
    max_episode_steps: console.MaxEpisodeStepsOption = None,
    frame_stack: console.FrameStackOption = None,
    observations: console.ObservationsOption = None,
    seed: console.SeedOption = 0,
    vecnormalize: console.VecNormalizeOption = None,
    earlier: Annotated[
        list[Path] | None,
        typer.Option(
            "--beside",
            metavar="FILE",
            help="The JSON of an earlier profile or another machine's; shown without ratios.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Also write the JSON here."),
    ] = None,
    samples: Annotated[
        Path | None,
        typer.Option(metavar="FILE.npz", help="Also write the time of every single decision."),
    ] = None,
    as_json: console.JsonOption = False,
) -> None:
    """Measure size, memory, latency and energy per decision, each in fresh processes.

    Times are those of one call on observations of the agent's own episodes; memory is divided into
    interpreter, runtime and model. Figures that cannot be measured here are left out, never
    guessed: see squeezerl doctor.

    Example: squeezerl profile demo out --runtime ort,sb3 --watts-per-core 5
    """
    from squeezerl.api import profile as profile_policies
    from squeezerl.artifacts.output import check_file, write_file
    from squeezerl.measurement.result import samples_npz
    from squeezerl.report.document import Items
    from squeezerl.report.profile_report import (
        beside,
        profile_json,
        profile_notes,
        profile_tables,
        read_profile,
        short_names,
    )

    if observations is not None and (env or env_kwargs):
        raise InvalidArgumentError("--observations takes the place of --env and --env-kwargs")
    for file in (output, samples):
        if file is not None:
            check_file(file)
    if output is not None and samples is not None and output.absolute() == samples.absolute():
        raise InvalidArgumentError("--output and --samples name the same file")
    others = [(file, read_profile(file)) for file in earlier or ()]
    labels = short_names([str(file.with_suffix("")) for file, _ in others])
    with console.option_names(runtimes="--runtime"), console.progress_bar("profile") as update:
        result = profile_policies(
            policies,
            env=None
            if observations
            else lambda source: console.find_environment(
                env,
                source,
                env_kwargs,
                max_episode_steps=max_episode_steps,
                frame_stack=frame_stack,
            ),
            observations=observations,
            runtimes=runtime,
            batch=batch,
            threads=threads,
            seconds=seconds,
            precision=precision,
            energy=energy,
            watts_per_core=watts_per_core,
            episodes=episodes,
            seed=seed,
            vecnormalize=vecnormalize,
            on_progress=update,
        )
    data = profile_json(result)
    if output is not None:
        write_file(output, (json.dumps(data, indent=1) + "\n").encode())
    if samples is not None:
        write_file(samples, samples_npz(result))
    for file, other in others:
        data = beside(data, other, labels[str(file.with_suffix(""))].replace(os.sep, " "))
    if as_json:
        console.print_json(data)
        return
    console.show((*profile_tables(data), Items(tuple(profile_notes(data)))))
