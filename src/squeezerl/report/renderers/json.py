"""Documents as JSON: the blocks as data for programs, their text without markup."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from squeezerl.records import to_json
from squeezerl.report import document as doc
from squeezerl.report.renderers import RENDERERS, Renderer


class JsonRenderer(Renderer):
    """One JSON object with the title and the blocks."""

    def render(self, document: doc.Document, folder: Path) -> str:
        """As `Renderer.render`; `folder` is not needed."""
        return json.dumps(document_json(document), indent=1, ensure_ascii=False) + "\n"


def document_json(document: doc.Document) -> dict[str, Any]:
    """The document as `json.dumps` takes it; `kind` says what a block is."""
    return {"title": document.title, "blocks": [_block(block) for block in document.blocks]}


def _block(block: doc.Block) -> dict[str, Any]:
    match block:
        case doc.Heading():
            return {"kind": "heading", "level": block.level, "text": doc.plain(block.text)}
        case doc.Paragraph():
            return {"kind": "paragraph", "text": doc.plain(block.text)}
        case doc.Items():
            return {"kind": "items", "items": [doc.plain(item) for item in block.items]}
        case doc.Preformatted():
            return {"kind": "preformatted", "text": block.text}
        case doc.Figure():
            return {
                "kind": "figure",
                "title": block.title,
                "path": block.path,
                "caption": doc.plain(block.caption),
            }
        case doc.Video():
            return {
                "kind": "video",
                "title": block.title,
                "path": block.path,
                "caption": doc.plain(block.caption),
            }
        case doc.Numbers():
            return {"kind": "numbers", "numbers": [to_json(one) for one in block.numbers]}
        case doc.Beside():
            return {"kind": "beside", "blocks": [_block(one) for one in block.blocks]}
        case doc.Folded():
            return {
                "kind": "folded",
                "title": block.title,
                "blocks": [_block(one) for one in block.blocks],
            }
        case doc.Table():
            return {
                "kind": "table",
                "name": block.name,
                "title": block.title,
                "note": doc.plain(block.note),
                "header": list(block.header),
                "rows": [list(row) for row in block.plain_rows],
            }


RENDERERS.register("json", JsonRenderer())
