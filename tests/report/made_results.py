"""Results of a squeeze that never ran, small enough to check by hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from made_agents import made_source
from squeezerl.analysis.retention import retention
from squeezerl.evaluation.environment import Environment
from squeezerl.evaluation.referee import Judgement
from squeezerl.formats.base import SizeRecord
from squeezerl.methods.recipe import Recipe
from squeezerl.records import Calibration, Episode, EvaluationRecord, Host
from squeezerl.search.candidates import BASELINE, Candidate
from squeezerl.search.result import SqueezeResult, Trial

EPISODES = 12
RETAIN = 0.7  # lenient enough that twelve episodes can say "keeps"
PROBLEM = "layer0 has 6 neurons, of which 5% is 0"


def make_record(returns: Sequence[float], seed: int = 0) -> EvaluationRecord:
    """Episodes of 100 steps with these returns, run in two seconds."""
    return EvaluationRecord(
        env_id="CartPole-v1",
        env_kwargs={"max_episode_steps": 100},
        backend="envpool",
        seed=seed,
        episodes=tuple(
            Episode(seed=seed + number, return_=return_, length=100)
            for number, return_ in enumerate(returns)
        ),
        seconds=2.0,
    )


BASELINE_RECORD = make_record([100.0 + i for i in range(EPISODES)])
RANDOM_RECORD = make_record([20.0 + i % 3 for i in range(EPISODES)])


def make_judgement(share: float, seed: int = 0, threshold: float = RETAIN) -> Judgement:
    """Of a policy that earns so much of the baseline's return in every episode."""
    returns = [share * return_ for return_ in BASELINE_RECORD.returns]
    judged = retention(
        returns,
        BASELINE_RECORD.returns,
        RANDOM_RECORD.returns,
        threshold=threshold,
        rng=np.random.default_rng(0),
    )
    return Judgement(make_record(returns, seed), judged)


def make_size(file_bytes: int) -> SizeRecord:
    return SizeRecord(
        file_bytes=file_bytes,
        weight_bytes=file_bytes - 150,
        matrix_bytes=0,
        bias_bytes=0,
        scale_bytes=0,
        normalizer_bytes=0,
        layout_bytes=0,
    )


def make_trial(recipe: str, file_bytes: int, share: float) -> Trial:
    made = Recipe.of(recipe)
    return Trial(
        recipe=made,
        artifact=f"candidates/{made.name}",
        size=make_size(file_bytes),
        judgement=make_judgement(share),
    )


def failed_trial() -> Trial:
    """L1 at 5 %, which the method could not do."""
    recipe = Recipe.of("prune:l1:0.05")
    return Trial(recipe=recipe, artifact=None, size=None, judgement=None, problem=PROBLEM)


def make_result() -> SqueezeResult:
    """Four candidates: one chosen, one that keeps but is larger, one that loses, one failed."""
    return SqueezeResult(
        source=made_source("runs/agent.zip", sha256="ab" * 32),
        environment=Environment.find("CartPole-v1", {"max_episode_steps": 100}, backend="envpool"),
        retain=RETAIN,
        episodes=EPISODES,
        max_episodes=48,
        seed=0,
        calibration=Calibration(
            observations=4096,
            env_id="CartPole-v1",
            env_kwargs={},
            backend="envpool",
            first_seed=1_200_000_000,
            episodes=10,
        ),
        host=Host(
            cpu="A CPU",
            cpu_flags=("avx2",),
            cores=2,
            cores_available=2,
            physical_cores=None,
            sockets=None,
            governor=None,
            virtual_machine=None,
            memory_bytes=2**33,
            system="Linux x86_64",
            kernel="6.1",
            python="3.11.7",
            libraries={"numpy": "2.4.6"},
            load=None,
        ),
        baseline_size=make_size(8000),
        baseline_record=BASELINE_RECORD,
        random_record=RANDOM_RECORD,
        trials=(
            make_trial("ptdq", 2000, 0.99),
            failed_trial(),
            make_trial("prune:l2:0.3", 4000, 1.0),
            make_trial("prune:l2:0.7", 1500, 0.5),
        ),
        chosen=Candidate(Recipe.of("ptdq")),
        confirmation=make_judgement(0.98, seed=600_000_000),
        profile=None,
    )


def make_float_result() -> SqueezeResult:
    """The same, where nothing was confirmed."""
    return dataclasses.replace(make_result(), chosen=BASELINE, confirmation=None)


def untrained_judgement() -> Judgement:
    """Against a baseline that is no better than random."""
    judged = retention(
        RANDOM_RECORD.returns,
        RANDOM_RECORD.returns,
        RANDOM_RECORD.returns,
        threshold=RETAIN,
        rng=np.random.default_rng(0),
    )
    return Judgement(RANDOM_RECORD, judged)
