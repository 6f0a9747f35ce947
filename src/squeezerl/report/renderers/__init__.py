"""Renderers of documents. Each is one module that registers itself under its name."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from pathlib import Path

from squeezerl.registry import Registry
from squeezerl.report.document import Document

_BUILT_IN = ("markdown", "html", "json", "latex")


class Renderer(ABC):
    """Writes documents in one format.

    A renderer shows all blocks in order and escapes their text, so that names in results can be
    neither markup nor code.
    """

    @abstractmethod
    def render(self, document: Document, folder: Path) -> str:
        """The document as text.

        Args:
            document: to render.
            folder: that holds the report; paths of figures are relative to it.
        """


def _import_built_in() -> None:
    for name in _BUILT_IN:
        importlib.import_module(f"{__name__}.{name}")


RENDERERS: Registry[Renderer] = Registry("renderer", built_in=_import_built_in)


def render(document: Document, renderer: str = "markdown", folder: Path = Path()) -> str:
    """Render a document with the renderer of this name.

    Raises:
        InvalidArgumentError: if there is no such renderer.
    """
    return RENDERERS.get(renderer).render(document, folder)
