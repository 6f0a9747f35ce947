from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from made_profiles import (
    CHUNKS,
    DECISIONS,
    GAUGE_NS,
    METER,
    PER_CHUNK,
    USUAL_NS,
    make_process,
    make_row,
    make_window,
)
from squeezerl.analysis.timing import median_interval
from squeezerl.measurement.result import Meter, ProcessRecord, ProfileRow
from squeezerl.measurement.summary import (
    Latency,
    energy_of,
    energy_ratio,
    episodes_of,
    latency_of,
    latency_ratio,
    memory_of,
    usual_gauge_ns,
)
from squeezerl.records import Interval

# Gauges at these positions disturb all chunks but two, which are too few.
MOST = range(3, CHUNKS + 1)
SOME = (5,)


def _latency(processes: list[ProcessRecord], *, precision: float = 0.05, **more: Any) -> Latency:
    return latency_of(processes, GAUGE_NS, precision=precision, **more)


def _six(**figures: Any) -> list[ProcessRecord]:
    return [make_process(number, **figures) for number in range(6)]


def _at(*microseconds: float) -> list[ProcessRecord]:
    """Processes with these medians."""
    return [
        make_process(number, usual_ns=int(1000 * median))
        for number, median in enumerate(microseconds)
    ]


def test_the_median_is_that_of_the_processes_medians() -> None:
    latency = _latency(_at(20, 20.1, 20.2, 20.3, 20.4, 20.5))
    assert latency.median == Interval(
        estimate=pytest.approx(20.25e-6), low=pytest.approx(20e-6), high=pytest.approx(20.5e-6)
    )
    assert latency.unstable_because is None
    assert latency.samples == 6 * CHUNKS * PER_CHUNK
    assert latency.undisturbed_share == 1.0


def test_percentiles_are_over_the_samples_of_all_processes() -> None:
    times = np.full((6, CHUNKS * PER_CHUNK), USUAL_NS)
    times[0, :50] = 90_000
    times[3, 7] = 1_000_000
    latency = _latency([make_process(n, nanoseconds=times[n]) for n in range(6)])
    assert latency.p90_s == pytest.approx(np.quantile(times, 0.9) / 1e9)
    assert latency.p99_s == pytest.approx(np.quantile(times, 0.99) / 1e9) == pytest.approx(90e-6)
    assert latency.max_s == pytest.approx(1e-3)
    assert latency.jitter_s == pytest.approx(70e-6)


def test_disturbed_chunks_are_set_apart() -> None:
    latency = _latency(_six(disturbed=SOME))
    assert latency.median.estimate == latency.max_s == pytest.approx(USUAL_NS / 1e9)
    assert latency.disturbed_max_s == latency.disturbed_p99_s == pytest.approx(3 * USUAL_NS / 1e9)
    assert latency.samples == 6 * (CHUNKS - 2) * PER_CHUNK  # a gauge has a chunk on either side
    assert latency.undisturbed_share == pytest.approx(0.9)
    assert latency.unstable_because is None


def test_chunks_of_unequal_numbers_of_decisions_are_told_apart() -> None:
    process = make_process(disturbed=SOME)
    ends = np.cumsum(np.arange(1, CHUNKS + 1))
    times = np.full(ends[-1], USUAL_NS)
    times[ends[3] : ends[5]] = 60_000  # the fifth chunk and the sixth, of five decisions and six
    samples = replace(process.latency, nanoseconds=times, chunk_ends=ends)
    latency = _latency([replace(process, round=n, latency=samples) for n in range(6)])
    assert latency.max_s == pytest.approx(USUAL_NS / 1e9)
    assert latency.samples == 6 * (len(times) - 5 - 6)


def test_a_slower_gauge_within_the_tolerance_disturbs_nothing() -> None:
    process = make_process()
    samples = replace(process.latency, gauges=process.latency.gauges * 11 // 10)
    assert _latency([replace(process, latency=samples)] * 6).undisturbed_share == 1.0


def test_with_too_few_undisturbed_processes_all_times_count_and_the_row_is_unstable() -> None:
    processes = _six()[:5] + [make_process(5, disturbed=MOST)] * 7
    latency = _latency(processes)
    assert latency.unstable_because is not None
    assert "only 5 of 12 processes ran undisturbed" in latency.unstable_because
    assert "disturbed times" in latency.unstable_because
    assert latency.samples == 12 * CHUNKS * PER_CHUNK
    assert latency.max_s == pytest.approx(3 * USUAL_NS / 1e9)


def test_six_undisturbed_processes_are_enough_and_the_others_do_not_count() -> None:
    latency = _latency([make_process(5, disturbed=MOST)] * 6 + _six())
    assert latency.unstable_because is None
    assert latency.samples == 6 * CHUNKS * PER_CHUNK
    assert latency.max_s == pytest.approx(USUAL_NS / 1e9)
    assert latency.undisturbed_share == pytest.approx((2 + 20) / 40)


def test_a_wide_interval_is_unstable_and_says_how_wide() -> None:
    processes = _at(20, 20, 20, 20, 20, 24)
    latency = _latency(processes)
    assert latency.unstable_because is not None
    assert "known to 20% only, from 6 processes (5% was asked for)" in latency.unstable_because
    assert _latency(processes, precision=0.2).unstable_because is None
    assert _latency(processes, precision=0.19).unstable_because is not None


def test_a_process_that_shares_its_core_is_unstable() -> None:
    latency = _latency(_six(cpu_share=0.8))
    assert latency.unstable_because is not None
    assert "had their core only 80% of the time" in latency.unstable_because
    assert _latency(_six(cpu_share=0.95)).unstable_because is None


def test_one_process_that_shares_its_core_spoils_no_row() -> None:
    assert _latency([*_six()[1:], make_process(cpu_share=0.5)]).unstable_because is None


def test_several_threads_may_wait_for_each_other() -> None:
    assert _latency(_six(cpu_share=0.5), threads=2).unstable_because is None


@given(st.integers(6, 12), st.sets(st.integers(0, CHUNKS)), st.integers(1_000, 10**9))
def test_whatever_disturbs_the_figures_are_in_order(
    count: int, disturbed: set[int], usual_ns: int
) -> None:
    processes = [make_process(n, disturbed=disturbed, usual_ns=usual_ns) for n in range(count)]
    latency = _latency(processes)
    assert 0 < latency.median.estimate <= latency.p90_s <= latency.p99_s <= latency.max_s
    assert latency.median.low <= latency.median.estimate <= latency.median.high
    assert 0 <= latency.undisturbed_share <= 1
    if latency.unstable_because is None:
        assert latency.max_s == pytest.approx(usual_ns / 1e9)


def test_the_usual_gauge_is_that_of_all_processes_and_both_windows() -> None:
    quick, slow = make_process(disturbed=range(21)), make_process(energy_disturbed=range(21))
    assert usual_gauge_ns([quick], 1) == GAUGE_NS  # of its energy window
    assert usual_gauge_ns([slow], 1) == GAUGE_NS
    both = make_process(disturbed=range(21), energy_disturbed=range(21))
    assert usual_gauge_ns([both], 1) == 2 * GAUGE_NS


def test_before_there_are_processes_the_gauge_is_what_was_taken_before() -> None:
    assert usual_gauge_ns([], 1, [7_000] * 100) == 7_000
    assert usual_gauge_ns([make_process()], 1, [7_000] * 100) == GAUGE_NS


def test_for_several_threads_all_times_count() -> None:
    gauge = usual_gauge_ns([make_process()], 2)
    assert gauge == math.inf
    latency = latency_of(_six(disturbed=MOST), gauge, precision=0.05, threads=2)
    assert latency.undisturbed_share == 1.0
    assert latency.unstable_because is None
    assert latency.samples == 6 * CHUNKS * PER_CHUNK


def test_memory_is_told_apart_by_what_it_is_for() -> None:
    # Resident 10 at the start, 12 with the instrument, 40 with the runtime, 45 with the inputs and
    # 65 at the end; of the last 20, 8 are anonymous, and the others the runtime's own files.
    memory = memory_of(_six())
    assert memory is not None
    assert (memory.interpreter_bytes, memory.runtime_bytes) == (10, 28 + 12)
    assert (memory.model_bytes, memory.total_bytes) == (8, 58)
    assert memory.total_bytes == 65 - 2 - 5  # without the instrument and its inputs
    assert (memory.unique_bytes, memory.working_bytes) == (34, 256)


def test_memory_is_the_median_over_the_processes() -> None:
    odd = make_process(anonymous=(4, 5, 15, 18, 24, 25, 10**6), working_bytes=10**6)
    memory = memory_of([*_six(), odd])
    assert memory is not None
    assert (memory.model_bytes, memory.working_bytes) == (8, 256)


def test_where_anonymous_memory_is_not_told_the_unique_stands_for_it() -> None:
    memory = memory_of(_six(anonymous=(None,) * 7))
    assert memory is not None
    assert (memory.model_bytes, memory.total_bytes) == (34 - 24, 58)


@pytest.mark.parametrize("count", [1, 6])
def test_memory_that_the_system_does_not_tell_is_unknown_and_not_zero(count: int) -> None:
    untold = _six(anonymous=(None,) * 7, uss=(None,) * 7)[:count]
    assert memory_of(_six()[count:] + untold) is None


def test_unknown_parts_alone_are_none() -> None:
    memory = memory_of(_six(working_bytes=None, uss=(None,) * 7))
    assert memory is not None
    assert (memory.working_bytes, memory.unique_bytes, memory.model_bytes) == (None, None, 8)


def test_without_a_meter_there_are_no_joules_but_cpu_time() -> None:
    energy = energy_of(_six(cpu_s=0.002), GAUGE_NS)
    assert energy.per_decision is None
    assert energy.cpu_s_per_decision.estimate == pytest.approx(0.002 / DECISIONS)


def test_joules_of_one_decision_are_the_mean_over_the_processes() -> None:
    processes = [make_process(n, joules=joules) for n, joules in enumerate((1, 2, 3, 4, 5, 6))]
    energy = energy_of(processes, GAUGE_NS)
    assert energy.per_decision is not None
    assert energy.per_decision.estimate == pytest.approx(3.5 / DECISIONS)
    assert energy.per_decision.low == pytest.approx(3.5 / DECISIONS - 2.5706 * 0.00763763, rel=1e-4)


def test_disturbed_chunks_cost_no_energy() -> None:
    energy = energy_of(_six(joules=1.0, energy_disturbed=SOME), GAUGE_NS)
    assert energy.per_decision is not None
    assert energy.per_decision.high == pytest.approx(1.0 / DECISIONS)
    assert energy.cpu_s_per_decision.high == pytest.approx(0.001 / DECISIONS)


def test_where_hardly_a_chunk_is_undisturbed_all_of_them_count() -> None:
    energy = energy_of(_six(joules=1.0, energy_disturbed=MOST), GAUGE_NS)
    assert energy.per_decision is not None
    assert energy.per_decision.estimate == pytest.approx((2 + 3 * 18) / 20 / DECISIONS)


def test_what_the_machine_draws_when_idle_is_subtracted() -> None:
    # A chunk is 1 ms: 40 W idle are 0.04 J of the 0.1 J.
    energy = energy_of(_six(joules=0.1, idle_watts=40.0), GAUGE_NS)
    assert energy.per_decision is not None
    assert energy.per_decision.estimate == pytest.approx(0.06 / DECISIONS)


def test_idle_power_is_subtracted_from_all_chunks_disturbed_or_not() -> None:
    energy = energy_of(_six(joules=0.1, idle_watts=40.0, energy_disturbed=SOME), GAUGE_NS)
    assert energy.per_decision is not None
    assert energy.per_decision.estimate == pytest.approx((0.1 * (18 + 6) / 20 - 0.04) / DECISIONS)


def test_a_sensor_that_is_too_coarse_gives_joules_below_nothing_and_no_ratio() -> None:
    row = make_row("coarse", _six(joules=0.01, idle_watts=40.0))
    energy = energy_of(row.processes, GAUGE_NS)
    assert energy.per_decision is not None
    assert energy.per_decision.estimate < 0
    for reference, other in ((make_row(), row), (row, make_row("b", _six(joules=1.0)))):
        assert energy_ratio(reference, other, GAUGE_NS) is None


@pytest.mark.parametrize("joules", [0.0, 0.04])
def test_no_joules_at_all_are_no_ratio(joules: float) -> None:
    nothing = make_row("a", _six(joules=joules, idle_watts=1000 * joules))
    something = make_row("b", _six(joules=1.0))
    assert energy_ratio(something, nothing, GAUGE_NS) is None
    assert energy_ratio(nothing, something, GAUGE_NS) is None


def test_some_joules_unknown_are_left_out() -> None:
    energy = energy_of([*_six(joules=1.0), make_process(6)], GAUGE_NS)
    assert energy.per_decision is not None
    assert energy.per_decision.estimate == pytest.approx(1.0 / DECISIONS)


def _rounds(*medians: int, joules: float | None = None) -> ProfileRow:
    return make_row(
        processes=[
            make_process(number, usual_ns=median, joules=joules and joules * median)
            for number, median in enumerate(medians)
        ]
    )


def test_ratios_are_taken_within_rounds() -> None:
    # The machine slows down threefold; each round's ratio stays 2.
    drift = (10_000, 12_000, 14_000, 18_000, 24_000, 30_000)
    reference, row = _rounds(*(2 * x for x in drift), joules=1.0), _rounds(*drift, joules=1.0)
    two = Interval(estimate=2.0, low=2.0, high=2.0)
    assert latency_ratio(reference, row, GAUGE_NS) == two
    assert energy_ratio(reference, row, GAUGE_NS) == two


def test_a_ratio_s_interval_is_that_of_the_rounds_ratios() -> None:
    reference = _rounds(*[20_000] * 7)
    row = _rounds(*range(10_000, 17_000, 1_000))
    expected = median_interval([20 / x for x in range(10, 17)])
    assert latency_ratio(reference, row, GAUGE_NS) == expected


def test_the_reference_s_ratio_to_itself_is_one() -> None:
    row = _rounds(*range(10_000, 16_000, 1_000), joules=1.0)
    one = Interval(estimate=1.0, low=1.0, high=1.0)
    assert latency_ratio(row, row, GAUGE_NS) == energy_ratio(row, row, GAUGE_NS) == one


def test_rounds_that_one_side_was_not_in_do_not_count() -> None:
    longer = make_row(processes=[make_process(n) for n in range(12)])
    later = make_row(processes=[make_process(n, usual_ns=10_000) for n in (11, *range(6))])
    ratio = latency_ratio(longer, later, GAUGE_NS)
    assert ratio is not None
    assert ratio.estimate == pytest.approx(2.0)


def test_with_fewer_than_six_common_rounds_the_medians_are_compared() -> None:
    reference = make_row(processes=_at(40, 40, 40, 40, 40, 44))
    apart = make_row(
        processes=[
            make_process(20 + n, usual_ns=time) for n, time in enumerate([20_000] * 5 + [25_000])
        ]
    )
    ratio = latency_ratio(reference, apart, GAUGE_NS)
    assert ratio is not None
    assert ratio.estimate == pytest.approx(2.0)
    # As far apart as the intervals of the two medians allow.
    assert (ratio.low, ratio.high) == pytest.approx((40 / 25, 44 / 20))


def test_where_rounds_were_disturbed_the_medians_of_all_times_are_compared() -> None:
    disturbed = make_row(processes=_six(disturbed=MOST))
    ratio = latency_ratio(make_row(), disturbed, GAUGE_NS)
    assert ratio is not None
    assert ratio.estimate == pytest.approx(1 / 3)
    back = latency_ratio(disturbed, make_row(), GAUGE_NS)
    assert back is not None
    assert back.estimate == pytest.approx(3.0)


def test_a_row_without_processes_has_no_ratio() -> None:
    nothing = make_row(problem="no")
    assert latency_ratio(make_row(), nothing, GAUGE_NS) is None
    assert energy_ratio(make_row(), nothing, GAUGE_NS) is None


def test_joules_of_different_meters_have_no_ratio() -> None:
    sensor = Meter(source="an NVIDIA GPU", estimated=False)
    estimated, measured = (
        make_row(processes=_six(joules=1.0, meter=meter)) for meter in (METER, sensor)
    )
    assert energy_ratio(estimated, measured, GAUGE_NS) is None
    assert energy_ratio(measured, measured, GAUGE_NS) is not None


def test_without_a_meter_there_is_no_ratio_of_joules() -> None:
    metered = make_row(processes=_six(joules=1.0))
    assert energy_ratio(make_row(), make_row(), GAUGE_NS) is None
    assert energy_ratio(metered, make_row(), GAUGE_NS) is None
    assert energy_ratio(make_row(), metered, GAUGE_NS) is None


def test_no_episodes_are_none() -> None:
    assert episodes_of(_six()) is None


def test_episodes_are_counted_over_all_processes() -> None:
    short = make_window(seconds=1.0, acting_s=0.5, lengths=(200,), returns=(3.0,))
    episodes = episodes_of(
        [make_process(0, episodes=make_window()), make_process(1, episodes=short)]
    )
    assert episodes is not None
    assert (episodes.episodes, episodes.mean_length, episodes.mean_return) == (3, 200, 11)
    assert episodes.seconds_per_step == pytest.approx(3 / 600)
    assert episodes.deciding_share == pytest.approx(1 / 3)
    assert episodes.j_per_step is None
    assert episodes.j_per_episode is None


def test_joules_of_episodes_are_above_idle() -> None:
    window = make_window(joules=100.0, idle_watts=10.0)  # 80 J net over 400 steps
    episodes = episodes_of(_six(episodes=window))
    assert episodes is not None
    assert episodes.j_per_step is not None
    assert episodes.j_per_episode is not None
    assert episodes.j_per_step.estimate == pytest.approx(0.2)
    assert episodes.j_per_episode.estimate == pytest.approx(40)


def test_joules_of_a_meter_that_sees_one_process_have_nothing_subtracted() -> None:
    assert make_window(joules=100.0).net_joules == 100.0
    assert make_window().net_joules is None
