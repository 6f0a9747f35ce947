"""What can be profiled: an agent or an artifact, ready for each runtime that it runs in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx

from squeezerl.agents.load import load_agent
from squeezerl.artifacts.read import is_artifact, read_artifact
from squeezerl.errors import ArtifactError
from squeezerl.methods.compress import compress
from squeezerl.network.onnx_reader import from_onnx
from squeezerl.network.policy import Policy
from squeezerl.records import AgentSource


@dataclass(frozen=True)
class Subject:
    """A policy as ONNX and, unless it is int8, as a torch module.

    `no_policy` says why there is no torch module.
    """

    name: str
    source: AgentSource
    model: bytes
    policy: Policy | None
    no_policy: str | None = None


def load_subject(path: str | Path, *, vecnormalize: str | Path | None = None) -> Subject:
    """The subject in an artifact's folder, or an agent's, which becomes float32.

    Raises:
        SqueezeRLError: if it is neither, or damaged.
    """
    if not is_artifact(path):
        agent = load_agent(path, vecnormalize=vecnormalize)
        model = compress(agent.policy).model.SerializeToString()
        return Subject(str(path), agent.source, model, agent.policy)
    artifact = read_artifact(path)
    name, source, model = str(path), artifact.manifest.source, artifact.model
    try:
        return Subject(name, source, model, from_onnx(onnx.load_model_from_string(model)))
    except ArtifactError as error:
        return Subject(name, source, model, None, str(error))
