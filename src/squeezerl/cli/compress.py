"""`squeezerl compress`: one recipe, one artifact."""

from __future__ import annotations

import json
from itertools import zip_longest
from typing import TYPE_CHECKING, Annotated

import typer

from squeezerl.cli import console
from squeezerl.errors import InvalidArgumentError, SpecError

if TYPE_CHECKING:
    from squeezerl.formats.base import SizeRecord
    from squeezerl.methods.recipe import Recipe
    from squeezerl.records import LayerRecord


@console.reports_errors
def compress(
    agent: console.AgentArgument,
    output: console.OutputOption,
    recipe: Annotated[
        str | None, typer.Option(help="Steps and their values, e.g. 'prune:l2:0.3 | int8:static'.")
    ] = None,
    method: Annotated[
        str | None, typer.Option(help="Short for a recipe: ptdq, ptsq, int8, int4, l1, l2, float.")
    ] = None,
    env: console.EnvOption = None,
    ratio: Annotated[
        float | None,
        typer.Option(help="Share of neurons that --method l1 or l2 removes, e.g. 0.3."),
    ] = None,
    naive: Annotated[
        bool,
        typer.Option("--naive", help="Quantize as the study did: per tensor, the whole graph."),
    ] = False,
    calibration_episodes: Annotated[
        int, typer.Option(help="Episodes that static quantization takes its observations from.")
    ] = 10,
    by_layer: Annotated[
        int | None,
        typer.Option(
            metavar="EPISODES",
            help="Keep each layer in float in turn, play so many episodes, and show the return.",
        ),
    ] = None,
    observations: console.ObservationsOption = None,
    seed: console.SeedOption = 0,
    env_kwargs: console.EnvKwargsOption = None,
    max_episode_steps: console.MaxEpisodeStepsOption = None,
    frame_stack: console.FrameStackOption = None,
    stochastic: console.StochasticOption = False,
    vecnormalize: console.VecNormalizeOption = None,
    activation: console.ActivationOption = None,
    clip_actions: console.ClipActionsOption = None,
    opset: console.OpsetOption = None,
    force: console.ForceOption = False,
    as_json: console.JsonOption = False,
) -> None:
    """Compress an agent with a recipe and write the artifact.

    A recipe is a sequence of steps: prune:l1:RATIO and prune:l2:RATIO remove neurons; int8:dynamic
    (ptdq) and int8:static (ptsq) quantize, with activation scales computed at run time or fixed by
    calibration on the agent's own episodes; recover learns to act as the agent does again, and
    distill:WIDTHS teaches that to a small network, both in the environment.

    Example: squeezerl compress demo --recipe 'prune:l2:0.1 | int8:static' -o out
    """
    from squeezerl.agents.load import load_agent
    from squeezerl.artifacts.output import check_output
    from squeezerl.evaluation.log import read_log
    from squeezerl.formats.base import FORMATS
    from squeezerl.formats.packed import packed_size
    from squeezerl.pipeline.layer_costs import layer_costs
    from squeezerl.pipeline.make import make_artifact, with_opset
    from squeezerl.records import to_json
    from squeezerl.report.text import format_number_interval

    steps = _recipe(recipe, method, ratio, naive)
    loaded = load_agent(
        agent, vecnormalize=vecnormalize, activation=activation, clip_actions=clip_actions
    )
    if stochastic:
        loaded = loaded.stochastic()
    check_output(output, force=force)
    environment, log = None, None
    if observations is not None:
        given = (env, env_kwargs, max_episode_steps, frame_stack, by_layer)
        if any(value is not None for value in given):
            raise InvalidArgumentError(
                "--observations takes the place of an environment; give no --env, no options of "
                "one and no --by-layer with it"
            )
        log = read_log(observations).fitted_to(loaded.network)
    elif env is not None or steps.needs_environment or by_layer is not None:
        environment = console.find_environment(
            env,
            loaded.source,
            env_kwargs,
            max_episode_steps=max_episode_steps,
            frame_stack=frame_stack,
        )
        environment.check_fits(loaded.network)
    names = console.option_names(episodes="--calibration-episodes")
    doing = "learning" if "visits" in steps.needs else "calibration"
    with names, console.progress_bar(doing) as update:
        artifact = make_artifact(
            loaded,
            steps,
            environment=environment,
            log=log,
            episodes=calibration_episodes,
            seed=seed,
            on_progress=lambda fraction: update(doing, fraction),
        )
        artifact = with_opset(artifact, opset)
    costs = []
    if by_layer is not None and environment is not None:
        with console.progress_bar("layers") as update:
            costs = layer_costs(
                loaded,
                steps,
                environment,
                episodes=by_layer,
                seed=seed,
                on_progress=lambda fraction: update("layers", fraction),
            )
    artifact.save(output, force=force)
    manifest = artifact.manifest
    if as_json:
        found = {"layer_costs": to_json(costs)} if by_layer is not None else {}
        console.print_json(json.loads(manifest.dumps()) | found)
        return
    console.print_table(
        ("layer", "before", "after", "dtype", "bytes before", "bytes after"),
        [
            (
                (after or before).name,
                _sizes(before),
                _sizes(after),
                after.weight_dtype if after else "–",
                f"{before.total_bytes:,}" if before else "–",
                f"{after.total_bytes:,}" if after else "–",
            )
            # A method may give more layers than there were, or fewer.
            for before, after in zip_longest(manifest.layers_before, manifest.layers)
        ],
    )
    if costs:
        console.say()
        console.print_table(
            ("in float", "deviation of actions", f"return, less float ({by_layer} episodes)"),
            [
                (cost.in_float, f"{cost.deviation:.4f}", format_number_interval(cost.difference))
                for cost in costs
            ],
        )
    float_weights = packed_size(loaded.network).total
    float_bytes = len(FORMATS.get("onnx").write(loaded.network))
    said = _bytes_on_disk(manifest.size, float_weights, float_bytes)
    console.say(f"\n{output}: {said}")
    if observations is not None:
        compared = ["--against", agent, "--observations", str(observations)]
        compared += [f"--activation={activation}"] * (activation is not None)
        compared += [f"--clip-actions={clip_actions}"] * (clip_actions is not None)
        command = console.command("evaluate", str(output), *compared)
        console.say(f"How near its actions are, better on another log: {command}")
        return
    if env is None and loaded.source.env_id is None:
        console.say("What that cost shows in its environment; the agent does not name it (--env)")
        return
    console.say(
        "What that cost: "
        + console.command(
            *("evaluate", str(output), "--against", agent),
            *[f"--env={env}"] * (env is not None),
            *(f"--env-kwargs={pair}" for pair in env_kwargs or ()),
            *[f"--max-episode-steps={max_episode_steps}"] * (max_episode_steps is not None),
            *[f"--frame-stack={frame_stack}"] * (frame_stack is not None),
            *["--stochastic"] * stochastic,
            *[f"--against-vecnormalize={vecnormalize}"] * (vecnormalize is not None),
            *[f"--activation={activation}"] * (activation is not None),
            *[f"--clip-actions={clip_actions}"] * (clip_actions is not None),
        )
    )


def _bytes_on_disk(size: SizeRecord, float_weights: int, float_bytes: int) -> str:
    """How many bytes the policy and its file have, and the same of the policy in float."""
    smaller = float_bytes / size.file_bytes
    compared = (
        f"{smaller:.1f} times smaller than"
        if smaller >= 1.05
        else f"{1 / smaller:.1f} times larger than"
        if smaller <= 0.95
        else "as large as"
    )
    fewer = float_weights / size.weight_bytes
    text = (
        f"{size.file_bytes:,} bytes on disk, {compared} the policy in float ({float_bytes:,} "
        f"bytes); {size.weight_bytes:,} weight bytes, {fewer:.1f} times fewer than in float"
    )
    if smaller <= 0.95:
        text += (
            ". The scales and the conversions of quantized values take more than the weights of so "
            "small a network give back"
        )
    return text


def _sizes(layer: LayerRecord | None) -> str:
    return f"{layer.in_features} → {layer.out_features}" if layer else "–"


def _recipe(text: str | None, method: str | None, ratio: float | None, naive: bool) -> Recipe:
    """The recipe that the options ask for."""
    from squeezerl.methods.base import FLOAT, SpecText, method_words
    from squeezerl.methods.recipe import Recipe

    if (text is None) == (method is None):
        raise SpecError("give either --recipe or --method, for example --recipe int8:static")
    if text is not None:
        if ratio is not None or naive:
            raise SpecError("--ratio and --naive go with --method; a recipe says it all")
        return _trained_before(Recipe.of(text))
    assert method is not None
    if naive:
        method = f"{method}-naive"
        if method not in method_words():
            raise SpecError("--naive is for quantization only: ptdq and ptsq")
    is_open = method != FLOAT and SpecText.parse(method).is_open
    if is_open and ratio is None:
        raise SpecError(f"--method {method} needs a --ratio, for example 0.3 for 30 %")
    if not is_open and ratio is not None:
        raise SpecError(f"--method {method} takes no --ratio; l1 and l2 do")
    return _trained_before(Recipe.of(method if ratio is None else f"{method}:{ratio}"))


def _trained_before(recipe: Recipe) -> Recipe:
    """The recipe, if it can be applied to a trained agent."""
    if "training" in recipe.needs:
        raise SpecError("qat happens in training: squeezerl train ALGO ENV --qat int8 -o DIR")
    return recipe
