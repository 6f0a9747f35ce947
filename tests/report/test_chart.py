from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from squeezerl.report.chart import Axis, Bar, Chart, Line, Mark
from squeezerl.report.document import Document, Figure
from squeezerl.report.panels import Style
from squeezerl.report.renderers import render

STYLE = Style("a <b>", "#0072B2", "o")
NUMBERS = st.floats(1e-3, 1e9) | st.floats(-1e9, -1e-3)


@given(st.lists(NUMBERS, min_size=1, max_size=20))
def test_an_axis_holds_its_values_with_room_and_a_few_ticks(values: list[float]) -> None:
    axis = Axis.over(values, "x")
    places = [axis.place(value) for value in values]
    assert min(places) > 0
    assert max(places) < 1
    assert all(0 <= axis.place(tick) <= 1 for tick, _ in axis.ticks)
    assert 2 <= len(axis.ticks) <= 8
    assert [axis.place(value) for value in sorted(values)] == sorted(places)


@given(st.lists(st.floats(1e-6, 1e9), min_size=1, max_size=20))
def test_a_logarithmic_axis_does_too(values: list[float]) -> None:
    axis = Axis.over(values, "x", log=True)
    assert all(0 < axis.place(value) < 1 for value in values)
    assert all(0 <= axis.place(tick) <= 1 for tick, _ in axis.ticks)
    assert len(axis.ticks) <= 8


def test_equal_factors_are_equally_long_on_a_logarithmic_axis() -> None:
    axis = Axis.over([1, 10, 100], "x", log=True)
    one, ten, hundred = map(axis.place, (1, 10, 100))
    assert ten - one == pytest.approx(hundred - ten)


def test_the_first_category_is_on_top() -> None:
    axis = Axis.of(["first", "second"])
    assert (axis.place(0), axis.place(1)) == (0.75, 0.25)


def _page() -> str:
    chart = Chart(
        x=Axis.over([0, 10], "metres"),
        y=Axis.of(["row <one>"]),
        marks=(
            Mark(x=5, y=0, style=STYLE, tip="tip & more", x_span=(4, 6), stands_out=True),
            Mark(x=7, y=0, style=STYLE, tip="other"),
        ),
        bars=(Bar(start=0, end=10, row=0, style=STYLE, tip="bar", strength=0.5),),
        lines=(Line(points=((0, 0), (5, 0), (10, 0)), label="line <l>"),),
    )
    figure = Figure(title="f", path="f.png", alt="what is <seen>", chart=chart)
    return render(Document(title="t", blocks=(figure,)), "html", Path())


def test_a_chart_is_drawn_in_the_page_and_its_words_are_escaped() -> None:
    page = _page()
    assert "<img" not in page
    assert 'aria-label="what is &lt;seen&gt;"' in page
    for words in ("a &lt;b&gt;", "row &lt;one&gt;", "line &lt;l&gt;", "tip &amp; more"):
        assert words in page
    assert page.count('class="mark"') == 3
    assert page.count('tabindex="0"') == 1


def test_marks_lie_where_their_values_do() -> None:
    axis = Axis.over([0, 10], "metres")
    found = re.search(r'<use [^>]*x="([\d.]+)%" y="([\d.]+)%"[^>]*><title>other', _page())
    assert found is not None
    assert float(found[1]) == pytest.approx(100 * axis.place(7), abs=0.01)
    assert float(found[2]) == pytest.approx(50)


def test_the_same_chart_gives_the_same_page() -> None:
    assert _page() == _page()
