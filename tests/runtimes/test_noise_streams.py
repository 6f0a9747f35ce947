from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from small_policies import drawing, make_network
from squeezerl.network.network import Network
from squeezerl.runtimes.noise import NoiseStreams
from squeezerl.runtimes.onnx_runtime import load_network

NORMAL, GUMBEL = (
    drawing(make_network(3, 8, 2, bounds=(-9, 9))),
    drawing(make_network(3, 8, 4, head="argmax")),
)


@pytest.mark.parametrize(
    ("network", "mean", "variance"), [(NORMAL, 0.0, 1.0), (GUMBEL, 0.5772, np.pi**2 / 6)]
)
def test_the_noise_is_distributed_as_the_head_says(
    network: Network, mean: float, variance: float
) -> None:
    streams, rows = NoiseStreams(network), np.arange(500)
    noise = np.stack([streams.draw(rows) for _ in range(100)])
    assert noise.dtype == np.float32
    assert noise.mean() == pytest.approx(mean, abs=0.02)
    assert noise.var() == pytest.approx(variance, abs=0.04)
    for one, other in ((noise[1:], noise[:-1]), (noise[:, 1:], noise[:, :-1])):
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.02


@given(
    st.lists(
        st.permutations(range(4)).flatmap(
            lambda rows: st.integers(1, 4).map(lambda count: rows[:count])
        ),
        max_size=150,
    )
)
def test_a_row_has_the_noise_of_its_seed_whatever_other_rows_there_are(
    batches: list[list[int]],
) -> None:
    together = NoiseStreams(NORMAL)
    together.seed(np.arange(4), [70, 71, 72, 73])
    alone = []
    for row in range(4):
        alone.append(NoiseStreams(NORMAL))
        alone[-1].seed(np.array([0]), [70 + row])
    for batch in batches:
        noise = together.draw(np.array(batch))
        for row, values in zip(batch, noise, strict=True):
            np.testing.assert_array_equal(values, alone[row].draw(np.array([0]))[0])


def test_the_documented_generator_gives_the_same_noise() -> None:
    streams = NoiseStreams(NORMAL)
    streams.seed(np.array([0]), [5])
    generator = np.random.default_rng([0x5175656E, 5])
    expected = generator.standard_normal((64, 2), dtype=np.float32)
    drawn = np.concatenate([streams.draw(np.array([0])) for _ in range(64)])
    np.testing.assert_array_equal(drawn, expected)


def test_an_actor_draws_other_actions_at_each_step_and_the_same_after_the_same_seed() -> None:
    observations = np.zeros((3, 3), np.float32)
    actor = load_network(NORMAL)
    first, second = actor.act(observations), actor.act(observations)
    assert len({*map(bytes, [*first, *second])}) == 6
    actor.seed_noise(np.arange(3), [0, 1, 2])  # what rows have unless they are seeded
    np.testing.assert_array_equal(actor.act(observations), first)
    np.testing.assert_array_equal(actor.act(observations), second)


def test_draws_of_discrete_actions_have_the_probabilities_of_the_softmax() -> None:
    actor, rows = load_network(GUMBEL), np.arange(64)
    observations = np.repeat(np.float32([[0.5, -1, 2]]), 64, axis=0)
    drawn = np.concatenate([actor.act(observations, rows) for _ in range(300)])
    seen: dict[str, np.ndarray] = {}  # type: ignore[type-arg]
    from squeezerl.network.arithmetic import act

    act(GUMBEL, observations[:1], seen.__setitem__)
    exponentials = np.exp(seen["layer1"][0])
    counts = np.bincount(drawn, minlength=4) / len(drawn)
    np.testing.assert_allclose(counts, exponentials / exponentials.sum(), atol=0.012)
