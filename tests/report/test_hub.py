from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from balancing import balancing_agent
from squeezerl.errors import InvalidArgumentError, OutputError
from squeezerl.pipeline.make import make_artifact
from squeezerl.report.hub import files_to_push, push
from squeezerl.report.model_card import CARD, model_card

RETURNS = [100.0, 90.0, 110.0]
TOKEN = "hf_of_this_test"


class Hub(ThreadingHTTPServer):
    """The part of the Hub's interface that an upload needs; it keeps what it got."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.repos: list[dict[str, Any]] = []
        self.files: dict[str, bytes] = {}
        self.tokens: set[str | None] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Answers(BaseHTTPRequestHandler):
    server: Hub

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.tokens.add(self.headers.get("Authorization"))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._answer({"error": "Invalid credentials"}, 401)
        if self.path.startswith("/api/repos/create"):
            self.server.repos.append(json.loads(body))
            return self._answer({"url": f"{self.server.url}/me/pole"})
        if "/preupload/" in self.path:
            names = [one["path"] for one in json.loads(body)["files"]]
            modes = {"uploadMode": "regular", "shouldIgnore": False}
            return self._answer({"files": [{"path": name, **modes} for name in names]})
        if "/commit/" in self.path:
            for line in body.splitlines():
                value = json.loads(line)["value"]
                if "content" in value:
                    self.server.files[value["path"]] = base64.b64decode(value["content"])
            url = f"{self.server.url}/me/pole/commit/abc"
            return self._answer({"commitUrl": url, "commitOid": "abc"})
        return self._answer({})

    def do_GET(self) -> None:
        self._answer({"sha": "0" * 40, "id": "me/pole", "siblings": []})

    def _answer(self, content: dict[str, Any], status: int = 200) -> None:
        text = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "out"
    make_artifact(balancing_agent(), "ptdq").save(path)
    (path / "candidates/l1").mkdir(parents=True)
    (path / "candidates/l1/policy.onnx").write_bytes(b"not chosen")
    (path / ".hidden").write_text("secret")
    (path / CARD).write_text(model_card(path, RETURNS, "CartPole-v1"), encoding="utf-8")
    return path


def test_the_hubs_own_reader_finds_the_result_in_the_card(folder: Path) -> None:
    hub = pytest.importorskip("huggingface_hub")
    data = hub.ModelCard.load(folder / CARD).data
    (result,) = data.eval_results
    assert (result.task_type, result.dataset_type) == ("reinforcement-learning", "CartPole-v1")
    assert (result.metric_type, result.metric_value) == ("mean_reward", "100.00 +/- 8.16")
    assert data.model_name == "ppo-CartPole-v1-ptdq"
    assert {"reinforcement-learning", "CartPole-v1", "onnx"} <= set(data.tags)


def test_the_cards_lines_run_the_policy(folder: Path) -> None:
    text = (folder / CARD).read_text(encoding="utf-8")
    code = text.split("### ONNX Runtime")[1].split("### C")[0]
    lines = [line.strip() for line in code.splitlines() if line.startswith("    ")]
    names: dict[str, Any] = {"observation": np.zeros(4, np.float32)}
    exec("\n".join(lines).replace('"policy.onnx"', repr(str(folder / "policy.onnx"))), names)
    assert names["action"] in (0, 1)


def test_a_card_needs_returns(folder: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="no returns are known"):
        model_card(folder)


def test_results_that_are_none_are_refused(folder: Path) -> None:
    (folder / "results.json").write_text("{}")
    with pytest.raises(InvalidArgumentError, match="not the results of a squeeze"):
        model_card(folder)


def test_candidates_and_hidden_files_stay_here(folder: Path) -> None:
    names = [path.as_posix() for path in files_to_push(folder)]
    assert names == ["README.md", "manifest.json", "policy.onnx"]


def test_the_hub_gets_the_files_in_one_commit(folder: Path, hub: Hub) -> None:
    pytest.importorskip("huggingface_hub")
    url = push(folder, "me/pole", private=True, endpoint=hub.url, token=TOKEN)
    assert url.endswith("/commit/abc")
    assert hub.repos[0]["name"] == "pole"
    # Its newer releases say so in another word.
    assert hub.repos[0].get("visibility") == "private" or hub.repos[0]["private"] is True
    assert hub.files == {
        path.as_posix(): (folder / path).read_bytes() for path in files_to_push(folder)
    }


def test_a_refusal_is_an_error_without_the_token(folder: Path, hub: Hub) -> None:
    pytest.importorskip("huggingface_hub")
    with pytest.raises(OutputError, match="the Hub did not take") as error:
        push(folder, "me/pole", endpoint=hub.url, token="hf_wrong")
    assert "hf_wrong" not in str(error.value)
    assert hub.files == {}


@pytest.mark.parametrize("repo", ["pole", "me/pole/more", "", "me/po le"])
def test_a_repository_has_an_organisation_and_a_name(folder: Path, repo: str) -> None:
    with pytest.raises(InvalidArgumentError, match="organisation/name"):
        push(folder, repo)


def test_without_a_card_nothing_goes(folder: Path) -> None:
    (folder / CARD).unlink()
    with pytest.raises(InvalidArgumentError, match="squeezerl card"):
        files_to_push(folder)
