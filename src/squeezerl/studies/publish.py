"""Agents that exist go to where all workers can fetch them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import yaml

from squeezerl.agents.load import load_agent
from squeezerl.agents.zoo import find_agent
from squeezerl.errors import StudyError
from squeezerl.studies.location import Location
from squeezerl.studies.study import ExistingAgent

_NAME = "agent"


def publish_agents(agents: Sequence[ExistingAgent], location: Location) -> None:
    """Put the files of agents to the location, each once.

    Raises:
        StudyError: if one is not what it was when the study was read.
    """
    for agent in agents:
        with tempfile.TemporaryDirectory(prefix="squeezerl-agent-") as name:
            folder = Path(name)
            files = find_agent(agent.path)
            shutil.copyfile(files.checkpoint, folder / f"{_NAME}.zip")
            settings = folder / _NAME
            settings.mkdir()
            if files.vecnormalize is not None:
                shutil.copyfile(files.vecnormalize, settings / "vecnormalize.pkl")
            source = agent.source
            known = {"env": source.env_id, "env_kwargs": source.env_kwargs}
            (settings / "args.yml").write_text(yaml.safe_dump(known), encoding="utf-8")
            copied = load_agent(folder).source
            if (copied.sha256, copied.vecnormalize_sha256) != (
                source.sha256,
                source.vecnormalize_sha256,
            ):
                raise StudyError(f"{agent.path}: changed while the study was read")
            location.put_agent(agent.key, folder)
