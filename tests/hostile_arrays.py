"""Arrays, weights and archives that mean harm, beside the pickles of `hostile.py`."""

from __future__ import annotations

import bz2
import io
import json
import lzma
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import torch
from hostile import Files, call, text

# As torch.save began a file before version 1.6: a number, a protocol, a description of the machine.
LEGACY = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}."
UNPACKED = 1 << 22  # bytes that a bomb unpacks to; the bound is lowered to test it


def zip_of(**members: bytes) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return content.getvalue()


def torch_file(content: object, replaced: dict[str, bytes] | None = None) -> bytes:
    saved = io.BytesIO()
    torch.save(content, saved)
    with zipfile.ZipFile(saved) as archive:
        members = {name: archive.read(name) for name in archive.namelist()} | (replaced or {})
    return zip_of(**members)


def npy(descr: str, shape: str, data: bytes) -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


def safetensors(header: object, data: bytes = b"") -> bytes:
    encoded = json.dumps(header).encode()
    return struct.pack("<Q", len(encoded)) + encoded + data


def faiss(kind: bytes, dim: int, vectors: int, metric: int, count: int, data: bytes) -> bytes:
    return struct.pack("<4siq16x?iQ", kind, dim, vectors, True, metric, count) + data


def lying_arrays(canary: Path) -> Files:
    """Files of torch, numpy, safetensors and faiss."""
    mkdir = call("os", "mkdir", text(str(canary)))
    run = b"\x80\x02" + mkdir + b"."
    matrix = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        archive.addfile(member := tarfile.TarInfo("pickle"), io.BytesIO(run))
        member.size = len(run)
    big = torch_file(torch.zeros(4)).replace(b"K\x04", b"K\x7f")
    return {
        "torch": (torch_file(torch.zeros(1), {"archive/data.pkl": run}), "asks for '(os|posix).mkdir'"),
        "torch before 1.6": (LEGACY + run + b"\x80\x02].", "asks for '(os|posix).mkdir'"),
        "torch before 0.1": (tar.getvalue(), "begins with|begins otherwise"),
        # torch 2.6 gives the numbers that are there, which make no matrix
        "torch, a larger storage": (big, "cannot be read as weights alone|expected centroids"),
        "torch, one number repeated": (
            torch_file(torch.zeros(1).expand(1 << 20, 1 << 10)),
            "expand to 4294967296 bytes",
        ),
        "torch, a path upwards": (torch_file(torch.zeros(1), {"archive/../../x": b""}), "leads out of the archive"),
        "torch, no numbers behind it": (torch_file(torch.zeros(9, 9, device="meta")), "sparse, quantized, nested"),
        "npz, a path upwards": (zip_of(**{"../../x.npy": b""}), "leads out of the archive"),
        "npz, an absolute path": (zip_of(**{"/etc/x.npy": b""}), "leads out of the archive"),
        "npz, a path of Windows": (zip_of(**{"..\\x.npy": b""}), "leads out of the archive"),
        "npz, objects": (zip_of(**{"x.npy": npy("'|O'", "(1, 1)", run)}), "pickles in disguise|expected numbers"),
        "npz, damaged": (zip_of(**{"x.npy": b"x" * 99})[:-30], "damaged"),
        "npy, objects": (npy("'|O'", "(1, 1)", run), "Python objects"),
        "npy, a program": (npy(f"__import__('os').mkdir({str(canary)!r})", "(1, 1)", bytes(8)), "header is malformed"),
        "npy, a huge shape": (npy("'<f8'", "(99999999, 99999999)", bytes(8)), "exceeds the limit"),
        "npy, a shape too large": (npy("'<f8'", "(3, 3)", bytes(8)), "takes 72 bytes, found 8"),
        "npy, an endless header": (b"\x93NUMPY\x02\x00\xff\xff\xff\x7f{" + b" " * 5000, "header is malformed"),
        "safetensors, a header cut short": (struct.pack("<Q", 1 << 20) + b'{"a":{}}', "damaged"),
        "safetensors, a header too long": (struct.pack("<Q", 1 << 40) + b'{"a":{}}', "begins with|begins otherwise"),
        "safetensors, beyond the end": (safetensors({"a": matrix}, bytes(8)), "damaged"),
        "safetensors, an overlap": (safetensors({"a": matrix, "b": matrix}, bytes(16)), "damaged"),
        "safetensors, a hole": (safetensors({"a": matrix}, bytes(99)), "damaged"),
        "safetensors, a shape too large": (safetensors({"a": matrix | {"shape": [9, 9]}}, bytes(16)), "damaged"),
        "safetensors, no JSON": (struct.pack("<Q", 9) + b"{" * 9, "damaged"),
        "faiss, too few numbers": (faiss(b"IxF2", 4, 2, 1, 8, bytes(8)), "takes 32 bytes, found 8"),
        "faiss, a huge count": (faiss(b"IxF2", 1 << 20, 1 << 40, 1, 1 << 60, bytes(8)), "no integers|exceeds"),
        "faiss, a negative dimension": (faiss(b"IxF2", -4, -2, 1, 8, bytes(32)), "no integers"),
        "faiss, a contradiction": (faiss(b"IxF2", 4, 2, 0, 8, bytes(32)), "contradicts itself"),
        "faiss, cut": (b"IxF2\x00", "within its header"),
        "faiss, names of files": (b"IwFl" + b"../../x" * 9, "expected a flat one"),
    }


def bombs() -> Files:
    """Small files that unpack to `UNPACKED` bytes."""
    zeros = b"\x80\x02B" + struct.pack("<I", UNPACKED) + bytes(UNPACKED) + b"."
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", zeros)
    pickled = io.BytesIO()
    with zipfile.ZipFile(pickled, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", zeros)
    gzip = zlib.compressobj(wbits=31)
    return {
        "zlib": (zlib.compress(zeros), "unpacks to more than"),
        "gzip": (gzip.compress(zeros) + gzip.flush(), "unpacks to more than"),
        "bz2": (bz2.compress(zeros), "unpacks to more than"),
        "xz": (lzma.compress(zeros), "unpacks to more than"),
        "lzma": (lzma.compress(zeros, lzma.FORMAT_ALONE), "unpacks to more than"),
        "npz": (packed.getvalue(), "the limit is"),
        "torch": (pickled.getvalue(), "unpacks to more than its size"),
        "lzma, 2 GiB of memory": (b"\x5d\x00\x00\x00\x80" + b"\xff" * 8 + bytes(64), "damaged: Memory usage"),
    }
