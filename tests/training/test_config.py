from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from squeezerl import QatConfig, TicketConfig, TrainConfig
from squeezerl.errors import InvalidArgumentError, SpecError


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "`steps` must be 1 to 10,000,000,000, not 0"),
        ({"seed": -1}, "`seed` must be 0 to 500,000,000, not -1"),
        ({"evaluations": 0}, "`evaluations` must be 1 to 10,000, not 0"),
        ({"eval_episodes": 0}, "`eval_episodes` must be 1 to 1,000,000, not 0"),
        ({"threads": 0}, "`threads` must be 1 to 1,024, not 0"),
        ({"checkpoint_seconds": -1}, "`checkpoint_seconds` must be 0 to .*, not -1"),
        ({"checkpoint_seconds": float("nan")}, "`checkpoint_seconds` must be 0 to .*, not nan"),
        ({"device": "abacus"}, "`device` 'abacus' is not one of auto, cpu, cuda"),
        ({"track": "paper"}, "`track` 'paper' is not one of tensorboard, wandb"),
        ({"qat": "int8"}, "`qat` must be a QatConfig, not 'int8'"),
        ({"ticket": "l2"}, "`ticket` must be a TicketConfig, not 'l2'"),
    ],
)
def test_what_is_out_of_range_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        TrainConfig(algorithm="ppo", env="CartPole-v1", **options)


@pytest.mark.parametrize("warmup", [-0.1, 1.0, float("nan")])
def test_a_warmup_that_is_no_share_is_refused(warmup: float) -> None:
    with pytest.raises(InvalidArgumentError, match=f"`warmup` is a share .* not {warmup}"):
        QatConfig(warmup=warmup)


def test_a_ticket_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="`choice` 'l3' is not one of l1, l2, random"):
        TicketConfig(of="folder", choice="l3")
    with pytest.raises(SpecError, match=r"ratio 1\.0 is out of range"):
        TicketConfig(of="folder", ratio=1.0)


@pytest.mark.parametrize("other", [{"init": "demo"}, {"qat": QatConfig()}])
def test_a_ticket_excludes_what_would_change_its_start(other: dict[str, Any]) -> None:
    (name,) = other
    with pytest.raises(InvalidArgumentError, match=f"`ticket` and `{name}` exclude each other"):
        TrainConfig(algorithm="ppo", ticket=TicketConfig(of="folder"), **other)


def test_a_config_can_be_made_without_torch() -> None:
    code = (
        "import sys, squeezerl; squeezerl.TrainConfig(algorithm='ppo', env='CartPole-v1'); "
        "assert not {'torch', 'stable_baselines3'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
