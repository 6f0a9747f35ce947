"""What a study is, once its file has been read and checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from squeezerl.evaluation.environment import Environment
from squeezerl.methods.specs import QuantizationAwareTraining, Spec
from squeezerl.records import AgentSource

CALIBRATION_EPISODES = 10
CALIBRATION_OBSERVATIONS = 4096
QAT_WARMUP = 0.1


@dataclass(frozen=True, kw_only=True)
class Place:
    """An environment to train or to play in, and what runs it.

    `max_steps` of an episode are for estimates only.
    """

    env_id: str
    env_kwargs: Mapping[str, Any] = field(default_factory=dict)
    backend: str = "auto"
    max_steps: int | None = field(default=None, compare=False)

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> Place:
        """What `params` gave, out of the parameters of a job."""
        return cls(**{name: params[name] for name in ("env_id", "env_kwargs", "backend")})

    @property
    def params(self) -> dict[str, Any]:
        """As jobs carry it."""
        return {
            "env_id": self.env_id,
            "env_kwargs": dict(self.env_kwargs),
            "backend": self.backend,
        }

    @property
    def name(self) -> str:
        """As results name it: an environment with arguments is another one."""
        if not self.env_kwargs:
            return self.env_id
        given = ", ".join(f"{name}={value}" for name, value in sorted(self.env_kwargs.items()))
        return f"{self.env_id} ({given})"

    def find(self) -> Environment:
        """The environment, which every worker is to run alike.

        Raises:
            EnvError: if it cannot be had here, or not by this backend.
        """
        return Environment.find(self.env_id, self.env_kwargs, backend=self.backend)

    def found(self, environment: Environment) -> Place:
        """This place with what is known once the environment was found."""
        return dataclasses.replace(
            self, backend=environment.backend, max_steps=environment.max_episode_steps
        )


def agent_name(algorithm: str, place: Place, suffix: str = "") -> str:
    """For example "ppo-Hopper-v4"."""
    env_name = place.env_id.rpartition(":")[2].replace("/", "-")
    return "-".join(filter(None, (algorithm, env_name, suffix)))


@dataclass(frozen=True, kw_only=True)
class ExistingAgent:
    """An agent that was trained elsewhere.

    Args:
        name: of the agent in its environment, for example "ppo-Hopper-v4".
        path: where it lies.
        source: what `load_agent` said of it.
        place: where it plays.
    """

    name: str
    path: Path
    source: AgentSource
    place: Place

    @property
    def algorithm(self) -> str:
        """As results name it, in lower case."""
        return self.source.label.lower()

    @property
    def key(self) -> str:
        """Its identity: what is in its files, wherever they lie."""
        return self.source.key


@dataclass(frozen=True, kw_only=True)
class Training:
    """An agent to train, with one seed.

    `hyperparameters` are rl-zoo's, resolved, without the number of steps and the environment's
    arguments, which have places of their own. `learning_s` and `scratch_bytes` are estimates.
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


TicketNorm = Literal["l1", "l2", "random"]


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way to make an agent's policy small; a policy a variant and agent.

    Args:
        method: as results name it, for example "l2" or "ticket-random".
        ratio: share of neurons that are removed, if any are.
        specs: what `compress` takes.
        qat: instead, trained anew for these integers.
        ticket: instead, pruned by this norm, rewound and trained anew.
        algorithms: the only ones it is for; `None` for all.
        environments: the only ones it is for; `None` for all.
    """

    method: str
    ratio: float | None = None
    specs: tuple[Spec, ...] = ()
    qat: QuantizationAwareTraining | None = None
    ticket: TicketNorm | None = None
    algorithms: tuple[str, ...] | None = None
    environments: tuple[str, ...] | None = None

    @property
    def name(self) -> str:
        """For example "ptdq" or "l2-30"."""
        return self.method if self.ratio is None else f"{self.method}-{self.ratio * 100:g}"

    @property
    def trains(self) -> bool:
        """Whether it needs a training of its own."""
        return self.qat is not None or self.ticket is not None

    def is_for(self, algorithm: str, env_id: str) -> bool:
        """Whether the study asks for it there."""
        return (self.algorithms is None or algorithm in self.algorithms) and (
            self.environments is None or env_id in self.environments
        )


@dataclass(frozen=True, kw_only=True)
class Measure:
    """What to measure of which policies.

    Args:
        variants: names of variants, beside the float policy, which is the reference.
        best: pruning methods of which to measure the percentage that the 90 % rule picks.
        all_seeds: of every training seed, not of the first only.
        runtimes: as `Settings` has them.
        seconds: of timed decisions for each policy in each runtime.
        precision: that the median latency should have.
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
        artifacts: URL of the folder of what jobs leave.
        agents: that exist.
        trainings: of agents to be.
        variants: beside the float policy.
        episodes: of each evaluation.
        seed: of the first episode, and of all else that is random but trainings.
        measure: `None` if nothing is measured.
        text: the file that it was read from.
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
        """All agents, those to train first."""
        return [*self.trainings, *self.agents]

    @property
    def spec(self) -> dict[str, Any]:
        """What the store keeps of it."""
        return {"artifacts": self.artifacts, "yaml": self.text}
