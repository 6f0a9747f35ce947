from __future__ import annotations

import hashlib
import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import squeezerl
from mutations import mutations
from small_policies import make_network
from squeezerl.agents.hub import MAX_BYTES
from squeezerl.agents.load import demo_agent_path, load_agent
from squeezerl.errors import CheckpointError, InvalidArgumentError, SqueezeRLError
from squeezerl.formats.onnx import to_onnx

constants = pytest.importorskip("huggingface_hub.constants")

COMMIT = "c" * 40
# Names of files that would lie outside of the cache.
ESCAPING = [
    json.dumps({"id": "me/pole", "sha": sha, "siblings": [{"rfilename": name}]}).encode()
    for sha, name in (
        *(
            (COMMIT, name)
            for name in ("../../../../../out.onnx", "/tmp/x/out.onnx", "..\\out.onnx")
        ),
        ("../../../../out", "policy.onnx"),
    )
]


class Hub(ThreadingHTTPServer):
    """The part of the Hub's interface that a download needs, over some files."""

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.files, self.asked = files, set[str]()
        self.claimed: dict[str, int] = {}  # the sizes of files that are not what they are
        self.sent = set[bytes]()  # what it said of the repository
        self.spoiled: bytes | None = None  # to be said instead


class _Answers(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self._file(is_head=True)

    def do_GET(self) -> None:
        if not self.path.startswith("/api/"):
            return self._file(is_head=False)
        known = ("/api/models/me/pole/revision/main", f"/api/models/me/pole/revision/{COMMIT}")
        if not self.path.startswith(known):
            missing = "RepoNotFound" if "/me/pole/" not in self.path else "RevisionNotFound"
            return self._answer(b"{}", 404, {"X-Error-Code": missing})
        siblings = [{"rfilename": name} for name in self.server.files]
        content = {"id": "me/pole", "sha": COMMIT, "siblings": siblings}
        answer = json.dumps(content).encode()
        self.server.sent.add(answer)
        return self._answer(self.server.spoiled or answer, 200, {})

    def _file(self, *, is_head: bool) -> None:
        name = self.path.partition(f"/resolve/{COMMIT}/")[2]
        content = self.server.files.get(name)
        if content is None:
            return self._answer(b"", 404, {"X-Error-Code": "EntryNotFound"}, is_head=is_head)
        if not is_head:
            self.server.asked.add(name)
        facts = {"ETag": hashlib.sha256(content).hexdigest(), "X-Repo-Commit": COMMIT}
        size = self.server.claimed.get(name)
        self._answer(content, 200, facts, is_head=is_head, size=size)

    def _answer(
        self,
        content: bytes,
        status: int,
        headers: dict[str, str],
        is_head: bool = False,
        size: int | None = None,
    ) -> None:
        self.send_response(status)
        length = len(content) if size is None else size
        for name, value in {**headers, "Content-Length": str(length)}.items():
            self.send_header(name, value)
        self.end_headers()
        if not is_head:
            self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub with one agent of Stable-Baselines3 and what stands beside such agents."""
    demo = demo_agent_path()
    files = {
        "pole.zip": (demo / "HalfCheetah-v5.zip").read_bytes(),
        "vec_normalize.pkl": next(demo.rglob("vecnormalize.pkl")).read_bytes(),
        "args.yml": b"env: Pendulum-v1\n",
        "train_eval_metrics.zip": b"PK",
        "replay.mp4": b"a video",
        "evil.py": b"raise SystemExit",
    }
    with Hub(files) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{running.server_port}"
        monkeypatch.setattr(constants, "ENDPOINT", url)
        template = url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        yield running
        running.shutdown()
        thread.join()


def test_an_agent_of_the_hub_is_that_of_its_files_and_stays_in_the_cache(
    server: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = squeezerl.load("hf://me/pole")
    assert agent.key == load_agent("demo").key
    assert (agent.source.path, agent.env_id) == ("hf://me/pole", "Pendulum-v1")
    assert server.asked == {"pole.zip", "vec_normalize.pkl", "args.yml"}
    assert squeezerl.load(f"hf://me/pole@{COMMIT}").key == agent.key
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert squeezerl.load("hf://me/pole").key == agent.key
    with pytest.raises(CheckpointError, match=r"hf://me/other: the Hub cannot be reached"):
        squeezerl.load("hf://me/other")


def test_what_the_hub_does_not_have_is_named(server: Hub) -> None:
    for name, reason in (
        ("hf://me/other", "no such repository"),
        ("hf://me/pole@nope", "no revision 'nope'"),
    ):
        with pytest.raises(CheckpointError, match=reason):
            squeezerl.load(name)
    for name in ("hf://pole", "hf://me/pole@", "hf://me/../pole", "hf://me/pole;rm"):
        with pytest.raises(InvalidArgumentError, match="not of the form"):
            squeezerl.load(name)


def test_a_repository_without_a_policy_says_so(server: Hub) -> None:
    del server.files["pole.zip"]
    with pytest.raises(CheckpointError, match="one policy is needed"):
        squeezerl.load("hf://me/pole")


def test_more_than_a_policy_is_not_downloaded(server: Hub) -> None:
    server.claimed = {"pole.zip": MAX_BYTES, "replay.mp4": 50 * MAX_BYTES}
    with pytest.raises(CheckpointError, match=r"bytes to download, most of them in 'pole\.zip'"):
        squeezerl.load("hf://me/pole")
    assert server.asked == set()


def test_a_damaged_file_is_refused_as_elsewhere(server: Hub) -> None:
    server.files["pole.zip"] = server.files["pole.zip"][:1000]
    with pytest.raises(CheckpointError, match=r"pole\.zip"):
        squeezerl.load("hf://me/pole")


def test_spoiled_answers_of_the_hub_give_only_our_errors(server: Hub, tmp_path: Path) -> None:
    server.files = {"policy.onnx": to_onnx(make_network(2, 3, 1)).SerializeToString()}
    assert squeezerl.load("hf://me/pole").network.observation_shape == (2,)
    (sound,) = server.sent
    refused, cache, before = 0, tmp_path / "cache", {*tmp_path.iterdir()}
    for spoiled in [*mutations(sound, 200), *ESCAPING]:
        shutil.rmtree(cache, ignore_errors=True)
        server.spoiled = spoiled
        try:
            squeezerl.load("hf://me/pole")
        except SqueezeRLError as error:
            refused += "hf://me/pole" in str(error)
    assert refused > 100
    assert {*tmp_path.iterdir()} == before
