"""`load_agent`: from a path to an agent, with nothing of the download executed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from squeezerl.agents.archive import MAX_METADATA_BYTES, MAX_WEIGHTS_BYTES, CheckpointArchive
from squeezerl.agents.metadata import parse_metadata
from squeezerl.agents.sb3 import build_policy
from squeezerl.agents.vecnormalize import read_vecnormalize
from squeezerl.agents.weights import read_state_dict
from squeezerl.agents.zoo import find_agent
from squeezerl.errors import CheckpointError, SqueezeRLError
from squeezerl.network.policy import Policy
from squeezerl.records import AgentSource

DEMO = "demo"


@dataclass(frozen=True)
class Agent:
    """A trained policy and where it came from."""

    policy: Policy
    source: AgentSource


def demo_agent_path() -> Path:
    """The agent that comes with the library: PPO on HalfCheetah-v5, in rl-zoo's layout."""
    return Path(__file__).parent / "demo" / "ppo" / "HalfCheetah-v5_1"


def agent_path(name: str | Path) -> Path:
    """Where an agent lies: "demo" is the bundled one, unless there is something of that name."""
    return demo_agent_path() if _is_demo(name) else Path(name)


def _is_demo(name: str | Path) -> bool:
    return str(name) == DEMO and not Path(name).exists()


def load_agent(path: str | Path, *, vecnormalize: str | Path | None = None) -> Agent:
    """Load a Stable-Baselines3 zip or an rl-zoo folder; "demo" is the bundled agent.

    Args:
        path: the zip, the folder (`.../Hopper-v3_1`), or "demo".
        vecnormalize: the saved VecNormalize, where it does not stand beside the checkpoint.

    Raises:
        CheckpointError: if a file is missing, damaged, hostile or inconsistent.
        UnsupportedPolicyError: if the policy is of a kind that is not supported.
    """
    files = find_agent(agent_path(path))
    normalizer_path = Path(vecnormalize) if vecnormalize is not None else files.vecnormalize
    if normalizer_path is None and files.normalized:
        raise CheckpointError(
            f"{files.checkpoint}: trained on normalised observations, but no vecnormalize.pkl "
            "stands beside it; give it with --vecnormalize"
        )
    archive = CheckpointArchive(files.checkpoint)
    try:
        data = archive.read("data", MAX_METADATA_BYTES)
        weights = archive.read("policy.pth", MAX_WEIGHTS_BYTES)
        version = None
        if "_stable_baselines3_version" in archive:
            raw = archive.read("_stable_baselines3_version", 1024)
            version = raw.decode("ascii", errors="replace").strip()
        metadata = parse_metadata(data)
        policy = build_policy(
            metadata,
            read_state_dict(weights, "policy.pth"),
            read_vecnormalize(normalizer_path) if normalizer_path else None,
        )
    except SqueezeRLError as error:
        if str(error).startswith((f"{files.checkpoint}:", f"{normalizer_path}:")):
            raise
        raise type(error)(f"{files.checkpoint}: {error}") from error
    finally:
        archive.close()
    source = AgentSource(
        path=DEMO if _is_demo(path) else str(path),
        sha256=_sha256(files.checkpoint),
        algorithm=metadata.algorithm,
        env_id=files.env_id,
        env_kwargs=files.env_kwargs,
        sb3_version=version,
        vecnormalize=normalizer_path.name if normalizer_path else None,
        vecnormalize_sha256=_sha256(normalizer_path) if normalizer_path else None,
    )
    return Agent(policy, source)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
