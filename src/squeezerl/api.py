"""The whole jobs, as the command line does them."""

from __future__ import annotations

from pathlib import Path

from squeezerl.agents.load import Agent, load_agent
from squeezerl.artifacts.output import new_folder
from squeezerl.artifacts.read import is_artifact, read_artifact
from squeezerl.compression.compress import compress
from squeezerl.errors import InvalidArgumentError
from squeezerl.evaluation.environment import Environment
from squeezerl.records import AgentSource
from squeezerl.report.squeeze_report import write_squeeze_report
from squeezerl.runtimes.onnx_actor import OnnxActor
from squeezerl.search.result import SqueezeResult
from squeezerl.search.squeeze import StageProgress, squeeze_into


def squeeze(
    agent: Agent | str | Path,
    environment: Environment | str,
    *,
    output: str | Path,
    retain: float = 0.95,
    episodes: int = 100,
    max_episodes: int | None = None,
    seed: int = 0,
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
        force: replace the artifact that stands at `output`.
        on_progress: called with what is being done and the share of the work that is done.

    Raises:
        SqueezeRLError: for bad input, as documented at `load_agent` and `squeeze_into`.
    """
    if not isinstance(agent, Agent):
        agent = load_agent(agent)
    if isinstance(environment, str):
        environment = Environment.find(environment)
    with new_folder(Path(output), force=force) as folder:
        result = squeeze_into(
            folder,
            agent,
            environment,
            retain=retain,
            episodes=episodes,
            max_episodes=max_episodes,
            seed=seed,
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
