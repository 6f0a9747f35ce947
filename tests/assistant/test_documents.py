from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squeezerl.assistant.documents import docs_passages, read_file, split_markdown
from squeezerl.errors import InvalidArgumentError

PAGE = """# Robots

First things.

## Walking

Walk [slowly](slow.md).

```
# not a heading
```

## Walking

Again.
"""


def test_sections_become_passages_below_their_headings() -> None:
    passages = split_markdown(PAGE, "robots.md", "yours")
    assert [p.id for p in passages] == [
        "robots.md#robots", "robots.md#walking", "robots.md#walking-2",
    ]  # fmt: skip
    assert passages[1].title == "Robots: Walking"
    assert passages[1].text == "Walk slowly.\n\n```\n# not a heading\n```"


BLOCK = st.sampled_from(
    ["a paragraph\n\n", "- an item\n", "1. a step\n", "| a | b |\n", "word " * 500]
)
HEADING = st.sampled_from(["\n# One\n", "\n## Two\n", "\n## Two\n"])


@given(st.lists(st.one_of(BLOCK, HEADING), max_size=20))
@settings(max_examples=30)
def test_no_text_is_lost_and_ids_differ(parts: list[str]) -> None:
    passages = split_markdown("".join(parts), "page", "yours")
    assert len({p.id for p in passages}) == len(passages)
    text = "".join(part for part in parts if not part.startswith("\n#"))
    kept = "".join(passage.text for passage in passages)
    assert "".join(kept.split()) == "".join(text.split())


def test_a_long_table_keeps_its_header_in_each_part() -> None:
    rows = "\n".join(f"| {number} | {'word ' * 20}|" for number in range(60))
    passages = split_markdown(f"# T\n\n| n | what |\n| --- | --- |\n{rows}", "t.md", "docs")
    assert len(passages) > 2
    assert all("| n | what |" in p.text for p in passages)
    found = [line for p in passages for line in p.text.splitlines() if "word" in line]
    assert found == rows.splitlines()


def test_every_page_of_the_documentation_is_read() -> None:
    pages = {passage.id.partition("#")[0] for passage in docs_passages()}
    folder = Path(__file__).parents[2]
    assert pages == {"README.md"} | {f"docs/{page.name}" for page in (folder / "docs").glob("*.md")}


def test_notebooks_are_read_and_not_run(tmp_path: Path) -> None:
    cells = [
        {"cell_type": "markdown", "source": ["# Notes\n", "Hopper fell over."], "metadata": {}},
        {
            "cell_type": "code",
            "source": "raise SystemExit",
            "metadata": {},
            "outputs": [{"output_type": "stream", "text": ["return 12.5\n"]}],
        },
    ]
    path = tmp_path / "notes.ipynb"
    path.write_text(
        json.dumps({"cells": cells, "nbformat": 4, "nbformat_minor": 5, "metadata": {}})
    )
    (passage,) = read_file(path)
    assert passage.title == "Notes"
    assert "Hopper fell over." in passage.text
    assert "return 12.5" in passage.text
    assert passage.kind == "yours"


def test_pdfs_are_read(tmp_path: Path) -> None:
    text = b"BT /F 12 Tf 20 50 Td (The gripper slips below ten newtons.) Tj ET"
    objects = (
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 300 100] /Contents 4 0 R /Resources "
        b"<< /Font << /F << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(text), text),
    )
    content = b"%PDF-1.4\n"
    places = []
    for number, body in enumerate(objects, 1):
        places.append(len(content))
        content += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    content += b"xref\n0 5\n0000000000 65535 f \n%strailer << /Size 5 /Root 1 0 R >>\n" % table
    content += b"startxref\n%d\n%%%%EOF" % content.index(b"xref")
    (tmp_path / "gripper.pdf").write_bytes(content)
    (passage,) = read_file(tmp_path / "gripper.pdf")
    assert passage.text == "The gripper slips below ten newtons."
    assert passage.source == "gripper.pdf, page 1"


@pytest.mark.parametrize("name", ["a.docx", "missing.md", "broken.ipynb", "broken.pdf"])
def test_what_cannot_be_read_is_named(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if not name.startswith("missing"):
        path.write_text("{")
    with pytest.raises(InvalidArgumentError, match=name):
        read_file(path)
