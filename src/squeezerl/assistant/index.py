"""The index: BM25 and embeddings over all passages, their ranks combined; cached by content."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from squeezerl.assistant.documents import BLOCKS
from squeezerl.assistant.embeddings import Embeddings
from squeezerl.assistant.passage import Passage, content_hash
from squeezerl.errors import InvalidArgumentError

Floats = npt.NDArray[np.float64]

_WORD = re.compile(r"[a-z]+(?:[-_]?\d+)*|\d+(?:\.\d+)?")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_ENDINGS = re.compile(r"(?:ing|ied|ed|ies|es|s|ly|ation|er)$")
_COMMON = frozenset(
    re.findall(
        r"\w+",
        "a an and any are as at be but by can did do does for from had has have how i if in "
        "into is it its me my no not of on or our so than that the their them then there they "
        "this to was we were what when where which who why will with would you your",
    )
)
# Words of one line mean much the same here; a question's words also find the others of their line.
_LIKE = """
return reward score performance
memory ram megabyte
energy joule power battery watt electricity
fast speed latency time slow quick microsecond inference
small size byte compress compact tiny shrink
continue resume interrupt crash kill ctrl abort stop
machine computer host server laptop
safe untrusted hostile malicious secure trust stranger
microcontroller arduino cortex embedded firmware board
random stochastic draw noise sample
deploy deployment robot production
exit code shell
own custom plugin extend add
interval error confidence uncertainty deviation bar
author wrote writer
quantize int8 integer
prune remove throw cut
environment simulator task gym
ticket lottery winning
teacher student distill imitate
cnn convolutional image pixel atari
repeat repetition seed twice once
paper study publication article
yaml file config
best better prefer choose won beat
method approach technique
penalty regulariser regularizer
"""
_LIKE_WEIGHT = 0.5
# Reciprocal rank fusion (Cormack et al. 2009, doi 10.1145/1571941.1572114). With a smaller
# constant than the usual 60, the best places weigh more.
_CONSTANT = 10
_CHUNK = 400  # characters that get a vector of their own


def cache_folder() -> Path:
    """Where what takes long to compute is kept for the next question."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "squeezerl" / "assistant"


def words(text: str) -> list[str]:
    """The words of a text as BM25 compares them: lower case, without common ones and endings."""
    found = []
    for word in _WORD.findall(f"{text} {_CAMEL.sub(' ', text)}".lower()):
        if word not in _COMMON:
            stem = _ENDINGS.sub("", word)
            found.append(stem if len(stem) > 2 else word)
    return found


def _like() -> dict[str, list[str]]:
    like: dict[str, list[str]] = {}
    for line in _LIKE.strip().splitlines():
        together = [words(word)[0] for word in line.split()]
        for word in together:
            like.setdefault(word, []).extend(other for other in together if other != word)
    return like


class Index:
    """Passages that can be searched.

    A passage is found by the best of its chunks, and by its words as a whole.

    Args:
        passages: with different ids.
        embeddings: with the name that tells their vectors apart; `None` for BM25 alone.
        cache: the folder for vectors; `None` keeps none.
        on_progress: called with the share of the vectors that are there.
    """

    def __init__(
        self,
        passages: Sequence[Passage],
        embeddings: tuple[str, Embeddings | None],
        *,
        cache: Path | None = None,
        on_progress: Callable[[float], None] = lambda fraction: None,
    ) -> None:
        self.passages = tuple(passages)
        self.name, self._embeddings = embeddings
        chunks = [(place, chunk) for place, p in enumerate(passages) for chunk in chunks_of(p)]
        self._of_chunk = np.array([place for place, _ in chunks])
        self._like = _like()
        self._whole = _bm25(f"{p.title}\n{p.whole}" for p in passages)
        self._parts = _bm25(chunk for _, chunk in chunks)
        if self._embeddings is not None:
            # Rows of tables are alike but for names and numbers, which words tell apart better.
            self._has_vector = np.array([passages[place].about is None for place, _ in chunks])
            texts = [(passages[place], chunk) for place, chunk in chunks]
            texts = [(passage, chunk) for passage, chunk in texts if passage.about is None]
            self._vectors = _vectors(texts, self.name, self._embeddings, cache, on_progress)

    def search(
        self, question: str, count: int = 5, weights: Sequence[float] | None = None
    ) -> list[Passage]:
        """The passages that fit a question best, best first.

        Args:
            question: in any words.
            count: how many at most.
            weights: one for each passage, from what else is known of the question; 0 leaves it out.
        """
        lexical = _reciprocal(self._score(self._whole, question))
        lexical += _reciprocal(self._best_chunks(self._score(self._parts, question)))
        semantic = lexical.copy()
        if self._embeddings is not None:
            scores = np.full(len(self._of_chunk), -1.0)
            query = np.asarray(self._embeddings.embed_query(question), np.float32)
            scores[self._has_vector] = self._vectors @ query
            best = self._best_chunks(scores)
            known = best > -1
            semantic[known] = 2 * _reciprocal(best[known])
        scores = (lexical + semantic) * (1.0 if weights is None else np.asarray(weights))
        order = np.argsort(-scores, kind="stable")[:count]
        return [self.passages[place] for place in order if scores[place] > 0]

    def _score(self, bm25: Any, question: str) -> Floats:
        asked = list(dict.fromkeys(words(question)))
        like = [other for word in asked for other in self._like.get(word, ()) if other not in asked]
        scores: Floats = np.asarray(bm25.get_scores(asked))
        return scores + _LIKE_WEIGHT * np.asarray(bm25.get_scores(like))

    def _best_chunks(self, scores: Floats) -> Floats:
        """The highest score of the chunks of each passage."""
        best = np.full(len(self.passages), -1.0)
        np.maximum.at(best, self._of_chunk, scores)
        return best


def chunks_of(passage: Passage) -> Iterator[str]:
    """A passage in pieces of about `_CHUNK` characters, each below the passage's title."""
    part = ""
    for block in [passage.text] if passage.about else BLOCKS.split(passage.text):
        long = len(block) > 2 * _CHUNK
        starts = range(0, len(block), _CHUNK) if long and not passage.about else (0,)
        for start in starts:
            piece = block[start : start + _CHUNK] if len(starts) > 1 else block
            if part and len(part) + len(piece) > _CHUNK:
                yield f"{passage.title}\n{part}"
                part = ""
            part = f"{part}\n{piece}" if part else piece
    yield f"{passage.title}\n{part}"


def best_chunk(passage: Passage, question: str) -> str:
    """The piece of a passage that has most of a question's words, to be quoted."""
    asked = set(words(question))
    pieces = [chunk.partition("\n")[2] for chunk in chunks_of(passage)]
    return max(pieces, key=lambda piece: len(asked & set(words(piece))))


def _bm25(texts: Iterable[str]) -> Any:
    try:
        from rank_bm25 import BM25Okapi
    except ImportError as error:
        raise InvalidArgumentError(
            'the assistant needs rank-bm25: pip install "squeezerl[assistant]"'
        ) from error
    return BM25Okapi([words(text) for text in texts])


def _reciprocal(scores: npt.NDArray[Any]) -> Floats:
    """The reciprocal of each rank; equal scores share the best rank of them, 0 has none."""
    ranks = np.searchsorted(np.sort(-scores), -scores) + 1
    return np.where(scores > 0, 1 / (_CONSTANT + ranks), 0.0)


def _vectors(
    texts: Sequence[tuple[Passage, str]],
    name: str,
    embeddings: Embeddings,
    cache: Path | None,
    on_progress: Callable[[float], None],
) -> npt.NDArray[np.float32]:
    """A vector of length 1 for each chunk; those of one page or kind are cached together."""

    def page(text: tuple[Passage, str]) -> str:
        name, hash_, _ = text[0].id.partition("#")
        return name if hash_ else text[0].kind

    made, done = [], 0
    for _, group in groupby(texts, key=page):
        together = [chunk for _, chunk in group]
        made.append(_cached(together, name, embeddings, cache))
        done += len(together)
        on_progress(done / len(texts))
    vectors = np.concatenate(made)
    unit: npt.NDArray[np.float32] = vectors / np.maximum(
        np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12
    )
    return unit


def _cached(
    texts: list[str], name: str, embeddings: Embeddings, cache: Path | None
) -> npt.NDArray[np.float32]:
    path = None if cache is None else cache / f"{content_hash(name, *texts)}.npy"
    if path is not None and path.is_file():
        stored: npt.NDArray[np.float32] = np.load(path, allow_pickle=False)
        return stored
    vectors = np.asarray(embeddings.embed_documents(texts), np.float32)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            np.save(file, vectors)
        Path(file.name).replace(path)
    return vectors
