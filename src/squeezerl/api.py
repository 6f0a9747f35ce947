"""The whole jobs, as the command line does them; `squeezerl` exports these names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from squeezerl.agents.load import Agent, load_agent
from squeezerl.artifacts.artifact import Artifact, is_artifact, read_artifact
from squeezerl.errors import InvalidArgumentError
from squeezerl.evaluation.environment import Environment
from squeezerl.evaluation.evaluate import check_numbers, play
from squeezerl.evaluation.random_actor import RandomActor
from squeezerl.evaluation.referee import Referee
from squeezerl.methods.recipe import RecipeLike
from squeezerl.pipeline.make import home_of, make_artifact
from squeezerl.records import AgentSource, EvaluationRecord, Retention
from squeezerl.runtimes.base import RUNTIMES, Actor, Observations

StageProgress = Callable[[str, float], None]
# What can be evaluated and measured: an agent or an artifact, or the path of one.
Policy = Agent | Artifact | str | Path


def as_artifact(policy: Policy, *, vecnormalize: str | Path | None = None) -> Artifact:
    """The artifact itself, or an agent's policy as an artifact in float32.

    Raises:
        SqueezeRLError: if it is neither, or damaged, or an artifact is given a normaliser.
    """
    if isinstance(policy, str | Path) and is_artifact(policy):
        policy = read_artifact(policy)
    if isinstance(policy, Artifact):
        if vecnormalize is not None:
            raise InvalidArgumentError("an artifact has its normaliser inside; give none with it")
        return policy
    agent = as_agent(policy, vecnormalize=vecnormalize)
    return make_artifact(agent)


def as_agent(agent: Agent | str | Path, *, vecnormalize: str | Path | None = None) -> Agent:
    """The agent itself, or the one at a path."""
    return agent if isinstance(agent, Agent) else load_agent(agent, vecnormalize=vecnormalize)


def load_actor(policy: Policy, *, runtime: str = "ort", threads: int = 1) -> Actor:
    """Load an artifact, or an agent's policy in float32, into a runtime.

    Example:
        >>> actor = squeezerl.load_actor("out")
        >>> actions = actor.act(observations)  # (n, *observation_shape) → (n, *action_shape)

    Args:
        policy: an artifact or an agent, or the path of one.
        runtime: the name of a registered runtime: "ort", "torch", "torch-cuda", "sb3", ...
        threads: of the runtime.

    Raises:
        SqueezeRLError: if it is damaged, or the runtime cannot run it.
    """
    artifact, chosen = as_artifact(policy), RUNTIMES.get(runtime)
    refusal = chosen.refusal(artifact.network, artifact.algorithm)
    if refusal is not None:
        raise InvalidArgumentError(f"runtime {runtime!r} cannot run this policy: {refusal}")
    return chosen.load(artifact, threads=threads)


def compress(
    agent: Agent | str | Path,
    recipe: RecipeLike = "float",
    *,
    env: Environment | str | None = None,
    observations: Observations | None = None,
    seed: int = 0,
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
        observations: recorded elsewhere, (n, *observation_shape), instead of an environment.
        seed: of the episodes that observations are taken from.

    Raises:
        SqueezeRLError: if the recipe makes no sense or does not fit the agent, or for bad input.
    """
    agent = as_agent(agent)
    place = Environment.find(env, agent.source.env_kwargs) if isinstance(env, str) else env
    return make_artifact(agent, recipe, environment=place, observations=observations, seed=seed)


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
        on_progress: called with what is being played and the share of it that is done.

    Raises:
        SqueezeRLError: for bad input, or if environment and policy do not fit.
    """
    check_numbers(episodes, seed)
    actor, source = _actor(policy, runtime)
    place = _place(env, source)
    place.check_fits(actor)
    if against is None:
        record = play(
            actor,
            place,
            episodes=episodes,
            seed=seed,
            on_progress=lambda fraction: on_progress("episodes", fraction),
        )
        return Evaluation(record=record)
    baseline, _ = _actor(against, runtime)
    place.check_fits(baseline)
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
    return Evaluation(
        record=judgement.record,
        retention=judgement.retention,
        baseline=baseline_record,
        random=random_record,
    )


def _actor(policy: Policy | Actor, runtime: str) -> tuple[Actor, AgentSource | None]:
    if isinstance(policy, Actor):
        return policy, None
    artifact = as_artifact(policy)
    return load_actor(artifact, runtime=runtime), artifact.manifest.source


def _place(env: Environment | str | None, source: AgentSource | None) -> Environment:
    if isinstance(env, Environment):
        return env
    if env is not None:
        return Environment.find(env, {} if source is None else source.env_kwargs)
    if source is None:
        raise InvalidArgumentError("an actor does not say where it plays; name it with env=...")
    return home_of(source)
