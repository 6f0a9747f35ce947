from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from gymnasium.spaces import Box
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from made_agents import SpacesOnly
from squeezerl.agents.sources.stable_baselines3.vecnormalize import read_vecnormalize
from squeezerl.errors import CheckpointError, SqueezeRLError
from squeezerl.network.network import as_float

SHAPES = ((1,), (4,), (3, 2))


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("vecnormalize") / "vecnormalize.pkl"


def _vecnormalize(shape: tuple[int, ...], **keywords: Any) -> VecNormalize:
    env = SpacesOnly(Box(-np.inf, np.inf, shape), Box(-1, 1, (2,)))
    return VecNormalize(DummyVecEnv([lambda: env]), **keywords)


def _arrays(shape: tuple[int, ...], low: float, high: float) -> st.SearchStrategy[Any]:
    dtypes = st.sampled_from(["<f8", ">f8", "<f4"])
    return dtypes.flatmap(
        lambda dtype: nps.arrays(
            dtype, shape, elements=st.floats(low, high, width=8 * int(dtype[-1]))
        )
    )


@st.composite
def _statistics(draw: st.DrawFn) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    shape = draw(st.sampled_from(SHAPES))
    mean, variance = draw(_arrays(shape, -1024.0, 1024.0)), draw(_arrays(shape, 0.0, 2.0**20))
    if draw(st.booleans()):
        mean, variance = np.asfortranarray(mean), np.asfortranarray(variance)
    return mean, variance


@settings(max_examples=80)
@given(
    statistics=_statistics(),
    epsilon=st.sampled_from([1e-8, 1e-4, np.float32(0.5), 1]),
    clip=st.sampled_from([10.0, 0.5, np.float64(5.0), 7]),
    protocol=st.integers(2, 5),
    seed=st.integers(0, 2**32 - 1),
)
def test_normalizer_agrees_with_stable_baselines3(
    scratch: Path,
    statistics: tuple[npt.NDArray[Any], npt.NDArray[Any]],
    epsilon: Any,
    clip: Any,
    protocol: int,
    seed: int,
) -> None:
    mean, variance = statistics
    theirs = _vecnormalize(mean.shape, epsilon=epsilon, clip_obs=clip)
    theirs.obs_rms.mean, theirs.obs_rms.var = mean, variance
    scratch.write_bytes(pickle.dumps(theirs, protocol))
    ours = read_vecnormalize(scratch)
    assert ours is not None

    std = np.sqrt(variance.astype(np.float64) + float(epsilon))
    draws = np.random.default_rng(seed).normal(size=(20, *mean.shape))
    observations = (mean + 2 * std * draws).astype(np.float32)
    centered = observations.reshape(20, -1) - as_float(ours.mean)
    actual = np.clip(centered * as_float(ours.inverse_std), -ours.clip, ours.clip)
    expected = theirs.normalize_obs(observations).reshape(20, -1)

    # The mean is kept in single precision: that costs up to half a unit in its last place.
    rounding = np.spacing(np.abs(mean).astype(np.float32)) / std
    assert (np.abs(actual - expected) <= 1e-5 + rounding.ravel()).all()


@pytest.mark.parametrize("protocol", range(2, 6))
def test_normalizer_of_a_used_environment_is_read(tmp_path: Path, protocol: int) -> None:
    theirs = _vecnormalize((3,))
    theirs.observation_space.seed(1)
    theirs.action_space.seed(2)
    theirs.reset()
    for _ in range(20):
        theirs.step(np.zeros((1, 2)))
    (tmp_path / "vecnormalize.pkl").write_bytes(pickle.dumps(theirs, protocol))
    ours = read_vecnormalize(tmp_path / "vecnormalize.pkl")

    assert ours is not None
    np.testing.assert_allclose(ours.mean, theirs.obs_rms.mean, rtol=1e-6)
    assert ours.clip == theirs.clip_obs


def test_normalizer_of_rewards_only_leaves_observations_alone(tmp_path: Path) -> None:
    theirs = _vecnormalize((3,), norm_obs=False)
    theirs.save(str(tmp_path / "vecnormalize.pkl"))
    assert read_vecnormalize(tmp_path / "vecnormalize.pkl") is None


def test_normalizer_of_dict_observations_needs_a_policy_of_those(tmp_path: Path) -> None:
    theirs = _vecnormalize((3,))
    theirs.obs_rms = {"camera": theirs.obs_rms}
    theirs.save(str(tmp_path / "vecnormalize.pkl"))
    with pytest.raises(CheckpointError, match=r"vecnormalize\.pkl.*dict observations"):
        read_vecnormalize(tmp_path / "vecnormalize.pkl")


def _spoiled(content: bytes, flips: list[tuple[float, int]], kept: float) -> bytes:
    changed = bytearray(content)
    for place, byte in flips:
        changed[int(place * (len(changed) - 1))] ^= byte
    return bytes(changed[: int(kept * len(changed))])


FLIPS = st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), max_size=4)
KEPT = st.one_of(st.just(1.0), st.floats(0, 1))


@pytest.fixture(scope="module", params=[2, 4, 5])
def saved(request: pytest.FixtureRequest) -> Callable[[], bytes]:
    content = pickle.dumps(_vecnormalize((3,)), request.param)
    return lambda: content


@settings(max_examples=150)
@given(flips=FLIPS, kept=KEPT)
def test_damaged_normalizer_gives_only_our_errors(
    scratch: Path, saved: Callable[[], bytes], flips: list[tuple[float, int]], kept: float
) -> None:
    content = _spoiled(saved(), flips, kept)
    scratch.write_bytes(content)
    refusal = None
    try:
        read_vecnormalize(scratch)
    except SqueezeRLError as error:
        refusal = str(error)
    if refusal is None:
        assert len(content) == len(saved()), "a truncated pickle was read"
    else:
        assert scratch.name in refusal
