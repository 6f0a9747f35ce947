"""A study, once its file has been read and checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from squeezerl.agents.load import Agent
from squeezerl.artifacts.artifact import Artifact
from squeezerl.methods.base import percentage_text
from squeezerl.methods.recipe import Recipe
from squeezerl.methods.trained_int8 import QuantizationAwareTraining
from squeezerl.pipeline.place import Place
from squeezerl.records import MethodRecord

QAT_WARMUP = 0.1


def agent_name(algorithm: str, place: Place, suffix: str = "") -> str:
    """For example "ppo-Hopper-v4"."""
    env_name = place.env_id.rpartition(":")[2].replace("/", "-")
    return "-".join(filter(None, (algorithm, env_name, suffix)))


@dataclass(frozen=True, kw_only=True)
class ExistingAgent:
    """An agent that was trained elsewhere; `name` is, for example, "ppo-Hopper-v4".

    `path` is where it was read.
    """

    name: str
    agent: Agent
    place: Place
    path: Path = Path()

    @property
    def algorithm(self) -> str:
        """As results name it, in lower case."""
        return self.agent.source.label.lower()


@dataclass(frozen=True, kw_only=True)
class Training:
    """An agent to train, with one seed.

    `hyperparameters` are resolved ones with rl-zoo's names, without the number of steps and the
    environment's arguments, which have fields of their own. `learning_s` and `scratch_bytes` are
    estimates.
    """

    name: str
    algorithm: str
    place: Place
    seed: int
    steps: int
    hyperparameters: Mapping[str, Any]
    evaluations: int = 20
    eval_episodes: int = 10
    learning_s: float = field(default=0.0, compare=False)
    scratch_bytes: int = field(default=0, compare=False)


TICKET = "ticket"
TicketNorm = Literal["l1", "l2", "random"]


def ticket_record(norm: TicketNorm) -> MethodRecord:
    """How results name and show lottery tickets whose neurons were chosen like this."""
    color, marker = {"l1": ("#E69F00", "<"), "l2": ("#CC79A7", ">"), "random": ("#56B4E9", "P")}[
        norm
    ]
    label = "random ticket" if norm == "random" else f"ticket by {norm.upper()}"
    return MethodRecord(
        name=f"{TICKET}-{norm}",
        label=label,
        short=label,
        group="training",
        color=color,
        marker=marker,
        dash="--",
    )


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way to make an agent's policy small; each (agent, variant) pair gives one policy.

    Args:
        method: as results name it, for example "l2" or "ticket-random".
        ratio: share of neurons that are removed, if any are.
        recipe: how the policy is compressed; one that needs training trains the agent again.
        ticket: prune by this norm, rewind and train again instead.
        made: policies that are made already, by the names of the agents that they came from.
        algorithms: the algorithms that it is for; `None` for all.
        environments: the environments that it is for; `None` for all.
    """

    method: str
    ratio: float | None = None
    recipe: Recipe = field(default_factory=Recipe)
    ticket: TicketNorm | None = None
    made: Mapping[str, Artifact] = field(default_factory=dict, hash=False)
    algorithms: tuple[str, ...] | None = None
    environments: tuple[str, ...] | None = None

    @property
    def name(self) -> str:
        """For example "ptdq" or "l2-30"."""
        return self.method if self.ratio is None else f"{self.method}-{percentage_text(self.ratio)}"

    @property
    def qat(self) -> QuantizationAwareTraining | None:
        """The quantization that the agent is trained again for, if it is."""
        last = self.recipe.steps[-1] if self.recipe.steps else None
        return last if isinstance(last, QuantizationAwareTraining) else None

    @property
    def record(self) -> MethodRecord:
        """How results name and show this variant."""
        if self.ticket is not None:
            return ticket_record(self.ticket)
        record = self.recipe.record
        if self.method == record.name:
            return record
        # A name of the study's own; two variants with one label could not be told apart.
        return dataclasses.replace(record, name=self.method, label=self.method, short=self.method)

    @property
    def trains(self) -> bool:
        """Whether the variant needs a training of its own."""
        return self.qat is not None or self.ticket is not None

    def is_for(self, algorithm: str, env_id: str) -> bool:
        """Whether the study asks for this variant there."""
        return (self.algorithms is None or algorithm in self.algorithms) and (
            self.environments is None or env_id in self.environments
        )


@dataclass(frozen=True, kw_only=True)
class Measure:
    """Which policies to measure, and how.

    Args:
        variants: names of variants, beside the float policy, which is the reference.
        best: pruning methods for which to measure the percentage that the 90 % rule picks.
        all_seeds: whether to measure every training seed or only the first.
        runtimes: as in `Settings`.
        seconds: of timed decisions for each policy in each runtime.
        precision: relative precision that the median latency should have.
        energy: "auto", "none" or a meter's name.
        watts_per_core: for an estimate of energy where there is no sensor.
    """

    variants: tuple[str, ...]
    best: tuple[str, ...] = ()
    all_seeds: bool = False
    runtimes: tuple[str, ...] = ("ort",)
    seconds: float = 0.6
    precision: float = 0.05
    energy: str = "auto"
    watts_per_core: float | None = None


@dataclass(frozen=True, kw_only=True)
class Study:
    """The whole grid.

    Args:
        name: of the study in its store.
        store: URL of the database.
        artifacts: URL of the folder for the files of jobs.
        agents: those that exist.
        trainings: those to train.
        variants: beside the float policy.
        episodes: of each evaluation.
        seed: of the first episode, and of all else that is random except trainings.
        measure: `None` if nothing is measured.
        text: of the file that the study was read from.
    """

    name: str
    store: str
    artifacts: str
    agents: tuple[ExistingAgent, ...] = ()
    trainings: tuple[Training, ...] = ()
    variants: tuple[Variant, ...] = ()
    episodes: int = 100
    seed: int = 0
    measure: Measure | None = None
    text: str = ""

    @property
    def everyone(self) -> list[Training | ExistingAgent]:
        """All agents; those to train come first."""
        return [*self.trainings, *self.agents]

    @property
    def spec(self) -> dict[str, Any]:
        """What the store keeps of the study."""
        return {"artifacts": self.artifacts, "yaml": self.text}
