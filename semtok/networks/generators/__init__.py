"""The generators, and which of them a vocoder has.

To add one: its config and its class in a file here, and its line in `GeneratorConfig`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from semtok.errors import ConfigError
from semtok.networks.generators.generator import Generator
from semtok.networks.generators.hifigan import HiFiGANConfig
from semtok.networks.generators.istft import ISTFTConfig

__all__ = ["GENERATORS", "Generator", "GeneratorConfig", "HiFiGANConfig", "ISTFTConfig"]


@dataclass(frozen=True)
class GeneratorConfig:
    """Which generator, by the one entry that is there: `{"hifigan": {...}}` or `{"istft": {...}}`."""

    hifigan: HiFiGANConfig | None = None
    istft: ISTFTConfig | None = None

    def __post_init__(self) -> None:
        if sum(getattr(self, name) is not None for name in GENERATORS) != 1:
            raise ConfigError(f"a generator is given by exactly one of the entries {', '.join(map(repr, GENERATORS))}")

    @property
    def name(self) -> str:
        """The entry that is there."""
        return next(name for name in GENERATORS if getattr(self, name) is not None)

    @property
    def title(self) -> str:
        """Its name for people."""
        title: str = getattr(self, self.name).title
        return title

    @property
    def hop_length(self) -> int:
        """Samples a frame."""
        hop_length: int = getattr(self, self.name).hop_length
        return hop_length

    def build(self, dim: int) -> Generator:
        """The generator with random weights, for input vectors of `dim`."""
        generator: Generator = getattr(self, self.name).build(dim)
        return generator


GENERATORS = tuple(field.name for field in dataclasses.fields(GeneratorConfig))
"""Their names, as configs have them."""
