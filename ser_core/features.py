"""Waveform -> log-mel spectrogram: the only mel code, for training and for scoring, on CPU and on a device.

Shape letters: B windows, N samples, F mel bands, K frequency bins, T frames.

The definition is librosa's (`melspectrogram` of power, Slaney mels and norm, periodic Hann, centred frames with zero
padding, then `power_to_db(ref=np.max)`), computed for a whole batch by `torch.stft`.
"""

import torch
from torch import Tensor, nn

from ser_core.config import MelSettings

#: librosa's `amin`: power below this counts as this.
_MIN_POWER = 1e-10
#: Peaks above this are scaled down to it, so that absurd float samples cannot overflow the power spectrum.
_MAX_PEAK = 1e6


def librosa_filterbank(settings: MelSettings) -> Tensor:
    """The mel filterbank (num_mels, 1 + n_fft // 2), float32, from librosa.

    Called once, when a model is made: importing librosa costs a second, so artifacts carry the result.
    """
    import librosa

    weights_FK = librosa.filters.mel(
        sr=settings.sample_rate_hz,
        n_fft=settings.n_fft,
        n_mels=settings.num_mels,
        fmin=settings.f_min_hz,
        fmax=settings.f_max_hz,
    )
    return torch.from_numpy(weights_FK)


def mel_db(pcm_BN: Tensor, settings: MelSettings, filterbank_FK: Tensor) -> Tensor:
    """Log-mel (B, F, T) in dB relative to each window's own maximum, so in [-top_db, 0]; silence is 0 everywhere.

    Args:
        pcm_BN: float32 samples, finite; full scale is 1, louder is fine.
        settings: sizes of the transform; the constants `mean_db` and `std_db` are not used here.
        filterbank_FK: on the same device as `pcm_BN`.
    """
    peak_B1 = pcm_BN.abs().amax(dim=1, keepdim=True)
    spectrum_BKT = torch.stft(
        pcm_BN * (_MAX_PEAK / peak_B1).clamp(max=1.0),
        n_fft=settings.n_fft,
        hop_length=settings.hop_length,
        window=torch.hann_window(settings.n_fft, device=pcm_BN.device),
        center=True,
        pad_mode="constant",
        return_complex=True,
    )
    power_BKT = spectrum_BKT.real.square() + spectrum_BKT.imag.square()
    mel_BFT = torch.matmul(filterbank_FK, power_BKT).clamp(min=_MIN_POWER)
    db_BFT = 10.0 * torch.log10(mel_BFT)
    relative_BFT = db_BFT - db_BFT.amax(dim=(1, 2), keepdim=True)
    return relative_BFT.clamp(min=-settings.top_db)


class LogMel(nn.Module):
    """What a model sees of a window: `mel_db`, shifted and scaled by the artifact's constants.

    Always float32, under autocast too: a power spectrum does not fit bf16.
    """

    filterbank_FK: Tensor

    def __init__(self, settings: MelSettings, filterbank_FK: Tensor | None = None) -> None:
        """Use `filterbank_FK` (num_mels, 1 + n_fft // 2), or ask librosa for it when it is None."""
        super().__init__()
        self.settings = settings
        self.register_buffer("filterbank_FK", librosa_filterbank(settings) if filterbank_FK is None else filterbank_FK)

    def forward(self, pcm_BN: Tensor) -> Tensor:
        """Normalised log-mel (B, F, T) of float32 windows (B, N); T = settings.num_frames(N)."""
        with torch.autocast(pcm_BN.device.type, enabled=False):
            db_BFT = mel_db(pcm_BN.float(), self.settings, self.filterbank_FK)
            return (db_BFT - self.settings.mean_db) / self.settings.std_db
