"""onnxruntime for browsers: its files from the package `onnxruntime-web` of npm, of one version, checked."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from semtok.errors import SemtokError

RUNTIME_VERSION = "1.30.0"
_DIGESTS = {
    "ort.wasm.min.js": "faece07e84faa9001f5104bbe4e5c70861d06cb2376a0dea1fa0ad33a67adc81",
    "ort-wasm-simd-threaded.mjs": "e13f7f94fc51b4ca72b12faeb1ee95f4ace6dfbc8939bc718aabdc0a27c4299b",
    "ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
_PACKAGE = f"onnxruntime-web@{RUNTIME_VERSION}"
_MINUTES = 10


def copy_runtime(folder: Path, runtime: str | os.PathLike[str] | None) -> None:
    """Puts the files that a page needs into a folder.

    Args:
        folder: that is there.
        runtime: the package, as `npm pack` makes it or as a folder; None has npm fetch it.

    Raises:
        SemtokError: npm is missing or fails; the package lacks a file, or is of another version.
    """
    with tempfile.TemporaryDirectory() as temporary:
        if runtime is not None and Path(runtime).is_dir():
            source = Path(runtime)
        else:
            source = _unpack(_fetch(temporary) if runtime is None else Path(runtime), Path(temporary))
        for name, digest in _DIGESTS.items():
            path = next((path for path in (source / "package/dist" / name, source / "dist" / name, source / name)
                         if path.is_file()), None)  # fmt: skip
            if path is None:
                raise SemtokError(f"{runtime or _PACKAGE} has no {name}: give what `npm pack {_PACKAGE}` writes")
            actual = hashlib.sha256(path.read_bytes()).hexdigest()
            if actual != digest:
                raise SemtokError(
                    f"{path.name} of {runtime or _PACKAGE} is not that of {_PACKAGE}: sha256 {actual}, expected "
                    f"{digest}. Give what `npm pack {_PACKAGE}` writes"
                )
            shutil.copyfile(path, folder / name)


def _fetch(temporary: str) -> Path:
    without = f"run `npm pack {_PACKAGE}` where there is a network, and name the file it writes with --runtime"
    npm = shutil.which("npm")
    if npm is None:
        raise SemtokError(f"there is no npm in the PATH to fetch {_PACKAGE}: install it, or {without}")
    command = [npm, "pack", _PACKAGE, "--silent", "--pack-destination", temporary]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=60 * _MINUTES, cwd=temporary)
    except subprocess.TimeoutExpired:
        raise SemtokError(f"npm did not fetch {_PACKAGE} in {_MINUTES} minutes: {without}") from None
    except subprocess.CalledProcessError as error:
        raise SemtokError(f"npm cannot fetch {_PACKAGE}: {error.stderr.strip()[-300:]}; {without}") from error
    return next(Path(temporary).glob("*.tgz"))


def _unpack(archive: Path, folder: Path) -> Path:
    """The files that are needed, whatever else is in the archive."""
    try:
        with tarfile.open(archive) as tar:
            for name in _DIGESTS:
                content = tar.extractfile(f"package/dist/{name}")
                assert content is not None
                (folder / name).write_bytes(content.read())
    except (OSError, EOFError, tarfile.TarError, KeyError, AssertionError) as error:
        raise SemtokError(f"{archive} cannot be read as what `npm pack {_PACKAGE}` writes: {error}") from error
    return folder
