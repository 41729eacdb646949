"""Changes to the entries of a config, as the command line gives them."""

from __future__ import annotations

from typing import Any

from semtok.errors import ConfigError
from semtok.training.config_yaml import parse_yaml


def apply_change(change: str, entries: Any) -> None:
    """Sets one entry by "key=value" or "section.key=value", the value YAML; a number chooses from a list.

    Raises:
        ConfigError: if the change is no such pair, or leads through what is no section.
    """
    name, equals, text = change.partition("=")
    *sections, last = name.split(".")
    try:
        value = parse_yaml(text, repr(text))
        for section in sections:
            entries = entries[int(section)] if isinstance(entries, list) else entries.setdefault(section, {})
        if isinstance(entries, list):
            entries[int(last)] = value
        else:
            entries[last] = value
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        raise ConfigError(f"--set {change}: {name} cannot be set, {error}") from error
    if not equals:
        raise ConfigError(f"--set {change}: expected key=value or section.key=value")
