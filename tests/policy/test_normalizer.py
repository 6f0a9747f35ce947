from __future__ import annotations

import numpy as np
import torch

from squeezerl.policy.normalizer import ObservationNormalizer

MEAN, VARIANCE = np.array([1.0, -20.0, 0.0]), np.array([4.0, 0.25, 0.0])


def test_observations_are_centred_scaled_and_clipped() -> None:
    normalizer = ObservationNormalizer(MEAN, VARIANCE, epsilon=1e-8, clip=3.0)
    observations = np.random.default_rng(0).normal(MEAN, 2.0, (200, 3)).astype(np.float32)

    actual = normalizer(torch.from_numpy(observations)).numpy()
    expected = np.clip((observations - MEAN) / np.sqrt(VARIANCE + 1e-8), -3, 3)

    assert (np.abs(expected) == 3).any()
    assert (np.abs(expected[:, 0]) < 3).any()
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5)


def test_precision_is_kept_where_the_mean_is_large_beside_the_deviation() -> None:
    mean, variance = np.array([1000.0 + 1e-5]), np.array([1e-6])
    normalizer = ObservationNormalizer(mean, variance, epsilon=0.0, clip=10.0)
    observation = np.float32([[1000.0]])

    expected = (observation - mean) / np.sqrt(variance)
    np.testing.assert_allclose(normalizer(torch.from_numpy(observation)), expected, atol=1e-5)


def test_normalizer_does_not_share_the_callers_arrays() -> None:
    mean, variance = np.float32([1.0, 2.0]), np.float32([1.0, 1.0])
    normalizer = ObservationNormalizer(mean, variance, epsilon=0.0, clip=10.0)
    mean += 5
    assert normalizer.mean.tolist() == [1.0, 2.0]


def test_statistics_are_no_parameters_but_are_saved() -> None:
    normalizer = ObservationNormalizer(MEAN, VARIANCE, epsilon=1e-8, clip=3.0)
    assert not list(normalizer.parameters())
    assert set(normalizer.state_dict()) == {"mean", "inverse_std"}
