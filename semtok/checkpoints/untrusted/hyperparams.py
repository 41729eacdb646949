"""YAML of other libraries as plain data; SpeechBrain's HyperPyYAML tags (`!new:`, `!ref`, `!apply:`) run nothing."""

from __future__ import annotations

import os
from typing import Any

import yaml

from semtok.checkpoints.untrusted.source import read_bytes, reading
from semtok.errors import CheckpointError

_MAX_BYTES = 1 << 18
_MAX_NODES = 50_000
_MAX_DEPTH = 50


def read_yaml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The entries of a YAML file. Of a value with a tag `!...`, the value is kept as it is written and the tag dropped:
    `!new:torch.nn.Linear {in_features: 2}` is `{"in_features": 2}`, `!ref <width>` is `"<width>"`.

    Raises:
        CheckpointError: it is missing, no YAML or no mapping, asks for Python objects (`!!python/...`), or is larger,
            deeper or (by aliases) wider than any such file has reason to be.
    """
    with reading(path) as path:
        try:
            text = read_bytes(path, _MAX_BYTES).decode()
            entries = _PlainLoader(text).get_single_data()
        except CheckpointError:
            raise
        # ValueError: no UTF-8, impossible dates and numbers; TypeError, AttributeError: merges and tags on wrong nodes.
        except (yaml.YAMLError, ValueError, TypeError, AttributeError, RecursionError) as error:
            raise CheckpointError(f"it is no YAML of plain data, and nothing of it was run: {error}") from error
        if not isinstance(entries, dict) or not all(isinstance(key, str) for key in entries):
            raise CheckpointError(f"expected names and values, found {type(entries).__name__}")
        return entries


class _PlainLoader(yaml.SafeLoader):
    """Counts nodes as they would be without aliases, so that no small file stands for a huge one."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.nodes = 0
        self.depth = 0
        self.sizes: dict[yaml.Node, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        alias = self.check_event(yaml.AliasEvent)
        before = self.nodes
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise CheckpointError(f"the YAML is nested more than {_MAX_DEPTH} deep: it may be hostile")
        node = super().compose_node(parent, index)
        self.depth -= 1
        if node is None:
            return None
        if alias and node not in self.sizes:
            raise CheckpointError("the YAML has an alias within what it stands for: it may be hostile")
        self.nodes += self.sizes[node] if alias else 1
        if self.nodes > _MAX_NODES:
            raise CheckpointError(f"the YAML stands for more than {_MAX_NODES} values: it may be hostile")
        self.sizes.setdefault(node, self.nodes - before)
        return node


def _value(loader: _PlainLoader, _tag: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_scalar(node)  # type: ignore[arg-type]


_PlainLoader.add_multi_constructor("!", _value)
