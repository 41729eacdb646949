"""Other people's files: all that are honest are read, and of those that are not nothing is run."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path

import hostile
import hostile_arrays
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from semtok.checkpoints.untrusted import read_centroids, read_state_dict
from semtok.errors import CheckpointError

FIXTURES = hostile.FIXTURES
CENTROIDS = torch.from_numpy(np.load(FIXTURES / "float32.npy"))
HONEST = sorted(
    path
    for path in FIXTURES.iterdir()
    if path.suffix != ".py" and path.stem not in {"flat_ip", "flat_ip_unequal_norms", "ivf", "joblib_0.8", "joblib_lz4"}
)


@pytest.mark.parametrize("path", HONEST, ids=lambda path: path.name)
def test_every_form_gives_the_same_centroids(path: Path) -> None:
    centroids = read_centroids(path)
    assert centroids.dtype == torch.float32
    assert torch.equal(centroids, CENTROIDS)


def test_neither_name_nor_folder_tells_the_format(tmp_path: Path) -> None:
    path = tmp_path / "centroids.npy"
    path.write_bytes((FIXTURES / "joblib_xz.bin").read_bytes())
    assert torch.equal(read_centroids(str(path)), CENTROIDS)


@pytest.mark.parametrize("codebook_size", [123, 379, 635])
def test_a_file_whose_ninth_byte_begins_json_is_none_of_safetensors(tmp_path: Path, codebook_size: int) -> None:
    points = torch.randn(codebook_size, 4)
    flat = hostile_arrays.faiss(b"IxF2", 4, codebook_size, 1, points.numel(), points.numpy().tobytes())
    shape = f"({codebook_size}, 4".ljust(123 - len("{'descr': '<f4', 'fortran_order': False, 'shape': ), }")) + ")"
    npy = hostile_arrays.npy("'<f4'", shape, points.numpy().tobytes())  # with a header of 123 bytes
    for content in (flat, npy):
        assert content[8:9] == b"{"
        (tmp_path / "x").write_bytes(content)
        assert torch.equal(read_centroids(tmp_path / "x"), points)


def test_a_number_beside_the_centroids(tmp_path: Path) -> None:
    """As soft-vc publishes them."""
    torch.save({"n_features_in_": 5, "_n_threads": 4, "cluster_centers_": CENTROIDS}, tmp_path / "kmeans100.pt")
    assert torch.equal(read_centroids(tmp_path / "kmeans100.pt"), CENTROIDS)


def test_inner_product_index_of_equal_norms() -> None:
    unit = CENTROIDS / CENTROIDS.norm(dim=1, keepdim=True)
    torch.testing.assert_close(read_centroids(FIXTURES / "flat_ip.faiss"), unit)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("flat_ip_unequal_norms.faiss", "norms from 1.26 to 1.885"),
        ("ivf.faiss", "type b'IwFl': expected a flat one"),
        ("joblib_0.8.bin", "in files beside it, as joblib before 0.10"),
        ("make.py", "its content begins with"),
        ("missing.bin", "cannot read .*No such file"),
    ],
)
def test_what_is_not_read_says_why(name: str, message: str) -> None:
    with pytest.raises(CheckpointError, match=message) as caught:
        read_centroids(FIXTURES / name)
    assert name in str(caught.value)


def test_lz4_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lz4.frame", None)
    with pytest.raises(CheckpointError, match="pip install lz4"):
        read_centroids(FIXTURES / "joblib_lz4.bin")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(5, np.float32), r"found float32 \[5\]"),
        (np.zeros((0, 5), np.float32), r"found float32 \[0, 5\]"),
        (np.zeros((2, 5), np.int64), r"found int64 \[2, 5\]"),
        (np.full((2, 5), np.nan), "NaN"),
        (np.full((2, 5), 1e300), "too large for float32"),
    ],
)
def test_arrays_that_are_no_centroids(tmp_path: Path, array: np.ndarray, message: str) -> None:
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(CheckpointError, match=message):
        read_centroids(tmp_path / "x.npy")


def test_several_matrices_are_listed(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(2, 3), "b": torch.zeros(4, 3)}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=r"found 2 among \{'a': \[2, 3\], 'b': \[4, 3\]\}"):
        read_centroids(tmp_path / "x.pt")


def test_unfitted_kmeans(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(hostile.kmeans(hostile.text("n_clusters"), b"K\x08"))
    with pytest.raises(CheckpointError, match="before it was fitted"):
        read_centroids(tmp_path / "x")


@pytest.mark.parametrize("name", ["torch_dict.pt", "matrix.safetensors"])
def test_state_dict(name: str) -> None:
    ((_, tensor),) = read_state_dict(FIXTURES / name).items()
    assert torch.equal(tensor, CENTROIDS)


def test_state_dict_keeps_integers_and_widens_halves(tmp_path: Path) -> None:
    torch.save({"a": torch.tensor([1 << 40]), "b": torch.ones(2, dtype=torch.bfloat16)}, tmp_path / "x.pt")
    read = read_state_dict(tmp_path / "x.pt")
    assert torch.equal(read["a"], torch.tensor([1 << 40]))
    assert read["b"].dtype == torch.float32


def test_state_dict_holds_names_and_tensors_alone(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(2), "epoch": 3}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match="expected names and tensors, found 'epoch': int"):
        read_state_dict(tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match="a single tensor: expected a dict"):
        read_state_dict(FIXTURES / "torch_tensor.pt")


# A relative path, so that the files are the same wherever the tests run.
CANARY = Path("canary")
HOSTILE = hostile.running(CANARY) | hostile.lying_pickles(CANARY) | hostile_arrays.lying_arrays(CANARY)


@pytest.fixture(scope="module")
def bombs() -> hostile.Files:
    return hostile_arrays.bombs()


@pytest.mark.parametrize("name", list(HOSTILE))
def test_hostile_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    content, message = HOSTILE[name]
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        read_centroids(path)
    with pytest.raises(CheckpointError):
        read_state_dict(path)
    assert not CANARY.exists()


@pytest.mark.parametrize("name", ["zlib", "gzip", "bz2", "xz", "lzma", "npz", "torch", "lzma, 2 GiB of memory"])
def test_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bombs: hostile.Files, name: str) -> None:
    for module in ("compression", "arrays"):
        monkeypatch.setattr(f"semtok.checkpoints.untrusted.{module}.MAX_BYTES", hostile_arrays.UNPACKED // 2)
    content, message = bombs[name]
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        read_centroids(tmp_path / "file")


# What the interpreter itself reports of a process that reads every file: sys.addaudithook sees each program, process,
# socket and folder made, whatever way leads to it.
WATCH = """
import json, sys
from pathlib import Path
from semtok.checkpoints.untrusted import read_centroids, read_state_dict
from semtok.errors import CheckpointError
honest, hostile = (sorted(Path(folder).iterdir()) for folder in sys.argv[1:])
seen, refused = [], []
def read(path):
    for reader in (read_centroids, read_state_dict):
        try:
            reader(path)
        except CheckpointError:
            refused.append(path.name)
def watch(event, arguments):
    if event.startswith(("os.system", "os.exec", "os.posix_spawn", "os.fork", "os.mkdir", "subprocess", "socket")):
        seen.append(event)
    if event == "open" and arguments[1] not in ("r", "rb", None):
        seen.append(f"{event} {arguments}")
for path in honest:
    read(path)
sys.addaudithook(watch)
for path in hostile[:1]:
    read(path)
modules, refused[:] = set(sys.modules), []
for path in hostile:
    read(path)
print(json.dumps({"seen": seen, "refused": len(refused), "new": sorted(set(sys.modules) - modules),
                  "loaded": sorted({"sklearn", "joblib", "faiss", "scipy"} & set(sys.modules))}))
"""
RUN = """
import contextlib, pickle, sys, types
for name in ("sklearn", "sklearn.cluster", "sklearn.cluster._kmeans"):
    sys.modules[name] = types.ModuleType(name)
sys.modules["sklearn.cluster._kmeans"].KMeans = type("KMeans", (), {})
sys.modules["sklearn.cluster._kmeans"].MiniBatchKMeans = type("MiniBatchKMeans", (), {})
for name in sys.argv[1:]:
    with open(name, "rb") as file, contextlib.suppress(Exception):
        pickle.load(file)
"""


def test_nothing_is_run_or_imported(tmp_path: Path) -> None:
    for number, (content, _) in enumerate(HOSTILE.values()):
        (tmp_path / f"{number:03}").write_bytes(content)
    command = [sys.executable, "-W", "ignore", "-c", WATCH, str(FIXTURES), str(tmp_path)]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path).stdout)
    assert found == {"seen": [], "refused": 2 * len(HOSTILE), "new": [], "loaded": []}


def test_the_hostile_pickles_do_run_in_pickle(tmp_path: Path) -> None:
    """Without this the tests above could pass for files that do no harm."""
    names = list(hostile.running(CANARY))
    for number, name in enumerate(names):
        (tmp_path / f"{number}.pkl").write_bytes(hostile.running(Path(str(number)))[name][0])
    pickles = [f"{number}.pkl" for number in range(len(names))]
    subprocess.run([sys.executable, "-W", "ignore", "-c", RUN, *pickles], check=True, cwd=tmp_path)
    harmless = {name for number, name in enumerate(names) if not (tmp_path / str(number)).is_dir()}
    # two of them name parts of numpy 2
    assert harmless == (set() if np.__version__ >= "2" else {"os by way of numpy", "after k-means"})


# Python's own word about damaged text in a pickle
@pytest.mark.filterwarnings(
    "ignore:invalid escape sequence:DeprecationWarning", "ignore:invalid octal:DeprecationWarning"
)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=st.sampled_from(HONEST), edits=st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=4)), max_size=6))
def test_a_damaged_file_is_read_or_refused(tmp_path: Path, path: Path, edits: list[tuple[float, bytes]]) -> None:
    content = bytearray(path.read_bytes())
    for place, replacement in edits:
        start = int(place * len(content))
        content[start : start + max(len(replacement), 1)] = replacement
    (tmp_path / "file").write_bytes(content)
    with contextlib.suppress(CheckpointError):
        centroids = read_centroids(tmp_path / "file")
        assert centroids.dtype == torch.float32
        assert centroids.isfinite().all()
