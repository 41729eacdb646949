"""Speech encoder: waveforms -> hidden states of some layers. Layers above the deepest of these are not run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from semtok.audio.lengths import frame_mask
from semtok.codebooks.layers import Layer, Mixture, check_layers, check_mixtures, deepest
from semtok.encoder.families import adopt
from semtok.encoder.front_end import SAMPLE_RATE
from semtok.encoder.model import SpeechModel
from semtok.encoder.statistics import RunningStatistics, Statistics, has_float64, regroup
from semtok.errors import AudioError, LayerError
from semtok.networks.precision import exact_float32

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Statistics are gathered in pieces of this length, so that they do not depend on how a recording arrives.
_STATISTICS_SECONDS = 10


class Encoder(nn.Module):
    """A frozen self-supervised speech model that gives a clip the same features alone and in any batch.

    Everything that looks across time (input normalisation, group norm, convolutions over frames, attention) sees the
    valid samples and frames of its own clip only. On a single clip the features are those of transformers' model.

    The encoder stays in eval mode even after `train()`, as dropout and layer drop would change features from call to
    call.

    Args:
        model: a model of `read_encoder`; or a Data2VecAudioModel, HubertModel, UniSpeechSatModel, Wav2Vec2Model,
            Wav2Vec2BertModel or WavLMModel of transformers, whose weights are then shared, not copied. It may hold
            fewer layers than the published model, if only the lower ones are needed.
        normalize: whether the model was trained on inputs of zero mean and unit variance (`do_normalize` of its
            feature extractor). For w2v-BERT, whether mel bands are normalised, as in all published models.
        normalize_epsilon: added to the variance of the input, which matters for quiet clips: 1e-7 in transformers,
            1e-5 in fairseq and SpeechBrain. For w2v-BERT the value is fixed.
        mixtures: weights of layers by a name, which then stands for a layer: the weighted sum of these layers, each of
            zero mean and unit variance in every frame.

    Raises:
        CheckpointError: the model is of another family.
        ConfigError: the model's config has an entry that semtok cannot run; weights that are no mixture.
        LayerError: a mixture of a layer that the model lacks.
    """

    sample_rate = SAMPLE_RATE

    def __init__(
        self,
        model: SpeechModel | PreTrainedModel,
        *,
        normalize: bool,
        normalize_epsilon: float = 1e-7,
        mixtures: Mapping[str, Mixture] | None = None,
    ) -> None:
        super().__init__()
        self.model = model if isinstance(model, SpeechModel) else adopt(model)
        self.normalize = normalize
        self.normalize_epsilon = normalize_epsilon
        self._run_layer = _run_layer
        self._compiled = False
        self.framing = self.model.framing
        self.mixtures = check_mixtures(mixtures or {})
        for name, weights in self.mixtures.items():
            check_layers(weights, range(self.num_layers + 1), owner=f"the encoder of mixture {name!r}")
        self.requires_grad_(False).eval()

    @property
    def hop_length(self) -> int:
        """Samples from one frame to the next."""
        return self.framing.hop_length

    @property
    def minimum_samples(self) -> int:
        """Samples of the shortest clip that gives one frame."""
        return self.framing.minimum_samples

    @property
    def dim(self) -> int:
        return self.model.config.hidden_size

    @property
    def num_layers(self) -> int:
        """The highest layer. The lowest one is 0, the input of layer 1."""
        return len(self._layers)

    @property
    def _layers(self) -> nn.ModuleList:
        return self.model.encoder.layers

    def frame_count(self, samples: int) -> int:
        """Frames that a clip of so many samples gives."""
        return self.framing.count(samples)

    def compile_layers(self) -> None:
        """Compiles the transformer layers by `torch.compile` on next use, for clips of any lengths."""
        self._run_layer = torch.compile(_run_layer, dynamic=True)
        self._compiled = True

    def __getstate__(self) -> dict[str, Any]:
        # The compiled function cannot be pickled; `__setstate__` compiles again.
        return {name: value for name, value in self.__dict__.items() if name != "_run_layer"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._run_layer = _run_layer
        if self._compiled:
            self.compile_layers()

    def train(self, mode: bool = True) -> Encoder:
        """Does nothing: the encoder stays in eval mode."""
        return super().train(False)

    def running_statistics(self) -> RunningStatistics:
        """Statistics of a recording that arrives piece by piece, still without any samples."""
        return self.model.running_statistics(normalize=self.normalize, epsilon=self.normalize_epsilon)

    @torch.inference_mode()
    def statistics(self, blocks: Iterable[Tensor]) -> Statistics:
        """Statistics of a whole recording, which `forward` needs to run on pieces of the recording.

        Args:
            blocks: the samples of the recording in consecutive blocks, float32 [samples] each. The lengths of the
                blocks do not change the result.

        Raises:
            AudioError: the recording is shorter than one frame.
        """
        gathered = self.running_statistics()
        samples = 0
        for piece in regroup(blocks, _STATISTICS_SECONDS * self.sample_rate):
            gathered.add(piece if has_float64(piece.device) else piece.cpu())
            samples += len(piece)
        if samples < self.minimum_samples:
            raise AudioError(
                f"a recording of {samples} samples at {self.sample_rate} Hz has no statistics: "
                f"it needs the {self.minimum_samples} of one frame"
            )
        return gathered.current()

    def forward(
        self,
        waveforms: Tensor,
        lengths: Tensor,
        layers: Sequence[Layer],
        statistics: Sequence[Statistics] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Features of some layers, from one run up to the deepest of them.

        Args:
            waveforms: float32 [batch, samples] at 16 kHz on the model's device. Samples past a clip's length are
                ignored.
            lengths: samples of each clip, int64 [batch].
            layers: numbers from 0 to `num_layers` and names of mixtures, in any order. Layer 0 is the input of layer 1,
                and layer l the output of transformer layer l: `hidden_states[l]` of transformers, without the final
                layer norm of pre-norm encoders.
            statistics: for each clip that is a piece of a recording, the statistics of the recording. By default every
                clip is a whole recording.

        Returns:
            Features [batch, layers, frames, dim], 0 past each clip's frames, and the frames of each clip, int64
            [batch].

        Raises:
            AudioError: a clip is shorter than one frame, or longer than the waveforms.
            LayerError: no layers, or layers that the encoder lacks.
        """
        samples = self._check(waveforms, lengths, layers)
        device, dtype = waveforms.device, next(self.parameters()).dtype
        counts = [self.framing.count(length) for length in samples]
        frame_lengths, frames = torch.tensor(counts), max(counts)
        valid = frame_mask(frame_lengths, frames).to(device)
        # Outside of inference mode, whose tensors cannot be trained on. The values of a layer are contiguous.
        features = torch.zeros(len(layers), len(counts), frames, self.dim, dtype=dtype, device=device)
        with torch.inference_mode(), exact_float32(device):
            waveforms = waveforms[:, : max(samples)]
            if statistics is None:
                clips = waveforms if has_float64(device) else waveforms.cpu()
                statistics = [self.statistics([clip[:length]]) for clip, length in zip(clips, samples, strict=True)]
            hidden = self.model.embed(waveforms, samples, valid, statistics)
            mask = None
            if min(counts) < frames:
                mask = torch.zeros(valid.shape, dtype=dtype, device=device).masked_fill(~valid, -torch.inf)[
                    :, None, None
                ]
            terms = self.model.attention_terms(frames, mask)
            for number in range(deepest(layers, self.mixtures) + 1):
                if number > 0:
                    hidden = self._run_layer(self._layers[number - 1], hidden, *terms)
                for place, layer in enumerate(layers):
                    if layer == number:
                        features[place] = hidden.masked_fill(~valid[:, :, None], 0)
                    elif isinstance(layer, str) and number in self.mixtures[layer]:
                        mixed = self.mixtures[layer][number] * normalized(hidden)
                        features[place] += mixed.masked_fill(~valid[:, :, None], 0)
        return features.transpose(0, 1), frame_lengths.to(device)

    def _check(self, waveforms: Tensor, lengths: Tensor, layers: Sequence[Layer]) -> list[int]:
        """Checks the arguments of `forward`, and gives the lengths as integers."""
        if waveforms.ndim != 2 or len(waveforms) == 0 or lengths.shape != waveforms.shape[:1]:
            raise AudioError(
                "expected waveforms [batch >= 1, samples] and lengths [batch], "
                f"got shapes {list(waveforms.shape)} and {list(lengths.shape)}"
            )
        samples: list[int] = lengths.tolist()
        for clip, length in enumerate(samples):
            if not self.minimum_samples <= length <= waveforms.shape[1]:
                raise AudioError(
                    f"clip {clip} has {length} samples; a clip needs at least {self.minimum_samples} "
                    f"({self.minimum_samples / self.sample_rate:.3f} s), and these waveforms hold {waveforms.shape[1]}"
                )
        available = (*range(self.num_layers + 1), *self.mixtures)
        if not layers or any(layer not in available for layer in layers):
            raise LayerError(
                f"asked for layers {list(layers)}; the encoder has layers {', '.join(map(str, available))}"
            )
        return samples


def normalized(hidden: Tensor) -> Tensor:
    """Features [..., dim] of a layer as mixtures take them: of zero mean and unit variance in every frame.

    Over the frame alone, so that neither padding nor windows nor what is yet to come changes it.
    """
    return nn.functional.layer_norm(hidden, hidden.shape[-1:])


def _run_layer(layer: nn.Module, hidden: Tensor, *terms: Tensor | None) -> Tensor:
    """The output of a transformer layer, of the same shape as its input, [batch, frames, dim]."""
    output: Tensor = layer(hidden, *terms)
    return output
