"""Which files a repository has."""

from __future__ import annotations

from pathlib import Path

from semtok.checkpoints.hub import Repository
from semtok.errors import CheckpointError


def repository_files(repository: Repository) -> list[str]:
    """Names of all files of a folder or of a repository, as the hub or else the cache knows them.

    Without a connection these are the files that were once downloaded, which may be only some.

    Raises:
        CheckpointError: the repository or the revision does not exist, access is refused, or there is no connection and
            nothing in the cache.
    """
    if repository.folder is not None:
        return sorted(
            path.relative_to(repository.folder).as_posix() for path in repository.folder.rglob("*") if path.is_file()
        )
    from huggingface_hub import HfApi, errors

    if repository.local_files_only:
        if found := _cached_files(repository):
            return found
        raise CheckpointError(f"nothing of {repository.name} is in the cache, and only local files were asked for")
    try:
        return sorted(HfApi(token=repository.token).list_repo_files(repository.name, revision=repository.revision))
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise CheckpointError(
            f"the hub has no {repository.name} at revision {repository.revision or 'main'}, or it is private or "
            f"restricted (then pass token=): {error}"
        ) from error
    except (errors.HTTPError, errors.OfflineModeIsEnabled, OSError) as error:  # type: ignore[attr-defined]
        if found := _cached_files(repository):
            return found
        raise CheckpointError(
            f"the hub cannot be asked which files {repository.name} has, and none is in the cache: {error}"
        ) from error


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
