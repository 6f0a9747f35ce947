"""Run policies in a runtime of your own: NumPy and nothing else.

It is built on the reference arithmetic of networks, so it runs float and int8 policies alike:

    squeezerl --plugin examples/custom_runtime.py evaluate demo --runtime numpy
    squeezerl --plugin examples/custom_runtime.py profile demo --runtime ort,numpy
"""

from __future__ import annotations

from typing import final

import numpy as np

from squeezerl.network.arithmetic import act
from squeezerl.network.network import Network
from squeezerl.runtimes.base import RUNTIMES, Actions, Actor, Deployed, Observations, Rows, Runtime


@final
class NumpyActor(Actor):
    def __init__(self, network: Network) -> None:
        super().__init__(network)
        self._network = network

    def act(self, observations: Observations, rows: Rows | None = None) -> Actions:
        """Actions for a batch, one row at a time: BLAS rounds a batch's sums in another order."""
        observations = self._checked(observations)
        if len(observations) == 0:
            return act(self._network, np.zeros((1, *self.observation_shape)))[:0]
        return np.concatenate([act(self._network, row[np.newaxis]) for row in observations])


@final
class NumpyRuntime(Runtime):
    name = "numpy"
    package = install = "numpy"

    def load(self, deployed: Deployed, *, threads: int = 1) -> NumpyActor:
        """The actor of an artifact; NumPy's own settings decide on threads."""
        return NumpyActor(deployed.network)


RUNTIMES.register(NumpyRuntime.name, NumpyRuntime())
