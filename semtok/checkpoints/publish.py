"""A checkpoint -> a repository of the Hugging Face Hub, in one commit."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from semtok.checkpoints.card import CARD, GENERATED
from semtok.checkpoints.config import CONFIG
from semtok.checkpoints.hub import Repository
from semtok.errors import CheckpointError, SemtokError

if TYPE_CHECKING:
    from huggingface_hub import HfApi


def publish(
    save: Callable[[Path], None],
    repo_id: str,
    *,
    private: bool,
    token: str | bool | None,
    revision: str | None,
    commit_message: str,
    card: Callable[[Path], str],
) -> str:
    """Pushes what `save` writes to a folder, together with what of a checkpoint the repository has already.

    All is written and checked before anything is sent; the repository, or the branch, is made if need be.

    Returns:
        The commit.

    Raises:
        CheckpointError: `repo_id` is no hub id; the repository holds something else; the hub refuses or cannot be
            reached.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    if repo_id.count("/") != 1:
        raise CheckpointError(f"{repo_id!r} is no hub id: expected 'owner/name'")
    with TemporaryDirectory() as temporary, _clear_errors(repo_id):
        api = HfApi(token=token)
        branch_is_new, head = _head(api, repo_id, revision, private=private)
        folder = Path(temporary, repo_id)  # so that errors name the repository
        folder.mkdir(parents=True)
        if head is not None:
            there = Repository(repo_id, None, head, Path(temporary, "cache"), token)
            for name in (CONFIG, CARD):
                if image := there.find(name):
                    shutil.copyfile(image, folder / name)
        save(folder)
        page = folder / CARD
        if not page.exists() or GENERATED in page.read_text(encoding="utf-8"):
            page.write_text(card(folder), encoding="utf-8")
        if head is None:
            api.create_repo(repo_id, private=private, exist_ok=True)
        if branch_is_new:
            assert revision is not None
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        # Not upload_folder, which may make several commits: who loads meanwhile must find all files or none.
        commit = api.create_commit(
            repo_id,
            [
                CommitOperationAdd(path.relative_to(folder).as_posix(), path)
                for path in sorted(folder.rglob("*"))
                if path.is_file()
            ],
            commit_message=commit_message,
            revision=revision,
            parent_commit=head,
        )
        return commit.oid


def _head(api: HfApi, repo_id: str, revision: str | None, *, private: bool) -> tuple[bool, str | None]:
    """Whether the branch has still to be made, and the commit to build on; None if there is no repository."""
    from huggingface_hub import errors

    branch_is_new = False
    try:
        try:
            info = api.model_info(repo_id, revision=revision)
        except errors.RevisionNotFoundError:
            branch_is_new = True
            info = api.model_info(repo_id)
    except errors.GatedRepoError:
        raise
    except errors.RepositoryNotFoundError:
        return revision is not None, None
    if private and not info.private:
        raise CheckpointError(f"{repo_id} is there already and public: make it private on its page, or push to another")
    return branch_is_new, info.sha


@contextmanager
def _clear_errors(repo_id: str) -> Iterator[None]:
    from huggingface_hub import errors

    try:
        yield
    except SemtokError:
        raise
    except errors.HFValidationError as error:
        raise CheckpointError(f"{repo_id!r} is no hub id: {error}") from error
    except (errors.HTTPError, OSError, RuntimeError, ValueError) as error:  # type: ignore[attr-defined]
        reason = error.__cause__ or error if isinstance(error, RuntimeError) else error  # of an upload in a thread
        status = getattr(getattr(reason, "response", None), "status_code", None)
        advice = {
            401: ": log in with `hf auth login`, or pass a token= that may write",
            403: ": pass a token= that may write there",
            412: ": it was changed meanwhile, push again",
        }.get(status or 0, "")
        raise CheckpointError(f"cannot push to {repo_id}{advice}. The hub says: {reason}") from error
