"""Checkpoint names -> local files: the bundled ones, folders, and repositories of the Hugging Face Hub."""

from __future__ import annotations

import hashlib
import os
import queue
import re
import threading
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from semtok.errors import CheckpointError
from semtok.support.json import read_json

BUNDLED = Path(__file__).parent
BUNDLED_MODELS = BUNDLED.parent / "downstream" / "bundled"
"""Where the models of tasks that come with semtok are."""
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PATIENCE = 8
"""Seconds that the hub has to answer the first question."""
_OFFLINE = (
    "To work offline, download it once while connected, or pass the path of a local folder; "
    "local_files_only=True or HF_HUB_OFFLINE=1 then uses what is there without asking the hub."
)


@dataclass(frozen=True)
class Repository:
    """Where the files of a checkpoint or an encoder come from: a local folder, or a hub id at a revision.

    `commits` holds the commit at which the first file of a hub id and revision was found; the others are taken from
    the same, even if a push changes the branch meanwhile. `connection` holds what came of the one attempt to reach the
    hub, under "hub": None if it answers.
    """

    name: str
    folder: Path | None
    revision: str | None = None
    cache_dir: str | os.PathLike[str] | None = None
    token: str | bool | None = None
    local_files_only: bool = False
    subfolder: str = ""
    commits: dict[tuple[str, str | None], str] = field(default_factory=dict, repr=False, compare=False)
    connection: dict[str, Exception | None] = field(default_factory=dict, repr=False, compare=False)
    _entries: dict[str, dict[str, Any]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __str__(self) -> str:
        """The folder, or the hub id with the commit that its files are of: `owner/name@commit`."""
        if self.folder is not None:
            return str(self.folder.resolve())
        return f"{self.name}@{self.commit or self.revision or 'main'}"

    def file(self, *names: str) -> Path:
        """The local path of the first of these files that is there, downloaded if need be.

        Raises:
            CheckpointError: none of them exists, or not even the repository or the revision; access is refused; or
                there is no connection and none of them is in the cache.
        """
        unreachable = None
        for name in names:
            try:
                path = self.find(name)
            except CheckpointError as error:
                # Offline one cannot know that a file does not exist; the next may be in the cache.
                unreachable = unreachable or error
                continue
            if path is not None:
                return path
        if unreachable:
            raise unreachable
        inside = f" in its folder {self.subfolder}/" if self.subfolder else ""
        raise CheckpointError(
            f"{self.name} has no file {' or '.join(names)}{inside}: it is no checkpoint, or an incomplete one"
        )

    def read_json(self, name: str) -> dict[str, Any]:
        """The entries of a JSON file, read once; errors as in `file`, and if it holds no keys and values."""
        if name not in self._entries:
            self._entries[name] = read_json(self.file(name), CheckpointError)
        return self._entries[name]

    @property
    def commit(self) -> str | None:
        """Of a hub id, once a file was found; None of a folder."""
        return self.commits.get((self.name, self.revision)) if self.folder is None else None

    def at(self, name: str) -> Repository:
        """Another repository, a hub id or a folder, with the access that this one was given."""
        return resolve(name, cache_dir=self.cache_dir, token=self.token, local_files_only=self.local_files_only)

    def find(self, name: str) -> Path | None:
        """The local path of a file, None if it does not exist; errors as in `file`."""
        name = f"{self.subfolder}/{name}" if self.subfolder else name
        if self.folder is not None:
            return self.folder / name if (self.folder / name).is_file() else None
        return self._download(name)

    @cached_property
    def files(self) -> list[str]:
        """Names of all files of the folder or the repository, as the hub or else the cache knows them, read once.

        Without a connection these are the files that were once downloaded, which may be only some.

        Raises:
            CheckpointError: the repository or the revision does not exist, access is refused, or there is no
                connection and nothing in the cache.
        """
        if self.folder is not None:
            return sorted(path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*") if path.is_file())
        from huggingface_hub import HfApi, errors

        if self.local_files_only:
            if cached := _cached_files(self):
                return cached
            raise CheckpointError(f"nothing of {self.name} is in the cache, and only local files were asked for")
        try:
            if (refusal := self._connection_error("config.json")) is not None:
                raise refusal
            return sorted(HfApi(token=self.token).list_repo_files(self.name, revision=self.revision))
        except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
            raise CheckpointError(
                f"the hub has no {self.name} at revision {self.revision or 'main'}, or it is private or "
                f"restricted (then pass token=): {error}"
            ) from error
        except (errors.HTTPError, errors.OfflineModeIsEnabled, OSError) as error:  # type: ignore[attr-defined]
            if cached := _cached_files(self):
                return cached
            raise CheckpointError(
                f"the hub cannot be asked which files {self.name} has, and none is in the cache: {error}. {_OFFLINE}"
            ) from error

    def _connection_error(self, name: str) -> Exception | None:
        """Why the hub cannot be asked for this or any other file, by one attempt for all; None if it answers."""
        if "hub" not in self.connection:
            answers: queue.SimpleQueue[Exception | None] = queue.SimpleQueue()
            # A thread, as a resolver of names can keep a caller waiting for minutes, whatever the timeout.
            threading.Thread(target=lambda: answers.put(self._ask(name)), daemon=True).start()
            try:
                self.connection["hub"] = answers.get(timeout=_PATIENCE)
            except queue.Empty:
                self.connection["hub"] = TimeoutError(f"it gave no answer in {_PATIENCE} s")
        return self.connection["hub"]

    def _ask(self, name: str) -> Exception | None:
        from huggingface_hub import errors, get_hf_file_metadata, hf_hub_url

        try:
            url = hf_hub_url(self.name, name, revision=self.revision)
            get_hf_file_metadata(url, token=self.token, timeout=_PATIENCE)
        except (errors.HfHubHTTPError, errors.HFValidationError):
            return None  # an answer: what it says, the download says too
        except Exception as error:
            return error
        return None

    def _download(self, name: str) -> Path | None:
        from huggingface_hub import _CACHED_NO_EXIST, errors, hf_hub_download, try_to_load_from_cache

        at = f"{self.name} at revision {self.revision}" if self.revision else self.name
        cache_dir = None if self.cache_dir is None else Path(self.cache_dir)
        revision, refusal = self.commit or self.revision, None
        try:
            # The cache notes which files a revision lacks. For a commit that stays true; a branch may get the file.
            known = try_to_load_from_cache(self.name, name, cache_dir, revision)
            if known is _CACHED_NO_EXIST and _COMMIT.fullmatch(revision or ""):
                return None
            if not self.local_files_only and not isinstance(known, str):
                refusal = self._connection_error(name)
            path = hf_hub_download(
                self.name,
                name,
                revision=revision,
                cache_dir=cache_dir,
                token=self.token,
                # Of a file that is not in the cache it would try to reach the hub six times.
                local_files_only=self.local_files_only or refusal is not None,
            )
        except errors.GatedRepoError as error:
            raise CheckpointError(f"access to {at} is restricted: ask for it on its page, then pass token=") from error
        except errors.RepositoryNotFoundError as error:
            raise CheckpointError(
                f"the hub has no repository {self.name}, or it is private (then pass token=), and there is no folder "
                f"{self.name} (looked from {Path.cwd()}); bundled with semtok: {', '.join(bundled_names())}"
            ) from error
        except errors.RevisionNotFoundError as error:
            raise CheckpointError(f"{self.name} has no revision {self.revision!r}") from error
        except errors.LocalEntryNotFoundError as error:
            reason = (
                "only local files were asked for"
                if self.local_files_only
                else f"the hub cannot be asked: {refusal or error.__cause__}"
            )
            raise CheckpointError(f"{name} of {at} is not in the cache, and {reason}. {_OFFLINE}") from error
        except errors.EntryNotFoundError:
            return None
        except errors.HFValidationError as error:
            raise CheckpointError(f"{self.name!r} is no hub id: {error}") from error
        except (errors.HTTPError, OSError) as error:  # type: ignore[attr-defined]
            raise CheckpointError(f"cannot fetch {name} of {at}: {error}. {_OFFLINE}") from error
        if path != known:
            _check_digest(Path(path), f"{name} of {at}")
        # In the cache a file is snapshots/<commit>/<its name in the repository>.
        self.commits.setdefault((self.name, self.revision), Path(path).parents[name.count("/")].name)
        return Path(path)


def _check_digest(path: Path, what: str) -> None:
    """Refuses and removes a large file of the cache whose content is not that of its SHA-256, by which it is kept."""
    content = path.resolve()
    if not _SHA256.fullmatch(content.name):
        return
    digest = hashlib.sha256()
    with content.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    if digest.hexdigest() != content.name:
        path.unlink()
        content.unlink(missing_ok=True)
        raise CheckpointError(
            f"{what} arrived damaged: its SHA-256 is {digest.hexdigest()}, that of the hub's {content.name}; try again"
        )


def _cached_files(repository: Repository) -> list[str]:
    from huggingface_hub import CacheNotFound, scan_cache_dir

    wanted = repository.revision or "main"
    try:
        cached = scan_cache_dir(Path(repository.cache_dir) if repository.cache_dir else None).repos
    except CacheNotFound:
        return []
    return sorted(
        file.file_path.relative_to(revision.snapshot_path).as_posix()
        for known in cached
        if known.repo_id == repository.name and known.repo_type == "model"
        for revision in known.revisions
        if wanted in (revision.commit_hash, *revision.refs)
        for file in revision.files
    )


def bundled_names(bundled: Path = BUNDLED) -> list[str]:
    """Names of the checkpoints in a folder; by default those that come with semtok."""
    return sorted(path.parent.name for path in bundled.glob("*/config.json"))


def public_name(source: str | None) -> str | None:
    """The name by which anybody loads a checkpoint of this `source`: a bundled one or a hub id; None for a folder."""
    if source is None or not (path := Path(source)).is_absolute():
        return source
    return path.name if path.parent == BUNDLED else None


def resolve(
    name: str | os.PathLike[str],
    *,
    revision: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    token: str | bool | None = None,
    local_files_only: bool = False,
    bundled: Path = BUNDLED,
) -> Repository:
    """Where a checkpoint of that name is: a name in `bundled`, then an existing folder, then a hub id `owner/name`.

    Raises:
        CheckpointError: the name is none of these, or a revision is asked of what is no hub id.
    """
    text = os.fspath(name)
    names = bundled_names(bundled)
    folder = bundled / text if text in names else Path(text) if text and Path(text).is_dir() else None
    if folder is None and not (isinstance(name, str) and _HUB_ID.fullmatch(text)):
        raise CheckpointError(
            f"{text!r} is no checkpoint: expected a bundled name ({', '.join(names) or 'there is none'}), "
            f"an existing folder (looked from {Path.cwd()}), or a hub id such as 'owner/name'"
        )
    if folder is not None and revision is not None:
        raise CheckpointError(
            f"{text!r} is the folder {folder.resolve()}, which has no revision {revision!r}: a hub id has them"
        )
    return Repository(text, folder, revision, cache_dir, token, local_files_only)
