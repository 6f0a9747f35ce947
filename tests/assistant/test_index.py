from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from squeezerl.assistant.answer import Assistant
from squeezerl.assistant.embeddings import DEFAULT, find_embeddings
from squeezerl.assistant.index import Index, best_chunk
from squeezerl.assistant.paper import paper_passages
from squeezerl.assistant.passage import Passage
from squeezerl.errors import InvalidArgumentError


class CountedEmbeddings:
    """Vectors of letter counts; LangChain's interface."""

    def __init__(self) -> None:
        self.texts = 0

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        self.texts += len(texts)
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return [float(text.lower().count(letter)) for letter in "abcdefghijklmnopqrstuvwxyz"]


def passage(name: str, text: str) -> Passage:
    return Passage(id=f"{name}#0", title=name, text=text, source=name, kind="docs")


def test_vectors_are_made_again_only_where_a_page_changed(tmp_path: Path) -> None:
    counted = CountedEmbeddings()
    pages = [passage("a", "apples and pears"), passage("b", "nuts"), passage("c", "bread")]

    def index(pages: list[Passage]) -> Index:
        return Index(pages, ("counted", counted), cache=tmp_path)

    index(pages)
    assert counted.texts == 3
    index(pages)
    assert counted.texts == 3
    changed = index([pages[0], passage("b", "walnuts"), pages[2]])
    assert counted.texts == 4
    assert changed.search("walnuts")[0].text == "walnuts"


def test_words_with_like_meaning_find_each_other() -> None:
    passages = paper_passages()
    assert not any("battery" in passage.whole.lower() for passage in passages)
    found = Index(passages, ("none", None)).search("battery")
    assert found
    assert all(re.search("energy|power", passage.whole) for passage in found)


def test_nothing_is_found_where_no_word_fits() -> None:
    assert Index(paper_passages(), ("none", None)).search("xylophone") == []


def test_the_piece_with_the_words_is_quoted() -> None:
    long = passage("a", "\n\n".join([*["Filler about nothing. " * 12] * 4, "Hopper falls over."]))
    assert best_chunk(long, "when does hopper fall").endswith("Hopper falls over.")


def test_the_default_model_knows_meaning() -> None:
    name, found = find_embeddings(None)
    if name != DEFAULT:
        pytest.skip("the default model is not installed")
    assert found is not None
    texts = ["The robot fell over.", "Integers need fewer bytes.", "The machine toppled."]
    vectors = np.array(found.embed_documents(texts))
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    near = vectors @ vectors[0]
    assert near[2] > near[1]
    assert found.embed_query(texts[1]) == pytest.approx(vectors[1].tolist(), abs=0.02)


@pytest.mark.parametrize("name", ["word2vec", "nobody:nothing"])
def test_unknown_embeddings_are_refused(name: str) -> None:
    with pytest.raises(InvalidArgumentError, match=name):
        find_embeddings(name)


def test_passages_have_ids_of_their_own(assistant: Assistant) -> None:
    ids = [passage.id for passage in assistant.index.passages]
    assert len(set(ids)) == len(ids)


def test_a_finding_is_found_with_its_verdict_and_place(assistant: Assistant) -> None:
    found = assistant.ask("Does L2 pruning beat L1 on my agents?").passages
    passage = next(p for p in found if p.id == "results:finding-3a")
    assert passage.source == "the made study: finding 3a"
    assert passage.text.startswith("undecided")


def test_added_files_are_searched(assistant: Assistant, tmp_path: Path) -> None:
    (tmp_path / "lab.md").write_text("# Lab\n\nOur gripper needs nine volts.", encoding="utf-8")
    asked = Assistant(add=[tmp_path / "lab.md"], embeddings="none")
    assert asked.ask("How many volts does our gripper need?").passages[0].source == "lab.md, Lab"
