from __future__ import annotations

import numpy as np
import pytest
import torch

from onnx_runner import torch_actions
from runtime_contract import RuntimeContract
from small_policies import demo_network, demo_observations
from squeezerl.errors import MeasurementError
from squeezerl.runtimes.base import RUNTIMES, Payload
from squeezerl.runtimes.torch_eager import TorchRuntime


class TestTorch(RuntimeContract):
    runtime = TorchRuntime("torch", "cpu")

    def test_it_acts_as_the_policy_does_bit_for_bit(self) -> None:
        observations = demo_observations()[:50]
        actions = self.load(demo_network()).act(observations)
        np.testing.assert_array_equal(actions, torch_actions(demo_network(), observations))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
class TestTorchOnGpu(RuntimeContract):
    runtime = TorchRuntime("torch-cuda", "cuda")

    def test_it_tells_its_memory(self) -> None:
        memory = self.load(demo_network()).gpu_memory()
        assert memory is not None
        assert memory["reserved"] >= memory["allocated"] >= 4 * (17 * 128 + 128 * 128 + 128 * 6)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is an NVIDIA GPU")
def test_a_gpu_that_is_not_there_is_refused() -> None:
    assert RUNTIMES.get("torch-cuda").is_gpu
    with pytest.raises(MeasurementError, match="torch sees no NVIDIA GPU"):
        RUNTIMES.get("torch-cuda").load(Payload(demo_network(), b"", "ppo"))
