"""Mel filter banks: those of librosa, and what the losses, targets and the speaker encoder make of a recording."""

from __future__ import annotations

import librosa
import numpy as np
import pytest
import torch

from semtok.audio.mel import log_mel, mel_bank
from semtok.errors import ConfigError


@pytest.mark.parametrize("window, bands, sample_rate", [(512, 80, 16000), (1024, 128, 16000), (2048, 80, 24000)])
@pytest.mark.parametrize("scale", ["slaney", "htk"])
def test_banks_are_librosas(window, bands, sample_rate, scale):
    expected = librosa.filters.mel(sr=sample_rate, n_fft=window, n_mels=bands, htk=scale == "htk", dtype=np.float64)
    bank = mel_bank(window, bands, sample_rate, scale=scale)
    assert bank.dtype == torch.float32
    np.testing.assert_allclose(bank.numpy(), expected.T, rtol=1e-6, atol=1e-9)


def test_values_of_a_band_add_up_to_one():
    bank = mel_bank(512, 64, 16000, scale="htk", norm="sum")
    torch.testing.assert_close(bank.sum(dim=0), torch.ones(64))
    assert log_mel(torch.full((3, 257), 0.5), bank, floor=1e-5) == pytest.approx(np.log(0.5), rel=1e-6)
    assert log_mel(torch.zeros(257), bank, floor=1e-5) == pytest.approx(np.log(1e-5))


def test_more_bands_than_bins_are_refused():
    with pytest.raises(ConfigError, match="128 mel bands are too many for a window of 256 samples at 16000 Hz"):
        mel_bank(256, 128, 16000)
