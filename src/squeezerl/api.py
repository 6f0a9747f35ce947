"""The whole jobs, as the command line does them; `squeezerl` exports these names."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from squeezerl.agents.load import Agent, load_agent, read_limited
from squeezerl.artifacts.artifact import Artifact, is_artifact, read_artifact
from squeezerl.artifacts.output import check_output, new_folder
from squeezerl.errors import (
    AuditError,
    EvaluationError,
    FormatError,
    InvalidArgumentError,
)
from squeezerl.evaluation.actions import (
    KEEP_ACTIONS,
    ActionReferee,
    ActionRetention,
    KeepActions,
    check_length,
)
from squeezerl.evaluation.doubts import (
    STOCHASTIC,
    needs_its_noise,
    warn_of_doubts,
    warn_of_unbounded,
)
from squeezerl.evaluation.environment import Environment, make_gymnasium
from squeezerl.evaluation.evaluate import calibrate, check_numbers, play
from squeezerl.evaluation.log import Log, find_log, warn_of_constants
from squeezerl.evaluation.referee import Referee
from squeezerl.evaluation.reference_actors import RandomActor
from squeezerl.formats.base import FORMATS
from squeezerl.formats.c.program import (
    PROGRAM_FACTS,
    SOURCE_TARGETS,
    Program,
    Target,
    c_program,
    check_name,
)
from squeezerl.host.facts import host_facts
from squeezerl.measurement.meters.choose import choose_gpu_meter, choose_meter
from squeezerl.measurement.microcontroller import (
    PROCESSORS,
    build_wasm,
    measure_microcontroller,
)
from squeezerl.measurement.profile import profile_subjects
from squeezerl.measurement.result import Profile
from squeezerl.measurement.settings import (
    PRECISION,
    EpisodesJob,
    Settings,
    Workload,
)
from squeezerl.measurement.subject import Subject
from squeezerl.methods.recipe import Recipe, RecipeLike
from squeezerl.network.network import Network
from squeezerl.pipeline.make import home_of, make_artifact, recorded_observations, with_opset
from squeezerl.records import AgentSource, EvaluationRecord, Retention, to_json
from squeezerl.report.log_squeeze_report import (
    log_squeeze_json,
    log_summary,
    write_log_squeeze_report,
)
from squeezerl.report.squeeze_report import squeeze_json, summary, write_squeeze_report
from squeezerl.runtimes.base import RUNTIMES, Actor, Observations
from squeezerl.search.result import LogSqueezeResult, SqueezeResult

if TYPE_CHECKING:
    from squeezerl.pipeline.replay import Film
    from squeezerl.search.working import OnBest, StageProgress

_SQUEEZE_SECONDS = 0.6
# Rows of a log that the C program of a squeeze is tested on.
_TESTED = 1_000
# What can be evaluated and measured: an agent or an artifact, or the path of one.
Policy = Agent | Artifact | str | Path


load = load_agent


def read_policy(
    policy: Policy,
    *,
    vecnormalize: str | Path | None = None,
    activation: str | None = None,
    clip_actions: str | None = None,
) -> Agent | Artifact:
    """The agent or artifact itself, or the one at a path.

    `activation` and `clip_actions` are for agents that need them (`load_agent`); artifacts have
    theirs.

    Raises:
        SqueezeRLError: if it is neither, or damaged, or an artifact is given a normaliser.
    """
    if isinstance(policy, str | Path) and is_artifact(policy):
        policy = read_artifact(policy)
    if isinstance(policy, Artifact) and vecnormalize is not None:
        raise InvalidArgumentError(
            "an artifact has its normaliser inside; give no `vecnormalize` with it"
        )
    if isinstance(policy, Agent | Artifact):
        return policy
    return load_agent(
        policy, vecnormalize=vecnormalize, activation=activation, clip_actions=clip_actions
    )


def read_network(path: str | Path, *, activation: str | None = None) -> Network:
    """The network of an artifact, of its policy.onnx alone, or of an agent.

    Raises:
        SqueezeRLError: if it is none of these, or damaged.
    """
    if Path(path).suffix == ".onnx" and Path(path).is_file():
        try:
            return FORMATS.get("onnx").read(read_limited(Path(path)))[0]
        except AuditError:
            pass  # of another exporter
    return read_policy(path, activation=activation).network


def as_artifact(
    policy: Policy, *, vecnormalize: str | Path | None = None, stochastic: bool = False
) -> Artifact:
    """The artifact itself, or an agent's policy as an artifact in float32.

    Args:
        policy: what it is made of.
        vecnormalize: of the agent, where it does not stand beside the checkpoint.
        stochastic: the agent draws its actions, as in training.

    Raises:
        SqueezeRLError: as `read_policy`, or if there is no distribution to draw from.
    """
    policy = read_policy(policy, vecnormalize=vecnormalize)
    if isinstance(policy, Agent):
        return make_artifact(policy.stochastic() if stochastic else policy)
    if stochastic and policy.network.head.sampling is None:
        raise InvalidArgumentError(
            "the artifact acts deterministically, and cannot be `stochastic`; made again from the "
            "agent with `stochastic=True`, it draws its actions"
        )
    return policy


def as_agent(
    agent: Agent | str | Path,
    *,
    vecnormalize: str | Path | None = None,
    stochastic: bool = False,
) -> Agent:
    """The agent itself, or the one at a path; with actions that it draws if `stochastic`."""
    if not isinstance(agent, Agent):
        agent = load_agent(agent, vecnormalize=vecnormalize)
    return agent.stochastic() if stochastic else agent


def load_actor(policy: Policy, *, runtime: str = "ort", threads: int = 1) -> Actor:
    """Load an artifact, or an agent's policy in float32, into a runtime.

    Example:
        >>> actor = squeezerl.load_actor("out")
        >>> actions = actor.act(observations)  # (n, *observation_shape) → (n, *action_shape)

    Args:
        policy: an artifact or an agent, or the path of one.
        runtime: the name of a registered runtime: "ort", "native", "torch", "sb3", ...
        threads: of the runtime.

    Raises:
        SqueezeRLError: if it is damaged, or the runtime cannot run it.
    """
    artifact, chosen = as_artifact(policy), RUNTIMES.get(runtime)
    refusal = chosen.cannot_run(artifact.network, artifact.algorithm)
    if refusal is not None:
        raise InvalidArgumentError(f"runtime {runtime!r} cannot run this policy: {refusal}")
    return chosen.load(artifact, threads=threads)


def compress(
    agent: Agent | str | Path,
    recipe: RecipeLike = "float",
    *,
    env: Environment | str | None = None,
    observations: Log | npt.ArrayLike | str | Path | None = None,
    seed: int = 0,
    stochastic: bool = False,
    opset: int | None = None,
) -> Artifact:
    """Compress an agent with a recipe.

    Example:
        >>> small = squeezerl.compress("ppo/Hopper-v3_1", "prune:l2:0.3 | int8:static")
        >>> small.save("out")

    Args:
        agent: an agent, the path of one, or "demo".
        recipe: a text, a spec, a sequence of specs, or a `Recipe`.
        env: where a recipe that needs observations gets them, an environment or its id; unless
            given, the one that the agent was trained on.
        observations: recorded elsewhere, instead of an environment: an array
            (n, *observation_shape), or the path of a log (see `read_log`). The manifest says which
            they were.
        seed: of the episodes that observations are taken from.
        stochastic: keep the distribution that the agent draws its actions from. The artifact then
            takes noise as a second input (docs/artifacts.md).
        opset: of the ONNX file, for an older ONNX Runtime on the device.

    Raises:
        SqueezeRLError: if the recipe makes no sense or does not fit the agent, or for bad input.
    """
    agent = as_agent(agent, stochastic=stochastic)
    if observations is not None and env is not None:
        raise InvalidArgumentError("`observations` take the place of `env`; give one of them")
    place = Environment.find(env, agent.source.env_kwargs) if isinstance(env, str) else env
    if observations is None:
        artifact = make_artifact(agent, recipe, environment=place, seed=seed)
    else:
        log = find_log(observations).fitted_to(agent.network)
        warn_of_constants(log, agent.network)
        artifact = make_artifact(agent, recipe, log=log)
    return with_opset(artifact, opset)


TARGETS = (*SOURCE_TARGETS, *PROCESSORS, "wasm32")


def export_c(
    policy: Policy,
    output: str | Path,
    *,
    name: str = "policy",
    target: str = "portable",
    observations: Log | npt.ArrayLike | str | Path | None = None,
    force: bool = False,
) -> dict[str, Any]:
    """Write a policy as a C program with a self-test, and say what it needs.

    Example:
        >>> squeezerl.export_c("out", "walker", name="walker")

    Args:
        policy: an artifact or an agent, or the path of one.
        output: folder to write.
        name: begins the names of the files and of all that other files can link to.
        target: "portable", C99 for any processor of 32 bits or more; or "native", for computers:
            GCC or Clang, with the vector instructions of x86-64 where the processor has them.
            "x86-64-v3" is that with AVX2 alone, for processors that have it for certain.
            "cortex-m4" and "cortex-m0plus" are portable, and the program is also built and run in
            an emulator; "wasm32" is portable, with `NAME.wasm` beside it.
        observations: for the self-test, as for `compress`; unless given, those of an episode in the
            environment that the agent was trained on, or random ones where there is none.
        force: replace the program at `output`.

    Returns:
        What `program.json` in the folder holds: name, target, files, constant and stack bytes; for
        microcontrollers also a `MicrocontrollerRecord`.

    Raises:
        FormatError: if C cannot hold the policy.
        SqueezeRLError: for bad input, or if the folder cannot be written.
    """
    check_name(name)
    if target not in TARGETS:
        raise InvalidArgumentError(f"`target` is {target!r}; known are {', '.join(TARGETS)}")
    artifact, output = as_artifact(policy), Path(output)
    check_output(output, force=force, marker=PROGRAM_FACTS)
    network = artifact.network
    if observations is None:
        observations = recorded_observations(artifact)
    seen = find_log(observations).fitted_to(network).observations
    program = _program(artifact, name, target, seen)
    wasm = build_wasm(program) if target == "wasm32" else None
    program.facts["target"] = target
    if target in PROCESSORS:
        measured = measure_microcontroller(program, target)
        program.facts["microcontroller"] = to_json(measured)
    with new_folder(output, force=force, marker=PROGRAM_FACTS) as folder:
        program.write(folder)
        if wasm is not None:
            (folder / f"{name}.wasm").write_bytes(wasm)
    return program.facts


def _program(artifact: Artifact, name: str, target: str, observations: Observations) -> Program:
    source = artifact.manifest.source
    title = (
        f"A policy trained with {source.algorithm or 'an unknown algorithm'} for "
        f"{source.env_id or 'an unknown environment'}, recipe {artifact.manifest.recipe}."
    )
    layout: Target = next((each for each in SOURCE_TARGETS if each == target), "portable")
    return c_program(artifact.network, name, observations, title=title, target=layout)


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Complete episodes of a policy; beside a baseline also what it keeps of its return.

    `retention`, `baseline` and `random` are `None` where there was nothing to compare with.
    """

    record: EvaluationRecord
    retention: Retention | None = None
    baseline: EvaluationRecord | None = None
    random: EvaluationRecord | None = None

    @property
    def mean_return(self) -> float:
        """Mean over the policy's episodes."""
        return self.record.mean_return


def evaluate(
    policy: Policy | Actor,
    *,
    env: Environment | str | None = None,
    against: Policy | Actor | None = None,
    episodes: int = 100,
    seed: int = 0,
    retain: float = 0.95,
    max_episodes: int | None = None,
    runtime: str = "ort",
    stochastic: bool = False,
    on_progress: StageProgress = lambda stage, fraction: None,
) -> Evaluation:
    """Play complete episodes with the seeds `seed`, `seed + 1`, ...; compare with a baseline.

    Example:
        >>> squeezerl.evaluate("out", against="ppo/Hopper-v3_1").retention.normalized

    Args:
        policy: an agent, an artifact, the path of one, or an actor.
        env: an environment or its id; unless given, the one that the agent was trained on.
        against: the baseline, which plays the same seeds.
        episodes: of each side; more while the verdict is undecided.
        seed: of the first episode.
        retain: the retention that the verdict is for.
        max_episodes: the limit while undecided (see `Referee`).
        runtime: that runs the policies.
        stochastic: agents draw their actions, as in training, each episode with its own seed.
            Artifacts and actors act as they were made.
        on_progress: called with what is being played and the share of it that is done.

    Raises:
        SqueezeRLError: for bad input, or if environment and policy do not fit.
    """
    check_numbers(episodes, seed)
    if isinstance(policy, str | Path):
        policy = read_policy(policy)
    actor, source = _actor(policy, runtime, stochastic)
    if stochastic and not actor.draws:
        raise InvalidArgumentError("the actor draws no actions, and cannot be `stochastic`")
    place = _place(env, source)
    place.check_fits(actor)
    if isinstance(policy, Agent):
        warn_of_unbounded(policy, place)
    if against is None:
        record = play(
            actor,
            place,
            episodes=episodes,
            seed=seed,
            on_progress=lambda fraction: on_progress("episodes", fraction),
        )
        if source is not None:
            warn_of_doubts(source, place, record, policy if isinstance(policy, Agent) else None)
        return Evaluation(record=record)
    if isinstance(against, str | Path):
        against = read_policy(against)
    baseline, origin = _actor(against, runtime, stochastic and isinstance(against, Agent))
    place.check_fits(baseline)
    if isinstance(against, Agent):
        warn_of_unbounded(against, place)
    random = RandomActor(place, seed)
    names = {id(actor): "policy", id(baseline): "baseline", id(random): "random policy"}

    def run(player: Actor, first: int, count: int) -> EvaluationRecord:
        return play(
            player,
            place,
            episodes=count,
            seed=first,
            on_progress=lambda fraction: on_progress(names[id(player)], fraction),
        )

    referee = Referee(
        run,
        baseline,
        random,
        threshold=retain,
        seed=seed,
        episodes=episodes,
        max_episodes=max_episodes,
    )
    judgement = referee.decide(actor)
    baseline_record, random_record = referee.references(judgement.retention.episodes)
    if origin is not None:
        agent = against if isinstance(against, Agent) else None
        warn_of_doubts(origin, place, baseline_record, agent)
    return Evaluation(
        record=judgement.record,
        retention=judgement.retention,
        baseline=baseline_record,
        random=random_record,
    )


def compare_actions(
    policy: Policy | Actor,
    *,
    against: Policy,
    observations: Log | npt.ArrayLike | str | Path,
    keep_actions: KeepActions | str = KEEP_ACTIONS,
    runtime: str = "ort",
) -> ActionRetention:
    """How near a policy's actions are to the original's, on a log of observations.

    It says nothing of the return. The exact bounds are those of rows that played no part in making
    or choosing the policy: give it another log than the one that the policy was fitted to.

    Example:
        >>> found = squeezerl.compare_actions("out", against="policy.pt", observations="log.npz")
        >>> found.share.low

    Args:
        policy: an agent, an artifact, the path of one, or an actor.
        against: the original.
        observations: an array (n, *observation_shape), or the path of a log (see `read_log`).
        keep_actions: what is asked for (see `KeepActions`).
        runtime: that runs the policy.

    Raises:
        SqueezeRLError: for bad input, or a log that is too short.
    """
    original, demand = as_artifact(against).network, KeepActions.of(keep_actions)
    log = find_log(observations).fitted_to(original)
    check_length(log, demand)
    actor, _ = _actor(policy, runtime, stochastic=False)
    return ActionReferee(original, log, demand).judge(actor)


def _in_opset(folder: Path, opset: int | None) -> None:
    """Write the artifact in a folder again, in this opset."""
    if opset is not None:
        for name, content in with_opset(read_artifact(folder), opset).files.items():
            (folder / name).write_bytes(content)


def _write_program(artifact: Artifact, observations: Observations, folder: Path) -> None:
    """The C program of an artifact in a new folder, if C can hold it."""
    try:
        program = _program(artifact, "policy", TARGETS[0], observations)
    except FormatError:
        return
    folder.mkdir()
    program.write(folder)


@dataclass(frozen=True)
class Squeezed:
    """What a squeeze found, and the folder that it wrote."""

    result: SqueezeResult | LogSqueezeResult
    output: Path

    @property
    def recipe(self) -> Recipe:
        """The recipe that was chosen; "float" if nothing smaller keeps the return."""
        return self.result.chosen.recipe

    @property
    def artifact(self) -> Artifact:
        """The chosen artifact, read from `output`."""
        return read_artifact(self.output)

    def summary(self) -> str:
        """What was chosen and why, in a sentence or two."""
        if isinstance(self.result, LogSqueezeResult):
            return log_summary(self.result)
        return summary(self.result)

    def to_json(self) -> dict[str, Any]:
        """All that was tried, as `squeezerl squeeze --json` prints it."""
        if isinstance(self.result, LogSqueezeResult):
            return log_squeeze_json(self.result, self.output)
        return squeeze_json(self.result, self.output)


def squeeze(
    agent: Agent | str | Path,
    *,
    output: str | Path,
    env: Environment | str | None = None,
    observations: Log | npt.ArrayLike | str | Path | None = None,
    keep_actions: KeepActions | str = KEEP_ACTIONS,
    retain: float = 0.95,
    recipes: Sequence[RecipeLike] = (),
    budget: float | str = "5m",
    optimize: str = "bytes",
    max_bytes: int | None = None,
    episodes: int = 100,
    max_episodes: int | None = None,
    seed: int = 0,
    measure: bool = True,
    watts_per_core: float | None = None,
    workers: int | None = None,
    stochastic: bool = False,
    force: bool = False,
    opset: int | None = None,
    on_progress: StageProgress = lambda stage, fraction: None,
    on_best: OnBest = lambda best, left_s: None,
) -> Squeezed:
    """Find the smallest artifact that keeps the return.

    `output` becomes the artifact. Beside it are `report.html`, the same as `report.md` with
    pictures, `results.json`, `replay.mp4`, all candidates, and in `c/` the chosen policy as a C
    program. It appears when all is done, or not at
    all. What an interrupted squeeze has found is kept in a hidden folder beside `output`, the best
    so far in `best` there, and the same call goes on from there.

    Example:
        >>> result = squeezerl.squeeze("ppo/Hopper-v3_1", env="Hopper-v4", output="out")
        >>> print(result.summary())

    Args:
        agent: an agent, the path of one, or "demo".
        output: folder to write.
        env: an environment or its id; unless given, the one that the agent was trained on.
        observations: a log in the place of an environment, as for `compress`: then actions are
            kept, and the return, its episodes and `optimize` play no part.
        keep_actions: of the decisions in the log, what share is to be kept, and how near (see
            `KeepActions`).
        retain: share of the random-normalised return to keep.
        recipes: what to try; unless given, small networks that learn from the agent and the reward,
            and beside them quantization. Recipes that do not learn take the time that they need.
        budget: seconds, or a text such as "10m": most of it goes into students that learn. With 0,
            every method is tried in one shot instead, pruning at 28 ratios.
        optimize: what the artifact should have least of: "bytes" of its weights, "latency" of one
            decision in the native runtime, or "macs", its multiplications.
        max_bytes: most bytes of weights that it may have.
        episodes: complete episodes for each recipe.
        max_episodes: limit for recipes that are undecided (see `Referee`).
        seed: of the first episode, and of all else that is random.
        measure: also measure latency, memory and energy of the best recipes and how the chosen one
            behaves, and film it beside the float policy.
        watts_per_core: for an estimate of energy, where there is no sensor (see `profile`).
        workers: processes that compress and play side by side; unless given, one per core.
        stochastic: keep the distribution that the agent draws its actions from; it and everything
            that is tried then plays with drawn actions.
        force: replace the artifact at `output`.
        opset: of the chosen artifact's ONNX file, for an older ONNX Runtime on the device.
        on_progress: called with what is being done and the share of the work that is done.
        on_best: called with the best so far, smallest first, and the seconds that are left.

    Raises:
        SqueezeRLError: for bad input, as documented at `load_agent` and `Search`.
    """
    from squeezerl.search.log_search import LogSearch, LogSettings  # with a database
    from squeezerl.search.squeeze import Search, SqueezeSettings, seconds_of

    agent, output = as_agent(agent, stochastic=stochastic), Path(output)
    check_output(output, force=force)
    log = None if observations is None else find_log(observations).fitted_to(agent.network)
    if log is not None:
        if env is not None:
            raise InvalidArgumentError("`observations` take the place of `env`; give one of them")
        if (retain, max_episodes, optimize) != (0.95, None, "bytes"):
            raise InvalidArgumentError(
                "`retain` and `max_episodes` are about the return, which a log does not show; with "
                "`observations`, say what to keep with `keep_actions`; `optimize` is bytes"
            )
        warn_of_constants(log, agent.network)
    meter, meter_problem = choose_meter(host_facts(), watts_per_core=watts_per_core)
    measurement, tried = None, tuple(map(Recipe.of, recipes))
    if measure:
        measurement = Settings(
            runtimes=("ort", "native"), seconds=_SQUEEZE_SECONDS, meter=meter, seed=seed
        )
    work = output.absolute().with_name(f".{output.absolute().name}.squeeze")
    if log is not None:
        on_log = LogSearch(
            agent,
            log,
            LogSettings(
                demand=KeepActions.of(keep_actions),
                seed=seed,
                recipes=tried,
                measurement=measurement,
                meter_problem=meter_problem,
                workers=workers,
                budget_s=seconds_of(budget),
                max_bytes=max_bytes,
            ),
            work,
        )
        on_log.run(on_progress, on_best)
        with new_folder(output, force=force) as folder:
            found = on_log.write(folder, on_progress)
            _in_opset(folder, opset)
            _write_program(read_artifact(folder), log.observations[:_TESTED], folder / "c")
            write_log_squeeze_report(found, folder)
        shutil.rmtree(work, ignore_errors=True)
        return Squeezed(found, output)
    settings = SqueezeSettings(
        retain=retain,
        episodes=episodes,
        max_episodes=max_episodes,
        seed=seed,
        recipes=tried,
        measurement=measurement,
        meter_problem=meter_problem,
        workers=workers,
        budget_s=seconds_of(budget),
        optimize=optimize,
        max_bytes=max_bytes,
        behaviour=measure,
    )
    place = _place(env, agent.source)
    search = Search(agent, place, settings, work)
    warn_of_unbounded(agent, place)
    try:
        search.run(on_progress, on_best)
        with new_folder(output, force=force) as folder:
            result = search.write(folder, on_progress)
            _in_opset(folder, opset)
            artifact = read_artifact(folder)
            _write_program(artifact, recorded_observations(artifact, place), folder / "c")
            write_squeeze_report(result, folder, _film(result, folder) if measure else None)
    except EvaluationError as error:
        shutil.rmtree(work, ignore_errors=True)  # untrained: there is nothing to go on with
        record = play(load_actor(agent), place, episodes=episodes, seed=seed)
        advice = needs_its_noise(agent, place, record)
        if advice is not None:
            raise EvaluationError(advice, try_with=STOCHASTIC) from error
        raise
    shutil.rmtree(work, ignore_errors=True)
    warn_of_doubts(agent.source, place, result.baseline_record, agent)
    return Squeezed(result, output)


def _film(result: SqueezeResult, folder: Path) -> Film:
    """The float policy and the chosen one in the same episode."""
    from squeezerl.pipeline.replay import Film, film
    from squeezerl.search.candidates import BASELINE
    from squeezerl.search.writing import artifact_path

    if result.confirmation is None:
        return Film(problem="the float policy was chosen, and there is nothing to put beside it")
    return film(
        (folder / artifact_path(BASELINE), folder),
        ("original", result.chosen.name),
        result.environment,
        folder,
        seed=result.confirmation.record.seed,
    )


def profile(
    policies: Sequence[Policy],
    *,
    env: Environment | str | Callable[[AgentSource], Environment] | None = None,
    observations: Log | npt.ArrayLike | str | Path | None = None,
    runtimes: str | Sequence[str] = ("ort", "torch", "sb3"),
    batch: int = 1,
    threads: int = 1,
    seconds: float = 5.0,
    precision: float = PRECISION,
    energy: str = "auto",
    watts_per_core: float | None = None,
    episodes: bool = False,
    seed: int = 0,
    vecnormalize: str | Path | None = None,
    on_progress: StageProgress = lambda stage, fraction: None,
) -> Profile:
    """Measure size, latency, memory and energy of policies in runtimes, in fresh processes.

    Example:
        >>> measured = squeezerl.profile(["ppo/Hopper-v3_1", "out"], runtimes="ort,torch")
        >>> print(squeezerl.profile_markdown(squeezerl.profile_json(measured)))

    Args:
        policies: agents and artifacts; the first, in the first runtime, is the reference.
        env: where the policies' observations are recorded; a function is asked for that of each
            agent. Unless given, the one that the agent was trained on.
        observations: recorded elsewhere, as for `compress`, instead of an environment.
        runtimes: names of registered runtimes; a list, or a string with commas. "cortex-m4" and
            "cortex-m0plus" are emulated: flash, RAM and instructions of the policy as a C program.
        batch: observations for each `act`.
        threads: of the runtime.
        seconds: of timed decisions for each policy in each runtime.
        precision: that the median latency should have (see `Settings`).
        energy: "auto", "none" or a meter's name (see `choose_meter`).
        watts_per_core: for an estimate of energy from CPU time.
        episodes: also play complete episodes in Gymnasium, one environment.
        seed: of the recorded and the played episodes and of the order of measurements.
        vecnormalize: of the agent, where it does not stand beside the checkpoint.
        on_progress: called with what is being done and the share of the work that is done.

    Raises:
        SqueezeRLError: for bad input, or if a measuring process failed.
    """
    if not policies:
        raise InvalidArgumentError("name at least one agent or artifact")
    if observations is not None:
        if env is not None or episodes:
            raise InvalidArgumentError(
                "recorded `observations` take the place of an environment; give no `env` and no "
                "`episodes` with them"
            )
        log = find_log(observations)
    check_numbers(1, seed)
    if isinstance(runtimes, str):
        runtimes = [name.strip() for name in runtimes.split(",")]
    meter, meter_problem = choose_meter(host_facts(), energy=energy, watts_per_core=watts_per_core)
    gpu_meter = None
    if any(RUNTIMES.get(name).is_gpu for name in runtimes if name not in PROCESSORS):
        gpu_meter, gpu_problem = choose_gpu_meter(host_facts())
        meter_problem = " ".join(filter(None, (meter_problem, gpu_problem))) or None
    settings = Settings(
        runtimes=tuple(name for name in runtimes if name not in PROCESSORS),
        processors=tuple(name for name in runtimes if name in PROCESSORS),
        batch=batch,
        threads=threads,
        seconds=seconds,
        precision=precision,
        meter=meter,
        gpu_meter=gpu_meter,
        seed=seed,
    )
    subjects = _subjects(policies, vecnormalize)
    workloads: dict[str, Workload] = {}
    recorded: dict[tuple[object, ...], Workload] = {}
    for subject in subjects:
        if observations is not None:
            seen = log.fitted_to(subject.artifact.network)
            workloads[subject.name] = Workload(
                env_id=None, observations=seen.observations, origin=seen.origin
            )
            continue
        source = subject.source
        place = env(source) if callable(env) else _place(env, source)
        key = (source.files, place.id, repr(place.kwargs))
        if key not in recorded:
            on_progress(f"observations of {source.label} in {place.id}", 0.0)
            recorded[key] = _workload(subject, place, seed=seed, episodes=episodes)
        workloads[subject.name] = recorded[key]
    return profile_subjects(
        subjects, workloads, settings, meter_problem=meter_problem, on_progress=on_progress
    )


def _subjects(policies: Sequence[Policy], vecnormalize: str | Path | None) -> list[Subject]:
    agents = [
        policy
        for policy in policies
        if isinstance(policy, Agent) or (isinstance(policy, str | Path) and not is_artifact(policy))
    ]
    if vecnormalize is not None and len(agents) != 1:
        raise InvalidArgumentError(
            f"`vecnormalize` is for one agent, and there are {len(agents)} (artifacts have their "
            "normaliser inside)"
        )
    subjects = []
    for number, policy in enumerate(policies):
        is_agent = any(policy is agent for agent in agents)
        artifact = as_artifact(policy, vecnormalize=vecnormalize if is_agent else None)
        name = str(policy) if isinstance(policy, str | Path) else f"policy {number}"
        subjects.append(Subject(name, artifact))
    return subjects


def _workload(subject: Subject, place: Environment, *, seed: int, episodes: bool) -> Workload:
    seen, _ = calibrate(load_actor(subject.artifact), place, seed=seed)
    job = None
    if episodes:
        make_gymnasium(place.id, place.kwargs).close()
        job = EpisodesJob(
            env_id=place.id, env_kwargs=dict(place.kwargs), seed=seed, path=str(Path.cwd())
        )
    return Workload(env_id=place.id, observations=seen, episodes=job)


def _actor(
    policy: Policy | Actor, runtime: str, stochastic: bool
) -> tuple[Actor, AgentSource | None]:
    if isinstance(policy, Actor):
        return policy, None
    artifact = as_artifact(policy, stochastic=stochastic)
    return load_actor(artifact, runtime=runtime), artifact.manifest.source


def _place(env: Environment | str | None, source: AgentSource | None) -> Environment:
    if isinstance(env, Environment):
        return env
    if env is not None:
        return Environment.find(env, {} if source is None else source.env_kwargs)
    if source is None:
        raise InvalidArgumentError("an actor does not say where it plays; name it with `env`")
    return home_of(source)
