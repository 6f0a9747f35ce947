"""The whole jobs, as the command line does them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from squeezerl.agents.load import Agent, load_agent
from squeezerl.artifacts.output import new_folder
from squeezerl.artifacts.read import is_artifact, read_artifact
from squeezerl.errors import InvalidArgumentError
from squeezerl.evaluation.environment import Environment, make_gymnasium
from squeezerl.evaluation.evaluate import calibrate, check_numbers
from squeezerl.host.facts import host_facts
from squeezerl.measurement.energy.choose import choose_gpu_meter, choose_meter
from squeezerl.measurement.processes import EpisodesJob
from squeezerl.measurement.profile import profile_subjects
from squeezerl.measurement.recordings import as_observations
from squeezerl.measurement.result import Profile
from squeezerl.measurement.settings import PRECISION, Settings, Workload
from squeezerl.measurement.subject import Subject, load_subject
from squeezerl.methods.compress import compress
from squeezerl.records import AgentSource
from squeezerl.report.squeeze_report import write_squeeze_report
from squeezerl.runtimes.actor import Observations
from squeezerl.runtimes.bare.policy import GPU_RUNTIMES
from squeezerl.runtimes.onnx_actor import OnnxActor
from squeezerl.search.result import SqueezeResult
from squeezerl.search.squeeze import StageProgress, squeeze_into

_SQUEEZE_SECONDS = 0.6


def squeeze(
    agent: Agent | str | Path,
    environment: Environment | str,
    *,
    output: str | Path,
    retain: float = 0.95,
    episodes: int = 100,
    max_episodes: int | None = None,
    seed: int = 0,
    measure: bool = True,
    watts_per_core: float | None = None,
    force: bool = False,
    on_progress: StageProgress = lambda stage, fraction: None,
) -> SqueezeResult:
    """Find the smallest artifact that keeps the return.

    `output` becomes the artifact, with `results.json`, `report.md`, `pareto.png` and all
    candidates beside it. It appears when all is done, or not at all.

    Args:
        agent: an agent, the path of one, or "demo".
        environment: an environment or its id.
        output: folder to write.
        retain: share of the random-normalised return to keep.
        episodes: complete episodes for each candidate.
        max_episodes: limit for candidates that are undecided (see `Referee`).
        seed: of the first episode, and of all else that is random.
        measure: also measure latency, memory and energy of the best candidates.
        watts_per_core: for an estimate of energy, where there is no sensor (see `profile`).
        force: replace the artifact that stands at `output`.
        on_progress: called with what is being done and the share of the work that is done.

    Raises:
        SqueezeRLError: for bad input, as documented at `load_agent` and `squeeze_into`.
    """
    if not isinstance(agent, Agent):
        agent = load_agent(agent)
    if isinstance(environment, str):
        environment = Environment.find(environment)
    meter, meter_problem = choose_meter(host_facts(), watts_per_core=watts_per_core)
    settings = Settings(seconds=_SQUEEZE_SECONDS, meter=meter, seed=seed) if measure else None
    with new_folder(Path(output), force=force) as folder:
        result = squeeze_into(
            folder,
            agent,
            environment,
            retain=retain,
            episodes=episodes,
            max_episodes=max_episodes,
            seed=seed,
            measurement=settings,
            meter_problem=meter_problem,
            on_progress=on_progress,
        )
        write_squeeze_report(result, folder)
    return result


def make_actor(agent: Agent) -> OnnxActor:
    """An agent's policy in float32, in the runtime that its artifacts have."""
    return OnnxActor(compress(agent.policy).model.SerializeToString())


def load_any_actor(
    path: str | Path, *, vecnormalize: str | Path | None = None
) -> tuple[OnnxActor, AgentSource]:
    """The actor of an artifact's folder or of an agent, and where it came from.

    Raises:
        SqueezeRLError: if it is neither, or damaged, or an artifact is given a normaliser.
    """
    if not is_artifact(path):
        agent = load_agent(path, vecnormalize=vecnormalize)
        return make_actor(agent), agent.source
    if vecnormalize is not None:
        raise InvalidArgumentError(f"{path}: an artifact has its normaliser inside")
    artifact = read_artifact(path)
    return OnnxActor(artifact.model), artifact.manifest.source


def profile(
    policies: Sequence[str | Path],
    environment: Environment | str | Callable[[AgentSource], Environment] | None = None,
    *,
    observations: Observations | None = None,
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

    Args:
        policies: agents and artifacts; the first, in the first runtime, is the reference.
        environment: where the policies' observations are recorded; a function is asked for that of
            each agent. Unless given, the one that the agent was trained on.
        observations: recorded elsewhere, (n, *observation_shape), instead of an environment.
        runtimes: "ort", "torch", "torch-cuda", "sb3"; a list, or a string with commas.
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
        if environment is not None or episodes:
            raise InvalidArgumentError("recorded observations take the place of an environment")
        observations = as_observations(observations)
    check_numbers(1, seed)
    if isinstance(runtimes, str):
        runtimes = [name.strip() for name in runtimes.split(",")]
    meter, meter_problem = choose_meter(host_facts(), energy=energy, watts_per_core=watts_per_core)
    gpu_meter = None
    if any(runtime in GPU_RUNTIMES for runtime in runtimes):
        gpu_meter, gpu_problem = choose_gpu_meter()
        meter_problem = " ".join(filter(None, (meter_problem, gpu_problem))) or None
    settings = Settings(
        runtimes=tuple(runtimes),
        batch=batch,
        threads=threads,
        seconds=seconds,
        precision=precision,
        meter=meter,
        gpu_meter=gpu_meter,
        seed=seed,
    )
    agents = [path for path in policies if not is_artifact(path)]
    if vecnormalize is not None and len(agents) != 1:
        raise InvalidArgumentError(
            f"a normaliser is for one agent, and there are {len(agents)} (artifacts have theirs)"
        )
    subjects = [
        load_subject(path, vecnormalize=vecnormalize if path in agents else None)
        for path in policies
    ]
    workloads: dict[str, Workload] = {}
    recorded: dict[tuple[str | None, ...], Workload] = {}
    for subject in subjects:
        if observations is not None:
            workloads[subject.name] = Workload(env_id=None, observations=observations)
            continue
        place = _environment_of(subject, environment)
        source = subject.source
        key = (source.sha256, source.vecnormalize_sha256, place.id, repr(place.kwargs))
        if key not in recorded:
            on_progress(f"observations of {source.algorithm} in {place.id}", 0.0)
            recorded[key] = _workload(subject, place, seed=seed, episodes=episodes)
        workloads[subject.name] = recorded[key]
    return profile_subjects(
        subjects, workloads, settings, meter_problem=meter_problem, on_progress=on_progress
    )


def _environment_of(
    subject: Subject,
    environment: Environment | str | Callable[[AgentSource], Environment] | None,
) -> Environment:
    if isinstance(environment, Environment):
        return environment
    if callable(environment):
        return environment(subject.source)
    env_id = environment or subject.source.env_id
    if env_id is None:
        raise InvalidArgumentError(f"{subject.name}: name the environment it was trained on")
    return Environment.find(env_id, subject.source.env_kwargs)


def _workload(subject: Subject, place: Environment, *, seed: int, episodes: bool) -> Workload:
    seen, _ = calibrate(OnnxActor(subject.model), place, seed=seed)
    job = None
    if episodes:
        make_gymnasium(place.id, place.kwargs).close()
        job = EpisodesJob(
            env_id=place.id, env_kwargs=dict(place.kwargs), seed=seed, path=str(Path.cwd())
        )
    return Workload(env_id=place.id, observations=seen, episodes=job)
