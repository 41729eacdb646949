"""The answers of `hub_server` about repositories, and pushing to them."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import Any
from urllib.parse import unquote

import yaml
from hub_state import Answer, HubState, Repo, Request, git_hash, refusal

_MODEL = r"/api/models/([^/]+/[^/]+)"


def answer(hub: HubState, request: Request, body: bytes) -> Answer | None:
    """The answer to a request of these, None if it is of another kind."""
    for (method, pattern), handle in _HANDLERS.items():
        if request.method == method and (found := re.fullmatch(pattern, request.path)):
            return handle(hub, request, body, *map(unquote, found.groups()))
    return None


def _json(content: Any, status: int = 200) -> Answer:
    return Answer(status, {"Content-Type": "application/json"}, json.dumps(content).encode())


def _writable(hub: HubState, request: Request, name: str) -> Repo | Answer:
    repo = hub.visible(request, name)
    if isinstance(repo, Repo) and not hub.may(request, write=True):
        return _refused(request)
    return repo


def _refused(request: Request) -> Answer:
    if "authorization" not in request.headers:
        return refusal(401, "Invalid username or password.")
    return refusal(403, "you must use a write token")


def _info(hub: HubState, request: Request, body: bytes, name: str, revision: str = "main") -> Answer:
    repo = hub.visible(request, name)
    if not isinstance(repo, Repo):
        return repo
    commit = repo.find(revision)
    if commit is None:
        return refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
    siblings = [{"rfilename": file} for file in repo.commits[commit]]
    return _json({"id": name, "sha": commit, "private": repo.private, "gated": repo.gated, "siblings": siblings})


def _tree(hub: HubState, request: Request, body: bytes, name: str, revision: str) -> Answer:
    repo = hub.visible(request, name)
    if not isinstance(repo, Repo):
        return repo
    commit = repo.find(revision)
    if commit is None:
        return refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
    files = repo.commits[commit].items()
    return _json(
        [{"type": "file", "path": file, "size": len(content), "oid": git_hash(content)} for file, content in files]
    )


def _create(hub: HubState, request: Request, body: bytes) -> Answer:
    if not hub.may(request, write=True):
        return _refused(request)
    asked = json.loads(body)
    name = f"{asked['organization']}/{asked['name']}"
    if name in hub.repos:
        return refusal(409, "You already created this model repo")
    hub.add(name, private=asked.get("visibility") == "private")
    return _json({"url": f"{hub.endpoint}/{name}", "name": name})


def _branch(hub: HubState, request: Request, body: bytes, name: str, branch: str) -> Answer:
    repo = _writable(hub, request, name)
    if not isinstance(repo, Repo):
        return repo
    if branch in repo.refs:
        return refusal(409, "Reference already exists")
    repo.refs[branch] = repo.refs["main"]
    return _json({})


def _validate(hub: HubState, request: Request, body: bytes) -> Answer:
    parts = json.loads(body)["content"].split("---\n")
    try:
        license = yaml.safe_load(parts[1]).get("license", "other")
    except (IndexError, AttributeError, yaml.YAMLError) as error:
        return _json({"errors": [{"message": str(error)}], "warnings": []}, 400)
    known = license in ("apache-2.0", "mit", "cc-by-4.0", "other")
    errors = [] if known else [{"message": f'"license" must be one of [apache-2.0, ...], not {license}'}]
    return _json({"errors": errors, "warnings": []}, 400 if errors else 200)


def _preupload(hub: HubState, request: Request, body: bytes, name: str, revision: str) -> Answer:
    repo = _writable(hub, request, name)
    if not isinstance(repo, Repo):
        return repo
    there = repo.commits[repo.refs[revision]]
    modes = []
    for file in json.loads(body)["files"]:
        large = hub.large_files and file["path"].endswith(".safetensors")
        content = there.get(file["path"])
        digest = None if content is None else hashlib.sha256(content).hexdigest() if large else git_hash(content)
        mode = "lfs" if large else "regular"
        modes.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": digest})
    return _json({"files": modes})


def _batch(hub: HubState, request: Request, body: bytes, name: str) -> Answer:
    repo = _writable(hub, request, name)
    if not isinstance(repo, Repo):
        return repo
    objects = json.loads(body)["objects"]
    return _json(
        {
            "transfer": "basic",
            "objects": [
                each | {"actions": {"upload": {"href": f"{hub.endpoint}/upload/{each['oid']}"}}} for each in objects
            ],
        }
    )


def _upload(hub: HubState, request: Request, body: bytes, digest: str) -> Answer:
    assert hashlib.sha256(body).hexdigest() == digest
    hub.uploads[digest] = body
    return Answer(200)


def _commit(hub: HubState, request: Request, body: bytes, name: str, branch: str) -> Answer:
    repo = _writable(hub, request, name)
    if not isinstance(repo, Repo):
        return repo
    lines = [json.loads(line) for line in body.splitlines()]
    header, files = lines[0]["value"], {}
    if header.get("parentCommit", repo.refs[branch]) != repo.refs[branch]:
        return refusal(412, "The expected parent commit does not match")
    for line in lines[1:]:
        value = line["value"]
        small = line["key"] == "file"
        files[value["path"]] = base64.b64decode(value["content"]) if small else hub.uploads[value["oid"]]
    commit = repo.commit(files, branch=branch, message=header["summary"])
    return _json({"commitUrl": f"{hub.endpoint}/{name}/commit/{commit}", "commitOid": commit, "success": True})


_HANDLERS = {
    ("GET", _MODEL): _info,
    ("GET", _MODEL + r"/revision/([^/]+)"): _info,
    ("GET", _MODEL + r"/tree/([^/]+)"): _tree,
    ("POST", r"/api/repos/create"): _create,
    ("POST", _MODEL + r"/branch/([^/]+)"): _branch,
    ("POST", r"/api/validate-yaml"): _validate,
    ("POST", _MODEL + r"/preupload/([^/]+)"): _preupload,
    ("POST", r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch"): _batch,
    ("PUT", r"/upload/([0-9a-f]+)"): _upload,
    ("POST", _MODEL + r"/commit/([^/]+)"): _commit,
}
