"""The model of transformers with the weights of an encoder of semtok, as a peer."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from semtok.encoder.model import SpeechModel

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def of_transformers(model: SpeechModel) -> PreTrainedModel:
    """Transformers' model of the same config, with a copy of the weights."""
    from transformers import AutoConfig, AutoModel

    entries: dict[str, Any] = dataclasses.asdict(model.config)
    peer: PreTrainedModel = AutoModel.from_config(AutoConfig.for_model(**entries))
    peer.load_state_dict(model.state_dict())
    return peer.eval()
