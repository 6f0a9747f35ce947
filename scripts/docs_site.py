"""What `make docs` does to pages: links that lead out of docs/ work in the site as well.

Pictures and videos are copied into the site; other files are shown by the repository.
"""

from __future__ import annotations

import logging
import os
import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

_LOG = logging.getLogger("mkdocs.plugins.docs_site")  # warnings fail the strict build
_LINK = re.compile(r"(?<=\]\()\.\./[^)\s]+")
_SHOWN = (".gif", ".jpg", ".mp4", ".png")


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """A page's text with links that work in the site."""
    docs, root = Path(config.docs_dir), Path(config.docs_dir).parent

    def in_site(match: re.Match[str]) -> str:
        target, hash_, anchor = match[0].partition("#")
        path = Path(os.path.normpath((docs / page.file.src_uri).parent / target))
        if path.is_relative_to(docs):
            return match[0]
        if not path.exists():
            _LOG.warning("%s links to %s, which does not exist", page.file.src_uri, target)
        uri = path.relative_to(root).as_posix()
        if path.suffix not in _SHOWN:
            return f"{config.repo_url}/blob/main/{uri}{hash_}{anchor}"
        if files.get_file_from_path(uri) is None:
            files.append(File.generated(config, uri, abs_src_path=str(path)))
        return posixpath.relpath(uri, posixpath.dirname(page.file.src_uri) or ".")

    return _LINK.sub(in_site, markdown)
