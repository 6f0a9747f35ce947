"""Doubts about a return: what an agent may lack that does much worse than it learned to."""

from __future__ import annotations

import math
import warnings

import numpy as np

from squeezerl.agents.load import Agent
from squeezerl.errors import SqueezeRLWarning
from squeezerl.evaluation.environment import Environment
from squeezerl.evaluation.evaluate import play
from squeezerl.evaluation.referee import Referee
from squeezerl.evaluation.reference_actors import RandomActor, best_constant
from squeezerl.records import AgentSource, EvaluationRecord
from squeezerl.runtimes.base import Actor
from squeezerl.runtimes.onnx_runtime import load_network

STOCHASTIC = {"stochastic": True}
# Episodes of each policy that knows nothing.
_REFERENCE_EPISODES = 10


def warn_of_doubts(
    source: AgentSource, place: Environment, record: EvaluationRecord, agent: Agent | None = None
) -> None:
    """Warn if a return shows that something of an agent is missing, such as its normaliser.

    It is compared with the last returns in the training. Where these are not known, an agent that
    may lack its normaliser or its noise is compared with policies that know nothing.

    Args:
        source: of the agent, or of what was made of it.
        place: where it was played.
        record: of its episodes.
        agent: itself, if it is no artifact.
    """
    if "max_episode_steps" in place.kwargs:
        return
    doubt = _doubt(source, place, record, agent)
    if doubt is None:
        return
    advice = None if agent is None else needs_its_noise(agent, place, record)
    if advice is not None:
        warnings.warn(SqueezeRLWarning(advice, try_with=STOCHASTIC), stacklevel=3)
        return
    warnings.warn(
        f"{source.path}: {doubt}. Is this the environment that it was trained in, with its "
        "wrappers? Was there a VecNormalize (`vecnormalize`)? Was an activation exchanged after "
        "the policy was made? Does it need the noise of its training (`stochastic`)?",
        SqueezeRLWarning,
        stacklevel=3,
    )


def warn_of_unbounded(agent: Agent, place: Environment) -> None:
    """Warn if the environment's actions have bounds and the agent's have none."""
    low, high = place.action_low, place.action_high
    if low is None or high is None or agent.network.head.has_bounds:
        return
    if not np.isfinite([low, high]).all():
        return
    bounds = f"{low.max():g}:{high.min():g}"
    is_same = len({*low.ravel(), *high.ravel()}) == 2
    warnings.warn(
        SqueezeRLWarning(
            f"{agent.source.path}: its actions have no bounds; those of {place.id} have"
            f"{f' ({bounds})' if is_same else ''}, and what lies outside is not clipped. Where the "
            "trainer's environment did that, as CleanRL's does, let the policy do it "
            "(`clip_actions`)",
            try_with={"clip_actions": bounds} if is_same else None,
        ),
        stacklevel=3,
    )


def needs_its_noise(agent: Agent, place: Environment, record: EvaluationRecord) -> str | None:
    """What to say of an agent that does badly for want of its noise; `None` if that is not why.

    Args:
        agent: with its distribution, if it has one.
        place: where it was played.
        record: of its episodes with deterministic actions.
    """
    if agent.sampled is None or record.noise_seed is not None:
        return None
    episodes, drawing = len(record.episodes), load_network(agent.sampled)
    referee: Referee[Actor] = Referee(
        lambda player, first, count: play(player, place, episodes=count, seed=first),
        drawing,
        RandomActor(place, record.seed),
        threshold=1.0,
        seed=record.seed,
        episodes=episodes,
    )
    drawn, random = referee.references(episodes)
    if not referee.baseline_is_trained() or drawn.mean_return <= record.mean_return:
        return None
    if _doubt(agent.source, place, drawn, agent) is not None:
        return None
    return (
        f"{agent.source.path} returns {record.mean_return:,.5g} in {place.id} with deterministic "
        f"actions, but {drawn.mean_return:,.5g} with drawn ones (random: {random.mean_return:,.5g};"
        f" {episodes} episodes each). It needs the noise that it was trained with: "
        "`stochastic=True`"
    )


def _doubt(
    source: AgentSource, place: Environment, record: EvaluationRecord, agent: Agent | None
) -> str | None:
    if source.trained_to is not None:
        return _below_training(source, record)
    return None if agent is None else _below_knowing_nothing(agent, place, record)


def _below_training(source: AgentSource, record: EvaluationRecord) -> str | None:
    if source.trained_to is None:
        return None
    mean, deviation = source.trained_to
    found, doubtful = record.mean_return, max(1.0, 2 / math.sqrt(len(record.episodes)))
    if found >= mean - max(0.5 * abs(mean), doubtful * deviation):
        return None
    return (
        f"its last episodes in training returned {mean:,.5g} ± {deviation:,.3g}, here it returns "
        f"{found:,.5g}"
    )


def _below_knowing_nothing(
    agent: Agent, place: Environment, record: EvaluationRecord
) -> str | None:
    may_need_noise = agent.sampled is not None and record.noise_seed is None
    if place.max_episode_steps is None:  # constant actions may go on for ever
        return None
    if not (agent.source.may_lack_normalizer or may_need_noise):
        return None
    episodes = min(len(record.episodes), _REFERENCE_EPISODES)
    found, seed = record.mean_return, record.seed
    random = play(RandomActor(place, seed), place, episodes=episodes, seed=seed).mean_return
    if found <= random:
        return f"it returns {found:,.5g}, and random actions return {random:,.5g}"
    if not agent.source.may_lack_normalizer:
        return None
    constant = play(best_constant(place, seed), place, episodes=episodes, seed=seed).mean_return
    if found <= constant:
        return f"it returns {found:,.5g}, and always the same action returns {constant:,.5g}"
    return None
