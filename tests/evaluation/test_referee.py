from __future__ import annotations

import numpy as np
import pytest
from plain_actors import PlainActor, constant, make_referee
from task_envs import MIRROR, Mirror

from balancing import cart_pole, untrained_agent
from squeezerl.errors import EnvError, InvalidArgumentError
from squeezerl.evaluation.environment import Environment
from squeezerl.evaluation.evaluate import evaluate, play
from squeezerl.evaluation.referee import Referee
from squeezerl.records import EvaluationRecord
from squeezerl.runtimes.base import Actor
from squeezerl.runtimes.onnx_runtime import load_network


def _wavering() -> PlainActor:
    """1 on even seeds, 0.8 on odd ones: against 1 it keeps about 0.8 of what random lacks."""
    return PlainActor(lambda batch: (1 - 0.2 * batch).astype(np.float32))


def _referee(
    episodes: int, max_episodes: int | None = None, *, threshold: float = 0.8, seed: int = 0
) -> Referee[Actor]:
    return make_referee(
        Environment.find(MIRROR),
        constant(1.0),
        threshold=threshold,
        seed=seed,
        episodes=episodes,
        max_episodes=max_episodes,
    )


@pytest.mark.parametrize(
    ("episodes", "limit", "played"),
    [(20, 80, 80), (20, 70, 70), (30, 30, 30), (16, 17, 17), (20, None, 80)],
)
def test_the_undecided_are_extended_up_to_the_limit_and_never_beyond(
    episodes: int, limit: int | None, played: int
) -> None:
    Mirror.seeds.clear()
    judgement = _referee(episodes, limit).decide(_wavering())
    assert judgement.retention.verdict == "undecided"
    assert judgement.retention.episodes == len(judgement.record.episodes) == played
    assert sorted(Mirror.seeds) == sorted([*range(played)] * 3)  # policy, baseline and random


@pytest.mark.parametrize(("threshold", "verdict"), [(0.2, "keeps"), (1.3, "loses")])
def test_the_decided_are_not_extended(threshold: float, verdict: str) -> None:
    Mirror.seeds.clear()
    judgement = _referee(20, 40, threshold=threshold).decide(_wavering())
    assert judgement.retention.verdict == verdict
    assert judgement.retention.threshold == threshold
    assert sorted(Mirror.seeds) == sorted([*range(20)] * 3)


def test_extension_stops_once_it_decides() -> None:
    judgement = _referee(12, 100_000, threshold=0.72).decide(_wavering())
    assert judgement.retention.verdict == "keeps"
    assert 12 < len(judgement.record.episodes) < 10_000


def test_what_clearly_loses_gets_a_glance_only() -> None:
    referee = make_referee(
        Environment.find(MIRROR), constant(1.0), threshold=0.8, episodes=80, glance=20
    )
    assert len(referee.judge(constant(0.6)).record.episodes) == 20
    assert len(referee.judge(_wavering()).record.episodes) == 80


def test_both_sides_play_the_same_seeds() -> None:
    referee = _referee(25, seed=1000)
    judgement = referee.judge(_wavering())
    baseline, random = referee.references(25)
    seeds = list(range(1000, 1025))
    for record in (judgement.record, baseline, random):
        assert [episode.seed for episode in record.episodes] == seeds
    assert judgement.record.returns == pytest.approx([1 - 0.2 * (seed % 2) for seed in seeds])
    assert baseline.returns == [1.0] * 25


def test_retention_is_what_the_episodes_say() -> None:
    referee = _referee(40)
    judgement = referee.judge(_wavering())
    _, random = referee.references(40)
    floor = np.mean(random.returns)
    assert judgement.retention.normalized is not None
    assert judgement.retention.ratio is not None
    assert judgement.retention.normalized.estimate == pytest.approx((0.9 - floor) / (1 - floor))
    assert judgement.retention.ratio.estimate == pytest.approx(0.9)


def test_earlier_episodes_count() -> None:
    referee, policy = _referee(20, 30), _wavering()
    first = referee.judge(policy)
    Mirror.seeds.clear()
    second = referee.decide(policy)
    assert second.record.episodes[:20] == first.record.episodes
    assert sorted(Mirror.seeds) == sorted([*range(20, 30)] * 3)
    Mirror.seeds.clear()
    assert referee.decide(policy) == second
    assert referee.judge(policy) == first
    assert not Mirror.seeds


def test_another_policy_is_judged_by_the_same_references() -> None:
    referee = _referee(20)
    referee.references(20)
    Mirror.seeds.clear()
    referee.judge(_wavering())
    assert sorted(Mirror.seeds) == list(range(20))


def test_extended_records_equal_one_longer_run() -> None:
    referee, policy = _referee(20, seed=4), _wavering()
    part, whole = referee.record(policy, 9), referee.record(policy, 70)
    assert whole.episodes == evaluate(policy, MIRROR, episodes=70, seed=4).episodes
    assert referee.record(policy, 9).episodes == part.episodes == whole.episodes[:9]
    assert whole.seconds > part.seconds


def test_a_play_that_is_interrupted_goes_on_where_it_was() -> None:
    calls = []

    def run(actor: Actor, first: int, count: int) -> EvaluationRecord:
        calls.append((first, count))
        if len(calls) % 2:
            raise InterruptedError
        return play(actor, Environment.find(MIRROR), episodes=count, seed=first)

    referee = Referee(
        run, constant(1.0), constant(0.5), threshold=0.8, seed=0, episodes=20, max_episodes=40
    )
    policy = _wavering()
    for _ in range(6):
        with pytest.raises(InterruptedError):
            referee.decide(policy)
    assert referee.decide(policy).record.returns == [1.0, pytest.approx(0.8)] * 20
    assert calls[::2] == calls[1::2] == [(0, 20)] * 3 + [(20, 20)] * 3


def test_the_baseline_itself_keeps_all() -> None:
    judgement = _referee(20).judge(constant(1.0))
    assert judgement.retention.verdict == "keeps"
    interval = judgement.retention.normalized
    assert interval is not None
    assert (interval.low, interval.estimate, interval.high) == pytest.approx((1, 1, 1))


def test_an_untrained_baseline_gives_no_verdict() -> None:
    actor = load_network(untrained_agent().network)
    referee = make_referee(cart_pole(), actor, threshold=0.95, seed=0, episodes=20)
    judgement = referee.decide(actor)
    assert judgement.retention.baseline_trained is False
    assert judgement.retention.verdict is None
    assert judgement.retention.normalized is None
    assert len(judgement.record.episodes) == 20


def test_a_baseline_like_random_gives_no_verdict() -> None:
    mirror = Environment.find(MIRROR)
    referee = make_referee(mirror, constant(0.5), threshold=0.95, seed=0, episodes=50)
    assert referee.judge(constant(1.0)).retention.verdict is None


def test_a_judgement_is_the_same_again() -> None:
    first, again = (_referee(12, 48, seed=5).decide(_wavering()) for _ in range(2))
    assert first.retention == again.retention
    assert first.record.episodes == again.record.episodes


@pytest.mark.parametrize("threshold", [0, -0.5, 2.1, 95, float("nan"), float("inf")])
def test_a_threshold_out_of_range_is_an_error(threshold: float) -> None:
    with pytest.raises(InvalidArgumentError, match=r"0\.95 is 95 %"):
        _referee(20, threshold=threshold)


@pytest.mark.parametrize(("episodes", "limit"), [(20, 19), (20, 0), (20, -5), (20, 10**9)])
def test_a_limit_out_of_range_is_an_error(episodes: int, limit: int) -> None:
    with pytest.raises(InvalidArgumentError, match=f"`max_episodes` must be 20 .*not {limit}$"):
        _referee(episodes, limit)


def test_a_policy_of_other_sizes_is_an_error() -> None:
    with pytest.raises(EnvError, match=r"\(3,\)"):
        _referee(2).judge(constant(1.0, (3,)))


@pytest.mark.parametrize(("threshold", "limit"), [(0.95, 60), (0.9, 40), (0.99, 300)])
def test_the_limit_allows_what_the_threshold_needs(threshold: float, limit: int) -> None:
    referee = make_referee(
        Environment.find(MIRROR), constant(1.0), threshold=threshold, seed=0, episodes=10
    )
    assert referee.max_episodes == limit
