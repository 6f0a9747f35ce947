"""What Stable-Baselines3 draws, with the noise that it is given instead of torch's."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch


def draws(model: Any) -> bool:
    """Whether the algorithm draws its actions from a distribution for each observation."""
    return type(model).__name__ in ("PPO", "A2C", "TRPO", "SAC", "TQC") and not model.use_sde


def drawn_by_sb3(
    model: Any, observations: npt.NDArray[Any], noise: npt.NDArray[np.float32]
) -> npt.NDArray[Any]:
    """The actions of normalised observations for standard normal or Gumbel noise."""
    policy, given = model.policy, torch.as_tensor(noise)
    with torch.no_grad():
        batch, _ = policy.obs_to_tensor(observations)
        if hasattr(policy, "actor"):
            mean, log_std, _ = policy.actor.get_action_dist_params(batch)
            drawn = torch.tanh(mean + log_std.exp() * given).numpy()
            return policy.unscale_action(drawn.reshape(-1, *model.action_space.shape))
        distribution = policy.get_distribution(batch).distribution
        if hasattr(distribution, "logits"):
            return (distribution.logits + given).argmax(dim=1).numpy()
        drawn = (distribution.mean + distribution.stddev * given).numpy()
        drawn = drawn.reshape(-1, *model.action_space.shape)
        return np.clip(drawn, model.action_space.low, model.action_space.high)
