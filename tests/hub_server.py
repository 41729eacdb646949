"""A hub on this machine: what of the Hugging Face Hub's HTTP interface huggingface_hub uses to load and push models.

Files are served as the real one does: small ones by itself, safetensors by a redirect to another host, which stands for
its CDN, keeps no secrets and is told none. Its faults are those of networks and servers.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import hub_api
from hub_state import Answer, HubState, Request, git_hash, refusal


class HubServer(HubState):
    """Serves `repos`; `requests` logs all it was asked.

    `faults` are asked in order, each with the request and the proper answer; the first that returns an answer of its
    own settles it. What was pushed is there all the same.
    """

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[Request] = []
        self.faults: list[Callable[[Request, Answer], Answer | None]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        self.cdn = f"http://localhost:{self._server.server_port}/cdn"
        threading.Thread(target=self._server.serve_forever, args=[0.01], daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def files(self, method: str) -> list[str]:
        """The files asked for, in order, by HEAD (their commit and hash) or GET (their content, once more by range)."""
        return [request.file for request in self.requests if request.method == method and request.file]

    @property
    def downloads(self) -> list[str]:
        """The files whose content was sent, by name or from the CDN."""
        names = {hashlib.sha256(body).hexdigest(): name for name, body in self._all_files()}
        gets = [request for request in self.requests if request.method == "GET"]
        return [
            request.file or names[request.path.removeprefix("/cdn/")]
            for request in gets
            if request.path.startswith("/cdn/") or (request.file and not request.file.endswith(".safetensors"))
        ]

    def _all_files(self) -> Iterator[tuple[str, bytes]]:
        for repo in self.repos.values():
            for files in repo.commits.values():
                yield from files.items()

    def answer(self, request: Request, body: bytes) -> Answer:
        """The answer to a request, faults included."""
        self.requests.append(request)
        answer = self._cdn(request) if request.path.startswith("/cdn/") else None
        answer = answer or hub_api.answer(self, request, body) or self._resolve(request)
        for fault in self.faults:
            if (wrong := fault(request, answer)) is not None:
                return wrong
        return answer

    def _resolve(self, request: Request) -> Answer:
        found = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", request.path)
        if not found or request.method not in ("HEAD", "GET"):
            return Answer(501)
        name, revision, file = found.groups()
        if name in self.renamed:
            return Answer(307, {"Location": f"/{self.renamed[name]}/resolve/{revision}/{file}"})
        repo = self.visible(request, name)
        if isinstance(repo, Answer):
            return repo
        if repo.gated and not self.may(request, write=True):
            return refusal(403, f"Access to model {name} is restricted", "GatedRepo")
        commit = repo.find(revision)
        if commit is None:
            return refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        headers = {"X-Repo-Commit": commit}
        content = repo.commits[commit].get(file)
        if content is None:
            return refusal(404, "Entry not found", "EntryNotFound", **headers)
        if not file.endswith(".safetensors"):
            return Answer(200, headers | {"ETag": f'"{git_hash(content)}"'}, content)
        digest = hashlib.sha256(content).hexdigest()
        linked = {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(content)), "ETag": '"of the pointer"'}
        return Answer(302, headers | linked | {"Location": f"{self.cdn}/{digest}"})

    def _cdn(self, request: Request) -> Answer:
        contents = {hashlib.sha256(body).hexdigest(): body for _, body in self._all_files()}
        content = contents.get(request.path.removeprefix("/cdn/"))
        if content is None:
            return Answer(404)
        start = re.fullmatch(r"bytes=(\d+)-", request.headers.get("range", ""))
        if start is None:
            return Answer(200, {"Accept-Ranges": "bytes"}, content)
        where = f"bytes {start[1]}-{len(content) - 1}/{len(content)}"
        return Answer(206, {"Content-Range": where}, content[int(start[1]) :])


def _handler(hub: HubServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def handle_one(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            answer = hub.answer(Request(self.command, self.path.partition("?")[0], headers), body)
            self.send_response(answer.status)
            for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body[: answer.sent])

        do_HEAD = do_GET = do_POST = do_PUT = handle_one  # noqa: N815

        def log_message(self, *arguments: object) -> None:
            """Says nothing."""

    return Handler
