from __future__ import annotations

import math
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from squeezerl.records import Interval
from squeezerl.report.text import format_si, format_si_interval

SCALES = {"G": 1e9, "M": 1e6, "k": 1e3, "": 1.0, "m": 1e-3, "µ": 1e-6, "n": 1e-9}
FIGURES = st.floats(1e-9, 1e11)


def _value(text: str, unit: str) -> float:
    number, _, suffix = text.partition(" ")
    return float(number) * SCALES[suffix.removesuffix(unit)]


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0, "J", "0 J"),
        (1.0, "s", "1.00 s"),
        (12.34e-6, "s", "12.3 µs"),
        (0.0123, "s", "12.3 ms"),
        (999e-9, "s", "999 ns"),
        (1e-9, "J", "1.00 nJ"),
        (80_136, "B", "80.1 kB"),
        (512, "B", "512 B"),
        (273_000_000, "B", "273 MB"),
        (2.5e9, "B", "2.50 GB"),
        (-4.2e-6, "J", "-4.20 µJ"),
        (2.5e-11, "J", "2.5e-11 J"),
        (-2.5e-11, "J", "-2.5e-11 J"),
        (999.6, "B", "1.00 kB"),
        (999.4, "B", "999 B"),
        (9.996e-6, "s", "10.0 µs"),
        (99.96e-6, "s", "100 µs"),
        (0.9996e-3, "s", "1.00 ms"),
        (0.9994e-3, "s", "999 µs"),
    ],
)
def test_figures_have_three_digits_and_a_prefix(value: float, unit: str, text: str) -> None:
    assert format_si(value, unit) == text


@given(FIGURES, st.sampled_from(["s", "J", "B"]))
@example(9.995e-6, "s")
@example(99.95, "s")
@example(999.5, "B")
def test_what_is_shown_is_what_is_there_to_half_a_percent(value: float, unit: str) -> None:
    text = format_si(value, unit)
    assert _value(text, unit) == pytest.approx(value, rel=0.0051)
    digits = re.sub(r"\D", "", text.partition(" ")[0])
    assert len(digits.lstrip("0")) == 3
    assert format_si(-value, unit) == f"-{text}"


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_any_number_has_a_text_that_is_close(value: float) -> None:
    number = format_si(value, "").partition(" ")[0]
    assert math.isfinite(float(number))


@given(FIGURES, FIGURES)
def test_larger_figures_never_look_smaller(one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert _value(format_si(low, "s"), "s") <= _value(format_si(high, "s"), "s") * (1 + 1e-12)


@pytest.mark.parametrize(
    ("bounds", "text"),
    [
        ((12.1e-6, 12.3e-6, 12.6e-6), "12.3 µs [12.1, 12.6]"),
        ((0.9e-3, 1e-3, 1.1e-3), "1.00 ms [0.90, 1.10]"),
        ((900e-6, 950e-6, 1100e-6), "950 µs [900, 1100]"),
        ((-1e-6, 5e-6, 11e-6), "5.00 µs [-1.00, 11.00]"),
        ((-1e-3, 0.0, 1e-3), "0 s [-1.0e-03, 1.0e-03]"),
        ((1e-11, 2e-11, 3e-11), "2.0e-11 s [1.0e-11, 3.0e-11]"),
        ((2.0, 2.0, 2.0), "2.00 s [2.00, 2.00]"),
    ],
)
def test_an_interval_has_its_estimate_s_prefix(
    bounds: tuple[float, float, float], text: str
) -> None:
    low, estimate, high = bounds
    assert format_si_interval(Interval(estimate=estimate, low=low, high=high), "s") == text


@given(st.lists(FIGURES, min_size=3, max_size=3), st.sampled_from(["s", "J", "B", ""]))
def test_an_interval_shows_its_estimate_and_bounds_around_it(
    values: list[float], unit: str
) -> None:
    low, estimate, high = sorted(values)
    text = format_si_interval(Interval(estimate=estimate, low=low, high=high), unit)
    shown, _, bounds = text.partition(" [")
    assert shown == format_si(estimate, unit)
    scale = SCALES[shown.partition(" ")[2].removesuffix(unit)]
    shown_low, shown_high = (float(bound) * scale for bound in bounds.rstrip("]").split(", "))
    assert shown_low <= _value(shown, unit) * (1 + 1e-12)
    assert shown_high >= _value(shown, unit) * (1 - 1e-12)
    assert shown_low == pytest.approx(low, abs=0.0051 * estimate)
    assert shown_high == pytest.approx(high, abs=0.0051 * estimate, rel=1e-9)
