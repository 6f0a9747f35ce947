"""Which settings each algorithm has, as Stable-Baselines3 2.9 names them, and what they may be."""

from __future__ import annotations

from typing import Any

from squeezerl.training.hyperparameters.check import Check, Number, refusal, switch
from squeezerl.training.schedules import LINEAR

COUNT = Number(low=1, whole=True)
COUNT_FROM_0 = Number(whole=True)
AMOUNT = Number()
POSITIVE = Number(above=True)
SHARE = Number(high=1)
POSITIVE_SHARE = Number(above=True, high=1)
SCHEDULED = Number(above=True, prefix=LINEAR)


def _train_freq(name: str, value: Any) -> int | tuple[int, str]:
    """Steps between updates, or (a number, "step" or "episode")."""
    if not isinstance(value, list | tuple):
        steps: int = COUNT(name, value)
        return steps
    if len(value) != 2 or value[1] not in ("step", "episode"):
        raise refusal(name, value, 'a whole number or a pair such as (1, "episode")')
    return COUNT(name, value[0]), value[1]


_GSDE: dict[str, Check] = {
    "use_sde": switch,
    "sde_sample_freq": Number(low=1, whole=True, others=(-1,)),
}
_ON_POLICY: dict[str, Check] = {
    **_GSDE,
    "learning_rate": SCHEDULED,
    "n_steps": COUNT,
    "gamma": SHARE,
    "gae_lambda": SHARE,
    "normalize_advantage": switch,
    "stats_window_size": COUNT,
}
_ACTOR_CRITIC_LOSS: dict[str, Check] = {
    "ent_coef": AMOUNT,
    "vf_coef": AMOUNT,
    "max_grad_norm": POSITIVE,
}
_OFF_POLICY: dict[str, Check] = {
    "learning_rate": SCHEDULED,
    "buffer_size": COUNT,
    "learning_starts": COUNT_FROM_0,
    "batch_size": COUNT,
    "tau": POSITIVE_SHARE,
    "gamma": SHARE,
    "train_freq": _train_freq,
    "gradient_steps": Number(low=1, whole=True, others=(-1,)),
    "n_steps": COUNT,
}
_SAC: dict[str, Check] = {
    **_OFF_POLICY,
    **_GSDE,
    "ent_coef": Number(others=("auto",), prefix="auto_"),
    "target_update_interval": COUNT,
    "target_entropy": Number(low=float("-inf"), others=("auto",)),
    "use_sde_at_warmup": switch,
    "stats_window_size": COUNT,
}
_DQN: dict[str, Check] = {
    **_OFF_POLICY,
    "target_update_interval": COUNT,
    "exploration_fraction": POSITIVE_SHARE,
    "exploration_initial_eps": SHARE,
    "exploration_final_eps": SHARE,
    "max_grad_norm": POSITIVE,
    "stats_window_size": COUNT,
}

ALGORITHMS: dict[str, dict[str, Check]] = {
    "trpo": {
        **_ON_POLICY,
        "batch_size": COUNT,
        "cg_max_steps": COUNT,
        "cg_damping": AMOUNT,
        "line_search_shrinking_factor": POSITIVE_SHARE,
        "line_search_max_iter": COUNT,
        "n_critic_updates": COUNT,
        "target_kl": POSITIVE,
        "sub_sampling_factor": COUNT,
    },
    "ppo": {
        **_ON_POLICY,
        **_ACTOR_CRITIC_LOSS,
        "batch_size": COUNT,
        "n_epochs": COUNT,
        "clip_range": SCHEDULED,
        "clip_range_vf": Number(above=True, prefix=LINEAR, others=(None,)),
        "target_kl": Number(above=True, others=(None,)),
    },
    "ddpg": _OFF_POLICY,
    "td3": {
        **_OFF_POLICY,
        "policy_delay": COUNT,
        "target_policy_noise": AMOUNT,
        "target_noise_clip": AMOUNT,
        "stats_window_size": COUNT,
    },
    "sac": _SAC,
    "a2c": {
        **_ON_POLICY,
        **_ACTOR_CRITIC_LOSS,
        "rms_prop_eps": POSITIVE,
        "use_rms_prop": switch,
    },
    "dqn": _DQN,
    "tqc": {**_SAC, "top_quantiles_to_drop_per_net": COUNT_FROM_0},
    "qrdqn": {**_DQN, "max_grad_norm": Number(above=True, others=(None,))},
}
NOISY = ("ddpg", "td3", "sac", "tqc")
