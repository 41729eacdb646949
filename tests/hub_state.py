"""What a hub holds and knows, and the requests and answers that are about it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

Files = dict[str, bytes]


@dataclass(frozen=True)
class Request:
    """What was asked for, and with which headers (their names in small letters)."""

    method: str
    path: str
    headers: Mapping[str, str]

    @property
    def file(self) -> str | None:
        """The file of a repository that was asked for, whether or not the answer sent elsewhere."""
        found = re.fullmatch(r"/[^/]+/[^/]+/resolve/[^/]+/(.+)", self.path)
        return found[1] if found else None


@dataclass
class Answer:
    """What the server answers. Of the body only `sent` bytes go out before the connection is cut; all by default."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    sent: int | None = None


@dataclass
class Repo:
    """A repository: commits, and the names of some of them."""

    private: bool = False
    gated: bool = False
    commits: dict[str, Files] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)
    refs: dict[str, str] = field(default_factory=dict)

    def commit(self, files: Files, *, branch: str = "main", message: str = "") -> str:
        """Adds and replaces files on a branch."""
        self.messages.append(message)
        commit = hashlib.sha1(repr((len(self.messages), message)).encode()).hexdigest()
        self.commits[commit] = self.commits.get(self.refs.get(branch, ""), {}) | files
        self.refs[branch] = commit
        return commit

    def find(self, revision: str) -> str | None:
        """The commit that a branch, a tag or itself names."""
        commit = self.refs.get(unquote(revision), revision)
        return commit if commit in self.commits else None


class HubState:
    """Repositories and who may see and change them."""

    def __init__(self) -> None:
        self.endpoint = ""
        self.repos: dict[str, Repo] = {}
        self.renamed: dict[str, str] = {}
        self.tokens = {"reads": False, "writes": True}
        """Access tokens: whether they may write."""
        self.large_files = True
        """Whether safetensors files are uploaded apart from the commit, as large files are."""
        self.uploads: dict[str, bytes] = {}

    def add(self, name: str, folder: Path | None = None, **settings: bool) -> Repo:
        """A repository with the files of a folder, in one commit that the tag v1 names."""
        repo = self.repos[name] = Repo(**settings)
        repo.refs["v1"] = repo.commit({".gitattributes": b""} | (read_folder(folder) if folder else {}))
        return repo

    def may(self, request: Request, *, write: bool) -> bool:
        """Whether the token of a request permits this."""
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        return token in self.tokens and (self.tokens[token] or not write)

    def visible(self, request: Request, name: str) -> Repo | Answer:
        """The repository if it is there for who asks."""
        if "authorization" in request.headers and not self.may(request, write=False):
            return refusal(401, "Invalid credentials in Authorization header")
        repo = self.repos.get(name)
        if repo is None or (repo.private and not self.may(request, write=False)):
            return refusal(401, "Repository not found", "RepoNotFound")
        return repo


def read_folder(folder: Path) -> Files:
    """Names and contents of all files below a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refusal(status: int, message: str, code: str | None = None, **headers: str) -> Answer:
    """An error as the hub words it: for people in X-Error-Message, for programs in X-Error-Code."""
    code_headers = {"X-Error-Code": code} if code else {}
    return Answer(status, headers | code_headers | {"X-Error-Message": message})


def git_hash(content: bytes) -> str:
    """What git calls a file of that content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
