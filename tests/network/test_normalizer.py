from __future__ import annotations

import numpy as np
import torch

from squeezerl.network.normalizer import ObservationNormalizer

MEAN, VARIANCE = np.array([1.0, -20.0, 0.0]), np.array([4.0, 0.25, 0.0])


def test_observations_are_centred_scaled_and_clipped() -> None:
    normalizer = ObservationNormalizer(MEAN, VARIANCE, epsilon=1e-8, clip=3.0)
    observations = np.random.default_rng(0).normal(MEAN, 2.0, (200, 3)).astype(np.float32)

    actual = normalizer(torch.from_numpy(observations)).numpy()
    expected = np.clip((observations - MEAN) / np.sqrt(VARIANCE + 1e-8), -3, 3)

    assert (np.abs(expected) == 3).any()
    assert (np.abs(expected[:, 0]) < 3).any()
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5)


def test_statistics_are_no_parameters_but_are_saved() -> None:
    normalizer = ObservationNormalizer(MEAN, VARIANCE, epsilon=1e-8, clip=3.0)
    assert not list(normalizer.parameters())
    assert set(normalizer.state_dict()) == {"mean", "inverse_std"}
