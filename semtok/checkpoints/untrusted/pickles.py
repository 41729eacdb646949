"""Pickles and joblib files without running them.

`pickle.load` is a machine whose program is the file: it imports what the file names and calls it. This machine follows
the same program, but names stay names and calls become `Stub`s, so that there is nothing in it that could be run: no
import, no call, no attribute that is set. It is not `pickle` with some doors locked. The bytes are split into
operations by the standard library's `pickletools.genops`, which interprets nothing.
"""

from __future__ import annotations

import io
import pickletools
import struct
from typing import Any, TypeVar

from semtok.checkpoints.untrusted.arrays import Array, byte_count
from semtok.checkpoints.untrusted.stubs import JOBLIB_ARRAY, Name, Stub, array_of, dtype_of, known_name
from semtok.errors import CheckpointError

_MAX_OPERATIONS = 50_000  # a MiniBatchKMeans has some 300
_MAX_PROTOCOL = 5
_MARK = object()
_KMEANS = ("sklearn.cluster._kmeans.KMeans", "sklearn.cluster._kmeans.MiniBatchKMeans")

_Container = TypeVar("_Container", list[object], dict[str, object])

# Operations that push the value written behind them.
_VALUES = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}


def read_kmeans(data: bytes) -> Array:
    """The `cluster_centers_` [codebook_size, dim] of scikit-learn's KMeans or MiniBatchKMeans, or an array itself.

    Args:
        data: content of a pickle or an uncompressed joblib file.

    Raises:
        CheckpointError: it holds something else, is malformed, or asks for any object that these do not need.
    """
    root = read_pickle(data)
    if not isinstance(root, Stub) or root.name not in _KMEANS:
        return array_of(root)
    if not isinstance(root.state, dict) or "cluster_centers_" not in root.state:
        raise CheckpointError(f"the {root.name} has no cluster_centers_: it was saved before it was fitted")
    return array_of(root.state["cluster_centers_"])


def read_pickle(data: bytes) -> object:
    """The content of a pickle or an uncompressed joblib file: Python's plain data, and stubs.

    Raises:
        CheckpointError: it is malformed, asks for an object that k-means files do not need, or uses an operation they
            do not need, such as the copyreg extension registry or persistent ids.
    """
    try:
        return _Machine(data).run()
    except CheckpointError:
        raise
    # All of them mean that operations and what they find on the stack do not fit.
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, struct.error) as error:
        raise CheckpointError(f"it is no pickle, or a damaged one: {str(error)[:200]}") from error


class _Machine:
    def __init__(self, data: bytes) -> None:
        self.data = memoryview(data)
        self.stream = io.BytesIO(data)
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> object:
        for count, (operation, argument, _) in enumerate(pickletools.genops(self.stream)):
            if count == _MAX_OPERATIONS:
                raise CheckpointError(f"the pickle has more than {_MAX_OPERATIONS} operations: it may be hostile")
            if operation.name in _VALUES:
                self.stack.append(argument)
            elif operation.name in _CONSTANTS:
                self.stack.append(_CONSTANTS[operation.name])
            elif not (self.refer(operation.name, argument) or self.collect(operation.name)):
                raise CheckpointError(
                    f"the pickle uses the operation {operation.name}, which k-means never needs: it is hostile, "
                    "or holds something else. Nothing of it was run"
                )
        return self.stack.pop()

    def refer(self, operation: str, argument: Any) -> bool:
        """Does an operation on the stack, the memo, names and objects; False if it is none of these."""
        stack = self.stack
        match operation:
            case "FRAME" | "STOP":
                pass
            case "PROTO":
                if argument > _MAX_PROTOCOL:
                    raise CheckpointError(f"it is a pickle of protocol {argument}, the last is {_MAX_PROTOCOL}")
            case "POP":
                stack.pop()
            case "POP_MARK":
                self.since_mark()
            case "DUP":
                stack.append(stack[-1])
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                # Integers of any size can be chosen to collide in a dict, which would take it hours.
                if argument > _MAX_OPERATIONS:
                    raise CheckpointError("the pickle numbers its objects higher than it has any: it may be hostile")
                self.memo[argument] = stack[-1]
            case "MEMOIZE":
                self.memo[len(self.memo)] = stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(self.memo[argument])
            case "GLOBAL":
                stack.append(known_name(*argument.split(" ", 1)))
            case "STACK_GLOBAL":
                name, module = stack.pop(), stack.pop()
                stack.append(known_name(module, name))
            case "REDUCE" | "NEWOBJ":
                arguments, function = stack.pop(), stack.pop()
                stack.append(_called(function, arguments))
            case "BUILD":
                state = stack.pop()
                self.build(stack[-1], state)
            case _:
                return False
        return True

    def collect(self, operation: str) -> bool:
        """Does an operation on tuples, lists and dicts; False if it is none."""
        stack = self.stack
        match operation:
            case "MARK":
                stack.append(_MARK)
            case "TUPLE":
                stack.append(tuple(self.since_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack.append(tuple(reversed([stack.pop() for _ in range(int(operation[-1]))])))
            case "EMPTY_LIST":
                stack.append([])
            case "LIST":
                stack.append(self.since_mark())
            case "APPEND":
                item = stack.pop()
                self.top(list).append(item)
            case "APPENDS":
                items = self.since_mark()
                self.top(list).extend(items)
            case "EMPTY_DICT":
                stack.append({})
            case "DICT":
                stack.append(_pairs(self.since_mark()))
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                self.top(dict).update(_pairs([key, value]))
            case "SETITEMS":
                items = self.since_mark()
                self.top(dict).update(_pairs(items))
            case _:
                return False
        return True

    def since_mark(self) -> list[Any]:
        items: list[Any] = []
        while (item := self.stack.pop()) is not _MARK:
            items.append(item)
        return items[::-1]

    def top(self, kind: type[_Container]) -> _Container:
        if type(self.stack[-1]) is not kind:
            raise CheckpointError(f"the pickle adds items to what is no {kind.__name__}: it is damaged or hostile")
        top: _Container = self.stack[-1]
        return top

    def build(self, stub: object, state: object) -> None:
        if not isinstance(stub, Stub) or stub.state is not None:
            raise CheckpointError("the pickle sets the state of what has none, or has one: it is damaged or hostile")
        stub.state = state
        if stub.name == JOBLIB_ARRAY:
            stub.data = self.joblib_array(state)

    def joblib_array(self, state: object) -> memoryview:
        """The bytes of an array, which joblib writes into the midst of the pickle, behind the operation at hand."""
        match state:
            case {"dtype": dtype, "shape": shape, **others}:
                size = byte_count(shape, dtype_of(dtype))
            case _:
                raise CheckpointError("joblib's description of an array is malformed")
        # Since joblib 1.2 padding goes before them, its length in one byte.
        if others.get("numpy_array_alignment_bytes") is not None:
            self.stream.seek(self.stream.read(1)[0], io.SEEK_CUR)
        start = self.stream.tell()
        if (missing := start + size - len(self.data)) > 0:
            raise CheckpointError(f"the file ends {missing} bytes before an array does: fetch it again")
        self.stream.seek(start + size)
        return self.data[start : start + size]


def _called(function: object, arguments: object) -> Stub:
    """The stub for what a call would have made. Old protocols make objects by `copyreg._reconstructor(class, ...)`."""
    if not isinstance(function, Name) or type(arguments) is not tuple:
        raise CheckpointError("the pickle calls what is no class or function: it is damaged or hostile")
    if function.name == "copyreg._reconstructor" and arguments and isinstance(arguments[0], Name):
        return Stub(arguments[0].name, ())
    return Stub(function.name, arguments)


def _pairs(items: list[Any]) -> dict[str, Any]:
    """Keys are strings: those of k-means are, and others can be made to collide, or take forever to hash."""
    keys, values = items[::2], items[1::2]
    if len(keys) != len(values) or not all(type(key) is str for key in keys):
        raise CheckpointError("the pickle has a dict whose keys are no strings: it is damaged, hostile, or no k-means")
    return dict(zip(keys, values, strict=True))
