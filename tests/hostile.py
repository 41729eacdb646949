"""Pickles that mean harm: to run code, to fill the memory, to take forever, or to pass for what they are not."""

from __future__ import annotations

import bz2
import pickle
import struct
import zlib
from pathlib import Path

from helpers import DATA

FIXTURES = DATA / "kmeans"
KMEANS = b"\x80\x02csklearn.cluster._kmeans\nKMeans\n)\x81"
FLOATS = b"U\x02f8"

Files = dict[str, tuple[bytes, str]]
"""By what is wrong: the content, and a pattern of the error."""


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def integer(value: int) -> bytes:
    encoded = pickle.encode_long(value)
    return b"\x8a" + bytes([len(encoded)]) + encoded


def call(module: str, name: str, *arguments: bytes) -> bytes:
    return f"c{module}\n{name}\n(".encode() + b"".join(arguments) + b"tR"


def call_by_stack(module: bytes, name: bytes, argument: bytes) -> bytes:
    return module + name + b"\x93" + argument + b"\x85R"


def kmeans(*attributes: bytes) -> bytes:
    return KMEANS + b"}(" + b"".join(attributes) + b"ub."


def dtype(code: bytes) -> bytes:
    return b"cnumpy\ndtype\n(" + code + b"K\x00K\x01tR(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"


def numpy_array(code: bytes, shape: tuple[int, int], data: bytes) -> bytes:
    made = call("numpy.core.multiarray", "_reconstruct", b"cnumpy\nndarray\n", b"K\x00\x85", b"C\x01b")
    return made + b"(K\x01" + integer(shape[0]) + integer(shape[1]) + b"\x86" + dtype(code) + b"\x89" + data + b"tb"


def joblib_array(code: bytes, shape: tuple[int, int], data: bytes) -> bytes:
    """A description and then, amid the pickle, bytes that are no part of it."""
    size = integer(shape[0]) + integer(shape[1]) + b"\x86"
    state = text("dtype") + dtype(code) + text("shape") + size + text("order") + text("C")
    return b"cjoblib.numpy_pickle\nNumpyArrayWrapper\n)\x81}(" + state + b"ub" + data


def running(canary: Path) -> Files:
    """Pickles that make the folder `canary` when `pickle.load` reads them."""
    folder = text(str(canary))
    statement = text(f"__import__('os').mkdir({str(canary)!r})")
    mkdir = call("os", "mkdir", folder)
    found = call("builtins", "getattr", call("builtins", "__import__", text("os")), text("mkdir"))
    confusion = text("os") + b"q\x00" + text("mkdir") + b"q\x01" + text("numpy") + b"\x94" + text("dtype") + b"\x94"
    pollution = b"cnumpy\nprod\nN}" + text("a") + text("os") + b"s\x86b0cnumpy\nprod.a\n"
    inner = b"\x80\x02" + mkdir + b"."
    harmless = (FIXTURES / "pickle_4.bin").read_bytes()
    pickles = {
        "a text pickle": (f"cos\nmkdir\n(V{canary}\ntR".encode(), "asks for 'os.mkdir'"),
        "a shell": (call("os", "system", text(f"mkdir '{canary}'")), "asks for 'os.system'"),
        "the platform's os": (call("posix", "mkdir", folder), "asks for 'posix.mkdir'"),
        "a process": (call("subprocess", "call", b"](" + text("mkdir") + folder + b"e"), "asks for 'subprocess.call'"),
        "a name by the stack": (call_by_stack(text("os"), text("mkdir"), folder), "asks for 'os.mkdir'"),
        "eval": (call("builtins", "eval", statement), "asks for 'builtins.eval'"),
        "eval of Python 2": (b"\x80\x02" + call("__builtin__", "eval", statement), "asks for 'builtins.eval'"),
        "exec": (call("builtins", "exec", statement), "asks for 'builtins.exec'"),
        "nested reduce": (found + folder + b"\x85R", "asks for 'builtins.getattr'"),
        "os by way of numpy": (
            call_by_stack(text("numpy"), text("f2py.os.mkdir"), folder),
            "asks for 'numpy.f2py.os.mkdir'",
        ),
        "numpy's exec": (call("numpy.testing._private.utils", "runstring", statement, b"}"), "asks for 'numpy.testing"),
        "a pickle in a pickle": (
            call("pickle", "loads", b"C" + bytes([len(inner)]) + inner),
            "asks for 'pickle.loads'",
        ),
        "memo confusion": (confusion + call_by_stack(b"h\x00", b"h\x01", folder), "asks for 'os.mkdir'"),
        "a name hidden in an attribute": (
            pollution + call_by_stack(b"", text("mkdir"), folder),
            "asks for 'numpy.prod'",
        ),
        "operation INST": (KMEANS + b"0(" + folder + b"ios\nmkdir\n", "operation INST"),
        "operation OBJ": (b"(cos\nmkdir\n" + folder + b"o", "asks for 'os.mkdir'"),
        "operation NEWOBJ_EX": (
            b"cfunctools\npartial\ncos\nmkdir\n\x85}\x92" + folder + b"\x85R",
            "asks for 'functools",
        ),
        "map": (
            call("builtins", "list", call("builtins", "map", b"cos\nmkdir\n", folder + b"\x85")),
            "'builtins.list'",
        ),
        "after k-means": (harmless[:-1] + mkdir + b"0", "asks for 'os.mkdir'"),
    }
    headed = {
        name: (data + b"." if data.startswith((b"\x80", b"cos\nmkdir\n(V")) else b"\x80\x04" + data + b".", message)
        for name, (data, message) in pickles.items()
    }
    return headed | {"a parameter of k-means": (kmeans(text("tol"), mkdir), "asks for 'os.mkdir'")}


def lying_pickles(canary: Path) -> Files:
    """Pickles and joblib files that mean no good in other ways, or hide what they run from `pickle.load` itself."""
    mkdir = call("os", "mkdir", text(str(canary)))
    centers = text("cluster_centers_")
    nested = numpy_array(b"U\x02O8", (1, 1), b"](" + mkdir + b"e")
    plain = (FIXTURES / "joblib_1.1.bin").read_bytes()
    return {
        "objects in numpy's array": (kmeans(centers, nested), "asks for 'os.mkdir'"),
        "objects in an array": (kmeans(centers, numpy_array(b"U\x02O8", (1, 1), b"C\x00")), "pickles in disguise"),
        "objects in joblib's array": (
            kmeans(centers, joblib_array(b"U\x02O8", (1, 1), b"\x80\x02" + mkdir + b".")),
            "pickles in disguise",
        ),
        "zlib": (zlib.compress(KMEANS + b"}(" + centers + mkdir + b"ub."), "asks for 'os.mkdir'"),
        "bz2": (bz2.compress(KMEANS + b"}(" + centers + mkdir + b"ub."), "asks for 'os.mkdir'"),
        "joblib before 0.10": (b"ZF" + b"0x40".ljust(19) + zlib.compress(b"\x80\x02" + mkdir + b"."), "'os.mkdir'"),
        "a registered extension": (b"\x80\x02\x82\x01)R.", "operation EXT1"),
        "a persistent id": (b"\x80\x02" + text("x") + b"Q.", "operation BINPERSID"),
        "a buffer from outside": (b"\x80\x05\x97.", "operation NEXT_BUFFER"),
        "a set": (b"\x80\x04(K\x01\x91.", "operation FROZENSET"),
        "a call of a string": (b"\x80\x02" + text("os.mkdir") + b")R.", "no class or function"),
        "a state for a class": (b"\x80\x02cnumpy\nndarray\n}b.", "sets the state"),
        "a second state": (KMEANS + b"}b}b.", "sets the state"),
        "a path to another folder": (
            b"\x80\x02cjoblib.numpy_pickle\nNDArrayWrapper\n)\x81}(" + text("filename") + text("../../x") + b"ub.",
            "joblib before 0.10",
        ),
        "a huge shape": (kmeans(centers, numpy_array(FLOATS, (1 << 28, 1 << 20), b"C\x00")), "exceeds the limit"),
        "a huge joblib shape": (kmeans(centers, joblib_array(FLOATS, (1 << 28, 1 << 20), b"")), "exceeds the limit"),
        "a shape too large": (
            kmeans(centers, numpy_array(FLOATS, (9, 2), b"C\x10" + bytes(16))),
            "144 bytes, found 16",
        ),
        "a joblib shape too large": (kmeans(centers, joblib_array(FLOATS, (99, 99), bytes(8))), "before an array does"),
        "a negative shape": (kmeans(centers, joblib_array(FLOATS, (-1, -1), bytes(8))), "entries that are no integers"),
        "cut within an array": (plain[: len(plain) // 2], "before an array does"),
        "cut within a pickle": (plain[:40], "no pickle, or a damaged one"),
        "too many operations": (b"\x80\x02" + b"N0" * 50_000 + b"N.", "more than 50000 operations"),
        "tuples in tuples": (b"\x80\x02)" + b"\x85" * 40_000 + b".", "expected an array, found tuple"),
        "tuples doubled": (b"\x80\x02)" + b"2\x86" * 200 + b".", "expected an array, found tuple"),
        "a key that takes forever": (b"\x80\x02})" + b"2\x86" * 200 + b"Ns.", "keys are no strings"),
        "keys that collide": (b"\x80\x02}" + integer((1 << 61) - 1) + b"Ns.", "keys are no strings"),
        "memo numbers that collide": (b"\x80\x02Np%d\n." % ((1 << 61) - 1), "numbers its objects higher"),
        "a number without end": (b"\x80\x02I" + b"9" * 100_000 + b"\n.", "no pickle, or a damaged one"),
        "a stack run empty": (b"\x80\x02000.", "no pickle, or a damaged one"),
        "a page of the web": (b"<!DOCTYPE html><html>", "begins with"),
        "a pointer to a file": (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        "nothing": (b"", "begins with"),
    }
