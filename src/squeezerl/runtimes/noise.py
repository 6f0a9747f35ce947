"""The noise of policies that draw their actions: each row of a batch has a stream of its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from squeezerl.network.network import Network

_BLOCK = 64  # steps that are drawn at once
# So that an environment that makes `default_rng(seed)` does not see the noise of its policy.
_STREAM = 0x5175656E


class NoiseStreams:
    """Noise for each row, the same whatever other rows are in the batch.

    The noise of the steps after `seed` are the rows of `default_rng([0x5175656E, seed])`'s standard
    normal or Gumbel numbers. A row that was never seeded has its own number as its seed.

    Args:
        network: draws its actions.
    """

    def __init__(self, network: Network) -> None:
        assert network.noise_width is not None
        self._is_normal, self.width = network.head.noise == "normal", network.noise_width
        self._generators: list[np.random.Generator] = []
        self._blocks = np.empty((0, _BLOCK, self.width), np.float32)
        self._used = np.empty(0, np.int64)

    def seed(self, rows: npt.NDArray[np.int64], seeds: Sequence[int]) -> None:
        """The next steps of these rows have the noise of these seeds."""
        self._make_room(rows)
        for row, seed in zip(rows.tolist(), seeds, strict=True):
            self._generators[row] = np.random.default_rng([_STREAM, seed])
        self._used[rows] = _BLOCK

    def draw(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """The noise (n, width) of one step of these rows, which differ."""
        self._make_room(rows)
        for row in rows[self._used[rows] == _BLOCK].tolist():
            self._blocks[row] = self._block(self._generators[row])
            self._used[row] = 0
        noise: npt.NDArray[np.float32] = self._blocks[rows, self._used[rows]]
        self._used[rows] += 1
        return noise

    def _block(self, generator: np.random.Generator) -> npt.NDArray[np.float32]:
        size = (_BLOCK, self.width)
        if self._is_normal:
            return generator.standard_normal(size, dtype=np.float32)
        return generator.gumbel(size=size).astype(np.float32)

    def _make_room(self, rows: npt.NDArray[np.int64]) -> None:
        known = len(self._generators)
        new = int(rows.max(initial=-1)) + 1 - known
        if new <= 0:
            return
        self._generators += [
            np.random.default_rng([_STREAM, row]) for row in range(known, known + new)
        ]
        empty = np.empty((new, _BLOCK, self.width), np.float32)
        self._blocks = np.concatenate([self._blocks, empty])
        self._used = np.concatenate([self._used, np.full(new, _BLOCK)])
