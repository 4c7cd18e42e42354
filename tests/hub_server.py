"""A small server with the endpoints of the Hugging Face Hub that `landmarks.model.hub` uses.

Paths and JSON follow huggingface_hub, which talks to it as to the Hub itself (environment variable HF_ENDPOINT).
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

TOKEN = "hf_made_for_tests"
LARGE = (".onnx", ".safetensors", ".bin")
"""Files that the server wants by LFS: sent beside the commit."""


@dataclass
class Stored:
    """A repository: its files, and who may see it."""

    files: dict[str, bytes] = field(default_factory=dict)
    private: bool = False
    commits: int = 0

    @property
    def sha(self) -> str:
        return hashlib.sha1(repr(sorted(self.files)).encode() + bytes([self.commits])).hexdigest()


class HubServer(ThreadingHTTPServer):
    """Holds repositories by name; `refused` maps a part of a path to the status it is answered with."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, Stored] = {}
        self.blobs: dict[str, bytes] = {}
        self.refused: dict[str, int] = {}
        self.asked: list[str] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: HubServer
    protocol_version = "HTTP/1.1"

    def handle_one_request(self) -> None:
        self.close_connection = True
        super().handle_one_request()

    def do_GET(self) -> None:
        self._serve()

    do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815 - names of the base class

    def log_message(self, *_: Any) -> None:
        pass

    def _serve(self) -> None:
        path = urlsplit(self.path).path
        self.server.asked.append(f"{self.command} {path}")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        for part, status in self.server.refused.items():
            if part in path:
                self._answer({"error": "refused", "errors": [{"message": "refused"}]}, status)
                return
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if token and token != TOKEN:
            self._answer({"error": "Invalid user token."}, 401)
        elif path == "/api/whoami-v2":
            self._answer({"name": "user", "type": "user"})
        elif path == "/api/validate-yaml":
            self._answer({"errors": [], "warnings": []})
        elif path == "/api/repos/create":
            self._create(json.loads(body))
        elif path.startswith("/blobs/"):
            self.server.blobs[path.rpartition("/")[2]] = body
            self._answer({})
        else:
            self._of_repository(path.removeprefix("/api/models/").strip("/"), body, allowed=token == TOKEN)

    def _create(self, wanted: dict[str, Any]) -> None:
        name = "/".join(filter(None, (wanted.get("organization"), wanted["name"])))
        private = bool(wanted.get("private") or wanted.get("visibility") == "private")
        self.server.repositories[name if "/" in name else f"user/{name}"] = Stored(private=private)
        self._answer({"url": f"{self.server.address}/{name}"})

    def _of_repository(self, path: str, body: bytes, *, allowed: bool) -> None:
        user, title, *rest = path.split("/")
        name = f"{user}/{title.removesuffix('.git')}"
        stored = self.server.repositories.get(name)
        if stored is None or (stored.private and not allowed):
            self._answer({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
            return
        match rest:
            case [] | ["revision", "main"]:
                self._answer(self._info(name, stored))
            case ["revision", sha] if sha == stored.sha:
                self._answer(self._info(name, stored))
            case ["revision", _]:
                self._answer({"error": "Invalid rev id"}, 404, {"X-Error-Code": "RevisionNotFound"})
            case ["preupload", "main"]:
                files = [self._mode(one["path"]) for one in json.loads(body)["files"]]
                self._answer({"files": files})
            case ["info", "lfs", "objects", "batch"]:
                self._answer(
                    {"transfer": "basic", "objects": [self._upload(one) for one in json.loads(body)["objects"]]}
                )
            case ["commit", "main"]:
                self._commit(name, stored, body)
            case ["resolve", _, file] if file in stored.files:
                self._send(stored, stored.files[file])
            case _:
                self._answer({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound"})

    def _info(self, name: str, stored: Stored) -> dict[str, Any]:
        siblings = [{"rfilename": one} for one in stored.files]
        return {"id": name, "sha": stored.sha, "private": stored.private, "siblings": siblings, "tags": []}

    def _mode(self, path: str) -> dict[str, Any]:
        return {"path": path, "uploadMode": "lfs" if path.endswith(LARGE) else "regular", "shouldIgnore": False}

    def _upload(self, wanted: dict[str, Any]) -> dict[str, Any]:
        action = {"href": f"{self.server.address}/blobs/{wanted['oid']}"}
        return {**wanted, "actions": {"upload": action}}

    def _commit(self, name: str, stored: Stored, body: bytes) -> None:
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                stored.files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                stored.files[value["path"]] = self.server.blobs[value["oid"]]
        stored.commits += 1
        self._answer({"commitUrl": f"{self.server.address}/{name}/commit/{stored.sha}", "commitOid": stored.sha})

    def _send(self, stored: Stored, content: bytes) -> None:
        etag = hashlib.sha1(content).hexdigest()
        self._reply(200, content, {"X-Repo-Commit": stored.sha, "ETag": f'"{etag}"'})

    def _answer(self, values: object, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self._reply(status, json.dumps(values).encode(), {"Content-Type": "application/json", **(headers or {})})

    def _reply(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(content)), "Connection": "close"}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
