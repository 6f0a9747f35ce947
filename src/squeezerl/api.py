"""The whole jobs, as the command line does them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
from squeezerl.search.squeeze import squeeze_into


def squeeze(
    agent: Agent | str | Path,
    environment: Environment | str,
    *,
    output: str | Path,
    force: bool = False,
    **settings: Any,
) -> SqueezeResult:
    """Find the smallest artifact that keeps the return; `squeeze_into` lists the settings.

    `output` becomes the artifact, with `results.json`, `report.md`, `pareto.png` and all
    candidates beside it. It appears when all is done, or not at all.

    Raises:
        SqueezeRLError: for bad input, as documented at `load_agent` and `squeeze_into`.
    """
    if not isinstance(agent, Agent):
        agent = load_agent(agent)
    if isinstance(environment, str):
        environment = Environment.find(environment)
    with new_folder(Path(output), force=force) as folder:
        result = squeeze_into(folder, agent, environment, **settings)
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
