from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import stable_baselines3
import torch
from checkpoint_files import ENV, Weights, change_weights, refuses

from made_agents import make_agent
from squeezerl import load_agent
from squeezerl.errors import CheckpointError

HIDDEN = "mlp_extractor.policy_net.0"
OUTPUT = "action_net"


def _without(*names: str) -> Callable[[Weights], Weights]:
    return lambda weights: {name: w for name, w in weights.items() if name not in names}


def _with(
    name: str, change: Callable[[torch.Tensor], torch.Tensor]
) -> Callable[[Weights], Weights]:
    return lambda weights: weights | {name: change(weights[name])}


def _plus(**more: Any) -> Callable[[Weights], Any]:
    return lambda weights: weights | {name.replace("__", "."): w for name, w in more.items()}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param(_with(f"{HIDDEN}.weight", lambda w: w.T), "weight .*bias", id="transposed"),
        pytest.param(_with(f"{HIDDEN}.weight", lambda w: w[:, :2]), "gets 3", id="inputs"),
        pytest.param(_with(f"{HIDDEN}.weight", lambda w: w[:-1]), "weight .*bias", id="rows"),
        pytest.param(_with(f"{HIDDEN}.bias", lambda b: b[:-1]), "weight .*bias", id="bias"),
        pytest.param(
            _plus(action_net__weight=torch.zeros(2, 8), action_net__bias=torch.zeros(2)),
            "2 outputs, the action space needs 1",
            id="outputs",
        ),
        pytest.param(_with(f"{OUTPUT}.weight", lambda w: w[0, 0]), "no linear", id="scalar"),
        pytest.param(_with(f"{OUTPUT}.weight", lambda w: w * torch.nan), "NaN", id="nan"),
        pytest.param(_with(f"{OUTPUT}.bias", lambda b: b / 0), "infinite", id="infinite"),
        pytest.param(_with(f"{OUTPUT}.bias", lambda b: b.double() * 1e300), "inf", id="overflow"),
        pytest.param(_with(f"{OUTPUT}.weight", lambda w: w.int()), "floating", id="integers"),
        pytest.param(
            _with(f"{OUTPUT}.weight", lambda w: w.to_sparse()), "rebuild_sparse", id="sparse"
        ),
        pytest.param(_with(f"{OUTPUT}.weight", lambda w: w + 1j), "floating", id="complex"),
        pytest.param(_with(f"{OUTPUT}.weight", lambda w: w.to("meta")), "rebuild_meta", id="meta"),
        pytest.param(
            _with(f"{OUTPUT}.weight", lambda w: torch.nested.nested_tensor([w[0]])),
            "_rebuild_nested_tensor",
            id="nested",
        ),
        pytest.param(
            _with(f"{HIDDEN}.weight", lambda _: torch.zeros(1).expand(10**6, 10**6)),
            "holds less data",
            id="giant",
        ),
        pytest.param(_without(f"{OUTPUT}.bias"), f"lack '{OUTPUT}.bias'", id="no-bias"),
        pytest.param(_without(f"{OUTPUT}.weight", f"{OUTPUT}.bias"), "lack", id="no-output"),
        pytest.param(
            _without(f"{HIDDEN}.weight", f"{HIDDEN}.bias"),
            "takes 16 features, but gets 3|lack|layer",
            id="no-first-layer",
        ),
        pytest.param(lambda weights: list(weights.values()), "mapping of names", id="list"),
        pytest.param(_plus(x="text"), "mapping of names", id="text"),
        pytest.param(lambda _: {}, "lack", id="empty"),
        pytest.param(
            _plus(**{f"mlp_extractor.policy_net.{'9' * 5000}.weight": torch.zeros(1, 1)}),
            "",
            id="giant-index",
        ),
    ],
)
def test_wrong_weights_are_refused(
    folder: Path, checkpoint: Path, change: Callable[[Weights], Any], reason: str
) -> None:
    change_weights(checkpoint, change)
    refuses(folder, reason)


def test_wrong_weights_that_the_policy_does_not_use_are_no_matter(
    folder: Path, checkpoint: Path
) -> None:
    change_weights(checkpoint, _with("value_net.weight", lambda w: w * torch.nan))
    assert load_agent(folder).source.algorithm == "ppo"


def test_hidden_layer_that_was_cut_out_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "agent.zip"
    shape = {"net_arch": [4, 4, 4]}
    stable_baselines3.PPO("MlpPolicy", ENV, n_steps=8, batch_size=8, policy_kwargs=shape).save(path)
    assert len(load_agent(path).network.layers) == 4

    second = "mlp_extractor.policy_net.2"
    change_weights(path, _without(f"{second}.weight", f"{second}.bias"))
    with pytest.raises(CheckpointError, match="policy_net"):
        load_agent(path)


def test_quantile_network_without_outputs_is_refused(tmp_path: Path) -> None:
    path = make_agent("qrdqn", tmp_path).path
    last = "quantile_net.quantile_net.4"
    empty = {f"{last}.weight": torch.zeros(0, 8), f"{last}.bias": torch.zeros(0)}
    change_weights(path, lambda weights: weights | empty)
    with pytest.raises(CheckpointError, match="quantile"):
        load_agent(path)
