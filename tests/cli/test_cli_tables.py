from __future__ import annotations

import io

import pytest
from rich.console import Console

from squeezerl.cli import console
from squeezerl.cli.console import print_table

HEADER = ("policy", "runtime", *(f"column {number}" for number in range(9)))
ROWS = [("float", "ort", *(f"1{number}.5 µs [14.0, 15.0]" for number in range(9)))] * 3


def _printed(monkeypatch: pytest.MonkeyPatch, width: int) -> str:
    text = io.StringIO()
    terminal = Console(file=text, force_terminal=True, width=width, color_system=None)
    monkeypatch.setattr(console, "out", terminal)
    print_table(HEADER, ROWS, left=(0, 1))
    return text.getvalue()


@pytest.mark.parametrize("width", [50, 80, 120])
def test_in_a_narrow_terminal_columns_go_below_each_other(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = _printed(monkeypatch, width)
    assert "…" not in text
    assert max(len(line) for line in text.splitlines()) <= width
    for title, cell in zip(HEADER[2:], ROWS[0][2:], strict=True):
        assert text.count(title) == 1
        assert text.count(cell) == 3
    tables = text.strip().split("\n\n")
    assert len(tables) > 1
    assert all(table.startswith("policy") and "float" in table for table in tables)


def test_in_a_wide_one_there_is_one_table(monkeypatch: pytest.MonkeyPatch) -> None:
    text = _printed(monkeypatch, 300)
    assert len(text.splitlines()) == 4
