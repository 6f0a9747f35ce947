"""Actions of a policy in torch, and of its ONNX graph in ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch

from squeezerl.network.policy import Policy
from squeezerl.runtimes.ort_session import make_session


def torch_actions(policy: Policy, observations: npt.NDArray[Any]) -> npt.NDArray[Any]:
    with torch.no_grad():
        return policy(torch.from_numpy(observations.astype(np.float32))).numpy()


def onnx_actions(model: onnx.ModelProto, observations: npt.NDArray[Any]) -> npt.NDArray[Any]:
    session = make_session(model.SerializeToString(), threads=1)
    return session.run(None, {"observation": observations.astype(np.float32)})[0]
