"""The config of a vocoder's training."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from semtok.codebooks.layers import Layer
from semtok.errors import ConfigError
from semtok.networks.config import SpeakerConfig
from semtok.networks.generators import GeneratorConfig
from semtok.training.config import GradientConfig

LEAST_REFERENCE_FRAMES = 25
"""With fewer frames a clip has no voice embedding."""


@dataclass(frozen=True, kw_only=True)
class SpeakerTrainingConfig:
    """The voice, as an embedding of `dim` numbers.

    With `channels` a speaker encoder of that width learns along, from `reference_frames` of what the clip has beside
    the crop that is decoded. With `embeddings` they are given: a .safetensors file with one [dim] for each clip, named
    by its path as seen from the working folder, such as `speech/a.wav` of `data: [speech]`. Utterances go without by
    `drop_probability`.
    """

    dim: int
    channels: int | None = None
    embeddings: str | None = None
    reference_frames: int = 150
    drop_probability: float = 0.2

    def __post_init__(self) -> None:
        if (self.channels is None) == (self.embeddings is None):
            raise ConfigError("give either channels, of a speaker encoder, or embeddings, a file of them")
        if not 0 <= self.drop_probability <= 1 or self.reference_frames < LEAST_REFERENCE_FRAMES:
            raise ConfigError(
                f"drop_probability must be in 0 ... 1 and reference_frames at least {LEAST_REFERENCE_FRAMES}, got "
                f"{self.drop_probability} and {self.reference_frames}"
            )

    @property
    def network(self) -> SpeakerConfig:
        """What is to be known of it once the vocoder is trained."""
        return SpeakerConfig(self.dim, self.channels)


@dataclass(frozen=True, kw_only=True)
class VocoderTrainingConfig(GradientConfig):
    """The scalable vocoder on tokens of `tokenizer`: a bundled name, a folder or a hub id.

    With `start_from`, a published vocoder, its network is trained on; otherwise `embedding_dim`, `attention_dim` and
    `generator` describe a new one, whose embeddings may start as the tokenizer's centroids
    (`embeddings_from_centroids`). A `generator` beside `start_from` may differ from the published one in how many
    frames ahead it sees, `generator.istft.look_ahead`. A vocoder of another tokenizer with codebooks of the same layers
    and sizes may be started from as well, which the log says: its embeddings are taken over, code by code, as if codes
    meant the same.
    `speaker` conditions either on the voice.

    `sample_rate`, Hz, is that of the speech it makes, by default the tokenizer's: 24000, for instance, with as many
    frames a second. The tokens are those of the recordings at the tokenizer's rate.

    Up to `adversarial_step` the spectral loss acts alone, on `batch_size` crops of `crop_frames`; from then on the
    discriminators act too, which cost several generator steps each, on batches of their own (usually smaller) shape.
    For the first `discriminator_steps` of these they learn alone and the generator stays as it is: discriminators that
    have learnt nothing lead a trained generator astray. The rate is then `adversarial_learning_rate`, multiplied by
    `adversarial_learning_rate_decay` after each epoch, as many crops as there are clips; that of the discriminators is
    `discriminator_learning_rate_factor` times as high. Batch sizes are those of one process.

    `mel_resolutions` are (window, bands) of the spectral loss; `stft_windows` those of one of linear frequency that is
    added by `stft_weight`. `periods`, `scales` and `windows` are discriminators, and one for each of `feature_layers`
    of the tokenizer's own encoder, which is frozen. Those of `windows` look at every `spectrogram_stride`-th bin.
    The adversarial loss is the mean over them: least squares, or with `relativistic` that of pairs of real and
    generated speech. `rotate_phases` filters both alike before they are judged, by delays drawn a crop (PhaseAug).
    Feature matching is over the maps of the discriminators that have told at least `matching_share` of the crops apart
    (running mean); with `relative_feature_matching` each map's difference is relative to its size.
    With `balanced` the weights of the adversarial and the matching loss are norms of their gradient on the waveform, as
    multiples of the spectral loss's: discriminators become steeper by orders of magnitude while they learn.
    `target_rms` brings clips to one loudness, null leaves them as they are. `average_decay` is that of the
    running average of weights, which is what is validated and saved; `half_precision` rounds them to float16.
    `single_layer_probability` is the share of utterances of which one layer alone is kept, one of `single_layers` (all
    by default), instead of dropping a uniform number of them: content layers alone learn slowly otherwise.
    """

    tokenizer: str
    batch_size: int
    crop_frames: int
    adversarial_step: int
    adversarial_batch_size: int
    adversarial_crop_frames: int
    adversarial_learning_rate: float
    mel_weight: float
    feature_matching_weight: float
    start_from: str | None = None
    embedding_dim: int | None = None
    attention_dim: int | None = None
    embeddings_from_centroids: bool = False
    generator: GeneratorConfig | None = None
    speaker: SpeakerTrainingConfig | None = None
    sample_rate: int | None = None
    adversarial_weight: float = 1.0
    adversarial_learning_rate_decay: float = 1.0
    discriminator_learning_rate_factor: float = 1.0
    balanced: bool = False
    discriminator_steps: int = 0
    relativistic: bool = False
    rotate_phases: bool = False
    matching_share: float = 0.0
    relative_feature_matching: bool = True
    mel_resolutions: tuple[tuple[int, int], ...] = ((256, 32), (512, 64), (1024, 80), (2048, 128))
    stft_windows: tuple[int, ...] = ()
    stft_weight: float = 0.0
    periods: tuple[int, ...] = (2, 3, 5, 7, 11)
    period_channels: tuple[int, ...] = (32, 128, 512, 1024, 1024)
    scales: int = 0
    windows: tuple[int, ...] = ()
    spectrogram_channels: int = 32
    spectrogram_stride: int = 2
    feature_layers: tuple[int, ...] = ()
    feature_channels: int = 64
    target_rms: float | None = None
    single_layer_probability: float = 0.0
    single_layers: list[Layer] = field(default_factory=list)
    half_precision: bool = False
    average_decay: float = 0.999

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.start_from is None and None in (self.embedding_dim, self.attention_dim, self.generator):
            raise ConfigError("give embedding_dim, attention_dim and generator of a new network, or start_from")
        if self.start_from is not None and self.embeddings_from_centroids:
            raise ConfigError("with start_from the embeddings are taken over: leave embeddings_from_centroids out")
        if bool(self.stft_windows) != (self.stft_weight > 0):
            raise ConfigError(
                f"give both stft_windows and a positive stft_weight or neither, got {list(self.stft_windows)} and "
                f"{self.stft_weight}"
            )
        if not 0 <= self.matching_share < 1 or self.discriminator_steps < 0 or self.spectrogram_stride < 1:
            raise ConfigError(
                "matching_share must be in 0 ... 1, discriminator_steps at least 0 and spectrogram_stride at least 1, "
                f"got {self.matching_share}, {self.discriminator_steps} and {self.spectrogram_stride}"
            )
        if self.balanced and self.precision == "float16":
            raise ConfigError("balanced gradients are too small for float16: take bfloat16, or leave balanced out")
        if not (self.periods or self.scales or self.windows or self.feature_layers) and (
            self.steps > self.adversarial_step
        ):
            raise ConfigError(
                f"from step {self.adversarial_step} on discriminators act, but there are none: give periods, scales, "
                "windows or feature_layers, or an adversarial_step of all steps"
            )

    def shape(self, step: int) -> tuple[int, int]:
        """Batch size and frames of a crop at a step."""
        if step > self.adversarial_step:
            return self.adversarial_batch_size, self.adversarial_crop_frames
        return self.batch_size, self.crop_frames

    def trains_generator(self, step: int) -> bool:
        """Whether the generator learns at a step, or the discriminators alone do."""
        return not self.adversarial_step < step <= self.adversarial_step + self.discriminator_steps

    def learning_rate_at(self, step: int, epoch: int) -> float:
        """Warm-up, then a cosine to a tenth until the adversarial phase, which has its own rate. `epoch` is the
        number of adversarial steps in an epoch."""
        if step > self.adversarial_step:
            epochs = (step - self.adversarial_step - 1) // epoch
            return self.adversarial_learning_rate * self.adversarial_learning_rate_decay**epochs
        progress = min(1.0, step / min(self.adversarial_step, self.steps))
        cosine = 0.1 + 0.9 * (1 + math.cos(math.pi * progress)) / 2
        return self.learning_rate * min(1.0, step / max(1, self.warmup_steps)) * cosine
