"""Puts the files of existing agents where all workers can fetch them."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from squeezerl.agents.load import copy_agent, load_agent
from squeezerl.errors import StudyError
from squeezerl.studies.location import Location
from squeezerl.studies.study import ExistingAgent


def publish_agents(agents: Sequence[ExistingAgent], location: Location) -> None:
    """Put the files of each agent to the location once.

    Raises:
        StudyError: if an agent has changed since the study was read.
    """
    for agent in agents:
        with tempfile.TemporaryDirectory(prefix="squeezerl-agent-") as name:
            folder = Path(name)
            copy_agent(agent.path, folder)
            if load_agent(folder).source.key != agent.key:
                raise StudyError(f"{agent.path}: changed while the study was read")
            location.put_agent(agent.key, folder)
