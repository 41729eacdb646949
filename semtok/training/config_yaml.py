"""The YAML of configs: that of PyYAML, but that numbers are numbers and words are words.

PyYAML reads YAML 1.1, in which `1e-3` is text, `010` is eight, `1:30` is ninety, `no` is false and `2024-01-02` a date.
Here numbers are decimal, with or without an exponent, only `true` and `false` are truth values, and a key that comes
twice is an error.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any

from semtok.errors import ConfigError

if TYPE_CHECKING:
    import yaml

_FLOAT = re.compile(
    r"[-+]?(?:(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?|[0-9][0-9_]*[eE][-+]?[0-9]+"
    r"|\.(?:inf|Inf|INF))$|\.(?:nan|NaN|NAN)$"
)
_INT = re.compile(r"[-+]?[0-9][0-9_]*$")
_BOOL = re.compile(r"(?:true|True|TRUE|false|False|FALSE)$")


def parse_yaml(text: str, where: str) -> Any:
    """The entries of a YAML text; `where` names it in errors.

    Raises:
        ConfigError: the text is not YAML, or a section has a key twice.
    """
    import yaml

    try:
        return yaml.load(text, Loader=_loader())  # a kind of SafeLoader: plain values, and no tags that make objects
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{where} is not YAML: {error}") from error


_REPLACED = ("bool", "float", "int", "timestamp")


@functools.cache
def _loader() -> type[yaml.SafeLoader]:
    import yaml

    class ConfigLoader(yaml.SafeLoader):
        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise yaml.constructor.ConstructorError(
                    None, None, f"the keys {twice} are given more than once", node.start_mark
                )
            return super().construct_mapping(node, deep=deep)

    # no resolver of dates takes the place of the one left out: a folder may be named like a date
    ConfigLoader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag.rpartition(":")[2] not in _REPLACED]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    ConfigLoader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))
    ConfigLoader.add_implicit_resolver("tag:yaml.org,2002:int", _INT, list("-+0123456789"))
    ConfigLoader.add_implicit_resolver("tag:yaml.org,2002:bool", _BOOL, list("tTfF"))
    ConfigLoader.add_constructor("tag:yaml.org,2002:int", lambda loader, node: int(node.value.replace("_", "")))
    return ConfigLoader
