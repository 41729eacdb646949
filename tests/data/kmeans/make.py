"""Writes the k-means files beside it, for `tests/test_pickles.py`, by the libraries that write them in the wild.

    python tests/data/kmeans/make.py current     # scikit-learn, joblib, lz4, faiss-cpu as installed
    python tests/data/kmeans/make.py old         # with joblib 1.1.0 on the path: no padding before arrays
    python tests/data/kmeans/make.py ancient     # with joblib 0.8.4: an array within the pickle, within a "ZF" file

Written with scikit-learn 1.9.1, joblib 1.6.0, numpy 2.4.6, torch 2.13, faiss 1.15.1 and lz4 4.4.5. Files of
scikit-learn before 0.22 differ in the names of modules; the old and ancient ones are made by classes of these names.
"""

from __future__ import annotations

import pickle
import sys
import types
from pathlib import Path

import joblib
import numpy as np

HERE = Path(__file__).parent


def current() -> None:
    import faiss
    import safetensors.numpy
    import torch
    from sklearn.cluster import KMeans, MiniBatchKMeans

    features = np.random.default_rng(0).normal(size=(400, 6))
    double = MiniBatchKMeans(8, n_init=1, random_state=np.random.RandomState(0), batch_size=64).fit(features)
    single = MiniBatchKMeans(8, n_init=1, random_state=0, batch_size=64).fit(features.astype(np.float32))
    plain = KMeans(8, n_init=1, random_state=0).fit(features)
    plain.cluster_centers_ = np.asfortranarray(double.cluster_centers_)
    # All files of one type hold the same centroids.
    single.cluster_centers_ = double.cluster_centers_.astype(np.float32)
    centroids = double.cluster_centers_
    np.save(HERE / "float64.npy", centroids)
    np.save(HERE / "float32.npy", single.cluster_centers_)
    np.save(HERE / "fortran_big_endian.npy", np.asfortranarray(centroids.astype(">f8")))
    np.savez_compressed(HERE / "compressed.npz", centroids=centroids)
    joblib.dump(double, HERE / "joblib_float64.pt")
    joblib.dump(single, HERE / "joblib_float32.pt")
    joblib.dump(plain, HERE / "joblib_fortran.bin")
    joblib.dump(centroids, HERE / "joblib_array.bin")
    joblib.dump(double, HERE / "joblib_protocol2.bin", protocol=2)
    for method in ("zlib", "gzip", "bz2", "lzma", "xz", "lz4"):
        joblib.dump(double, HERE / f"joblib_{method}.bin", compress=(method, 3))
    for protocol in range(6):
        (HERE / f"pickle_{protocol}.bin").write_bytes(pickle.dumps(double, protocol))
    (HERE / "pickle_array.bin").write_bytes(pickle.dumps(centroids))
    torch.save(torch.from_numpy(centroids), HERE / "torch_tensor.pt")
    torch.save({"cluster_centers_": torch.from_numpy(centroids)}, HERE / "torch_dict.pt")
    torch.save(torch.from_numpy(centroids), HERE / "torch_legacy.pt", _use_new_zipfile_serialization=False)
    safetensors.numpy.save_file({"centroids": centroids}, HERE / "matrix.safetensors")
    index = faiss.IndexFlatL2(6)
    index.add(single.cluster_centers_)
    faiss.write_index(index, str(HERE / "flat_l2.faiss"))
    unit = single.cluster_centers_ / np.linalg.norm(single.cluster_centers_, axis=1, keepdims=True)
    for name, vectors in (("flat_ip", unit), ("flat_ip_unequal_norms", single.cluster_centers_)):
        index = faiss.IndexFlatIP(6)
        index.add(vectors)
        faiss.write_index(index, str(HERE / f"{name}.faiss"))
    index = faiss.IndexIVFFlat(faiss.IndexFlatL2(6), 6, 2)
    index.train(single.cluster_centers_)
    faiss.write_index(index, str(HERE / "ivf.faiss"))


def estimator(module: str) -> object:
    """One of scikit-learn before 0.22, by name."""
    kind = type("MiniBatchKMeans", (), {"__module__": module})
    sys.modules[module] = types.ModuleType(module)
    sys.modules[module].MiniBatchKMeans = kind  # type: ignore[attr-defined]
    old = kind()
    old.cluster_centers_ = np.load(HERE / "float64.npy")
    old.n_clusters, old.random_state_ = 8, np.random.RandomState(0)
    return old


def old() -> None:
    for compress in (0, 3):
        name = "joblib_1.1_zlib.bin" if compress else "joblib_1.1.bin"
        joblib.dump(estimator("sklearn.cluster.k_means_"), HERE / name, compress=compress, protocol=2)


def ancient() -> None:
    joblib.dump(estimator("sklearn.cluster.k_means_"), str(HERE / "joblib_0.8_zlib.bin"), compress=3)
    joblib.dump(np.load(HERE / "float64.npy"), str(HERE / "joblib_0.8.bin"))
    for companion in HERE.glob("joblib_0.8.bin_*.npy"):
        companion.unlink()


if __name__ == "__main__":
    {"current": current, "old": old, "ancient": ancient}[sys.argv[1]]()
