"""A server that speaks OpenAI's protocol and answers by a script, for the real clients."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

# What a model says to a request: its text, or the tools that it calls with their arguments.
Reply = str | list[tuple[str, dict[str, Any]]]
Script = Callable[[dict[str, Any]], Reply]


@dataclass
class ScriptedModel:
    """The server's URL, and the requests that it got."""

    url: str
    requests: list[dict[str, Any]] = field(default_factory=list)

    @property
    def options(self) -> dict[str, Any]:
        """For LangChain's client."""
        return {"base_url": self.url, "api_key": "none", "max_retries": 0}


@contextmanager
def scripted_model(script: Script) -> Iterator[ScriptedModel]:
    """Serve until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            model.requests.append(body)
            content = json.dumps(_completion(body, script(body))).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    model = ScriptedModel(f"http://127.0.0.1:{server.server_port}/v1")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield model
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def said(request: dict[str, Any]) -> str:
    """All that a request says to the model."""
    return "\n".join(str(message["content"]) for message in request["messages"])


def _completion(request: dict[str, Any], reply: Reply) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": reply}
    if isinstance(reply, list):
        calls = [
            {"id": f"call_{number}", "type": "function",
             "function": {"name": name, "arguments": json.dumps(arguments)}}
            for number, (name, arguments) in enumerate(reply)
        ]  # fmt: skip
        message = {"role": "assistant", "content": None, "tool_calls": calls}
    return {
        "id": "scripted",
        "object": "chat.completion",
        "created": 0,
        "model": request["model"],
        "choices": [
            {
                "index": 0,
                "message": message,
                "finish_reason": "tool_calls" if isinstance(reply, list) else "stop",
            }
        ],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }
