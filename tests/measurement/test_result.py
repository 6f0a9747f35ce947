from __future__ import annotations

import io

import numpy as np

from made_profiles import CHUNKS, PER_CHUNK, make_process, make_profile, make_row
from squeezerl.measurement.result import samples_npz


def test_samples_are_numpy_s_own_and_named_by_row_and_round() -> None:
    processes = [make_process(number, usual_ns=1000 * (number + 1)) for number in range(6)]
    profile = make_profile(make_row("a"), make_row("b", problem="no"), make_row("c", processes))
    with np.load(io.BytesIO(samples_npz(profile)), allow_pickle=False) as samples:
        names = {
            f"{row}/{round_}/{field}"
            for row in (0, 2)
            for round_ in range(6)
            for field in ("nanoseconds", "chunk_ends", "gauges")
        }
        assert set(samples.files) == names
        assert samples["2/4/nanoseconds"].tolist() == [5000] * CHUNKS * PER_CHUNK
        assert samples["0/0/chunk_ends"][-1] == len(samples["0/0/nanoseconds"])
        assert len(samples["0/0/gauges"]) == CHUNKS + 1


def test_a_profile_without_figures_has_no_samples() -> None:
    content = samples_npz(make_profile(make_row(problem="no")))
    with np.load(io.BytesIO(content)) as samples:
        assert samples.files == []
