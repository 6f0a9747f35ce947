from __future__ import annotations

import json
from typing import Any

from renderer_contract import RendererContract, document, table

from squeezerl.report.document import Heading
from squeezerl.report.renderers import render


class TestJson(RendererContract):
    name = "json"

    def read(self, text: str) -> str:
        return "\n".join(_strings(json.loads(text)))


def _strings(data: Any) -> list[str]:
    if isinstance(data, dict):
        return [text for value in data.values() for text in _strings(value)]
    if isinstance(data, list):
        return [text for value in data for text in _strings(value)]
    return [str(data)]


def test_blocks_say_what_they_are() -> None:
    data = json.loads(render(document(Heading("h", 3), table(("a", "1"), title="t")), "json"))
    heading, shown = data["blocks"]
    assert heading == {"kind": "heading", "level": 3, "text": "h"}
    assert (shown["kind"], shown["header"], shown["rows"]) == (
        "table", ["name", "x [95 %]"], [["a", "1"]],
    )  # fmt: skip
