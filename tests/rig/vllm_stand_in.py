#!/usr/bin/python3
"""A stand-in for the program `vllm` of vLLM 0.11.0: it asks the real Ray for NPUs, and answers without a model.

What it answers is what vLLM answers: https://github.com/vllm-project/vllm/tree/v0.11.0/vllm/entrypoints (api_server.py,
serving_engine.py and protocol.py in openai, and launcher.py). What goes wrong on demand, stand_in_engine.py says.
"""

from __future__ import annotations

import argparse
import hmac
import json
import os
import signal
import socket
import sys
import threading
import time
import traceback
import uuid
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from stand_in_engine import FAILURES, Engine, EngineDead, fault, say, write

EVERYWHERE = "0.0.0.0"  # noqa: S104 - as vLLM says it


class Server(ThreadingHTTPServer):
    """Its port is taken before the engine starts, and nobody is let in until it has started."""

    allow_reuse_port = True  # as vLLM does
    daemon_threads = True

    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__((options.host, options.port), Answer, bind_and_activate=False)
        self.options = options
        self.names = options.served_model_name or [options.model]
        self.key = options.api_key or os.environ.get("VLLM_API_KEY", "")
        self.engine: Engine | None = None
        self.server_bind()

    def server_bind(self) -> None:
        # Without HTTPServer's own, which looks its name up: there may be nobody to ask.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self.socket.bind(self.server_address)

    def serve(self, engine: Engine) -> None:
        """Answers until it is told to stop."""
        self.engine = engine
        signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=self.shutdown).start())
        signal.signal(signal.SIGINT, lambda *_: threading.Thread(target=self.shutdown).start())
        self.server_activate()
        address = f"http://{self.options.host or EVERYWHERE}:{self.options.port}"
        say("APIServer", "INFO", "api_server.py:1912", f"Starting vLLM API server 0 on {address}")
        write(
            f"INFO:     Started server process [{os.getpid()}]",
            "INFO:     Waiting for application startup.",
            "INFO:     Application startup complete.",
        )
        self.serve_forever()
        say("APIServer", "INFO", "launcher.py:99", "Shutting down FastAPI HTTP server.")


class Answer(BaseHTTPRequestHandler):
    """One request."""

    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/health":
            self.answer(HTTPStatus.OK, None)
        elif self.path == "/v1/models":
            self.guarded(self.models)
        else:
            self.answer(HTTPStatus.NOT_FOUND, {"detail": "Not Found"})

    def do_POST(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/v1/completions":
            self.guarded(self.completion)
        else:
            self.answer(HTTPStatus.NOT_FOUND, {"detail": "Not Found"})

    def guarded(self, act: Any) -> None:
        """Only for those who have the key: whatever lies below /v1."""
        scheme, _, told = self.headers.get("Authorization", "").partition(" ")
        right = scheme.lower() == "bearer" and hmac.compare_digest(told.encode(), self.server.key.encode())
        if self.server.key and not right:
            self.answer(HTTPStatus.UNAUTHORIZED, {"error": "Unauthorized"})
        else:
            act()

    def models(self) -> None:
        cards = [
            {"id": name, "object": "model", "created": int(time.time()), "owned_by": "vllm", "root": root}
            for name in self.server.names
            for root in [self.server.options.model]
        ]
        self.answer(HTTPStatus.OK, {"object": "list", "data": cards})

    def completion(self) -> None:
        try:
            asked = json.loads(self.body)
            name, prompt = asked.get("model"), str(asked["prompt"])
        except (ValueError, KeyError, AttributeError) as error:
            self.refuse(HTTPStatus.BAD_REQUEST, f"{error!r}", "Bad Request")
            return
        if name is not None and name not in self.server.names:
            self.refuse(HTTPStatus.NOT_FOUND, f"The model `{name}` does not exist.", "NotFoundError")
            return
        assert self.server.engine is not None
        try:
            text = self.server.engine.complete(prompt)
        except EngineDead as error:
            self.refuse(HTTPStatus.INTERNAL_SERVER_ERROR, str(error), "Internal Server Error")
            if fault("ends-when-dead") is not None:
                threading.Thread(target=self.server.shutdown).start()
            return
        words = {"prompt_tokens": len(prompt.split()), "completion_tokens": len(text.split())}
        self.answer(
            HTTPStatus.OK,
            {
                "id": f"cmpl-{uuid.uuid4().hex}",
                "object": "text_completion",
                "created": int(time.time()),
                "model": name or self.server.names[0],
                "choices": [{"index": 0, "text": text, "logprobs": None, "finish_reason": "length"}],
                "usage": {**words, "total_tokens": sum(words.values())},
            },
        )

    def refuse(self, status: HTTPStatus, message: str, kind: str) -> None:
        error = {"message": message, "type": kind, "param": None, "code": status.value}
        self.answer(status, {"error": error})

    def answer(self, status: HTTPStatus, document: object) -> None:
        body = b"" if document is None else json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, code: int | str = "-", _: int | str = "-") -> None:
        status = HTTPStatus(int(code))
        client = f"{self.client_address[0]}:{self.client_address[1]}"
        write(f'INFO:     {client} - "{self.requestline}" {status.value} {status.phrase}')


def serving(text: str) -> None:
    say("APIServer", "INFO", "api_server.py:1839", text)


def options() -> argparse.Namespace:
    """The words that matter here; the others are for the real one."""
    parser = argparse.ArgumentParser(prog="vllm", allow_abbrev=False)
    parser.add_argument("command", choices=["serve"])
    parser.add_argument("model")
    parser.add_argument("--tensor-parallel-size", "-tp", type=int, default=1)
    parser.add_argument("--pipeline-parallel-size", "-pp", type=int, default=1)
    parser.add_argument("--served-model-name", nargs="+")
    parser.add_argument("--host", default="")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--api-key", default="")
    return parser.parse_known_args()[0]


def main() -> None:
    told = options()
    serving("vLLM API server version 0.11.0")
    serving(f"non-default args: {sys.argv[2:]}")
    server = Server(told)
    signal.signal(signal.SIGTERM, terminated)
    try:
        engine = Engine(told)
    except FAILURES as error:
        say("EngineCore_DP0", "ERROR", "core.py:708", "EngineCore failed to start.")
        say("EngineCore_DP0", "ERROR", "core.py:708", "".join(traceback.format_exception(error)))
        raise RuntimeError("Engine core initialization failed. See root cause above. Failed core proc(s): {}") from None
    server.serve(engine)


def terminated(*_: object) -> None:
    raise KeyboardInterrupt("terminated")


if __name__ == "__main__":
    main()
