"""Waveform -> log-mel spectrogram: the only mel code, for training and for scoring, on CPU and on a device.

Shape letters: B windows, N samples, F mel bands, K frequency bins, T frames, H samples
of a hop.

The definition is librosa's (`melspectrogram` of power, Slaney mels and norm, periodic Hann, centred frames with zero
padding, then `power_to_db(ref=np.max)`), computed for a whole batch by `torch.stft`; or Whisper's, which differs in the
padding and in what follows the mels (Radford et al. 2022, arXiv 2212.04356). Before either, `cleaning` may go.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from ser_core.audio.cleaning import clean
from ser_core.audio.settings import MelSettings

#: Least power, librosa's `amin`.
_MIN_POWER = 1e-10
#: Peaks above this are scaled down to it, so that absurd float samples cannot overflow the power spectrum.
_MAX_PEAK = 1e6
#: Mel bands that are computed together on a CPU: of all bins these want an eighth.
_BANDS_TOGETHER = 16
#: Range of Whisper's scale below a window's maximum, in powers of ten.
_WHISPER_RANGE = 8.0


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
    db_BFT = 10.0 * _log10_mel(_cleaned(pcm_BN, settings), settings, filterbank_FK, pad_mode="constant")
    relative_BFT = db_BFT - db_BFT.amax(dim=(1, 2), keepdim=True)
    return relative_BFT.clamp(min=-settings.top_db)


def mel_whisper(pcm_BN: Tensor, settings: MelSettings, filterbank_FK: Tensor) -> Tensor:
    """Log-mel (B, F, T) as Whisper takes it: log10, floored 8 below the window's maximum, then (x + 4) / 4.

    The last frame is dropped, and the window mirrored at its ends, as Whisper's own code does. Of cleaned windows the
    highest value is 1, about as it is of speech at the usual level. Below the bands may follow the samples of each hop,
    whose peak is about 1: then F is `settings.num_rows`.
    """
    pcm_BN = _cleaned(pcm_BN, settings)
    log_BFT = _log10_mel(pcm_BN, settings, filterbank_FK, pad_mode="reflect")[:, :, :-1]
    highest_B11 = log_BFT.amax(dim=(1, 2), keepdim=True)
    if not settings.cleaned:
        return (log_BFT.maximum(highest_B11 - _WHISPER_RANGE) + 4.0) / 4.0
    mel_BFT = ((log_BFT - highest_B11).clamp(min=-_WHISPER_RANGE) + 4.0) / 4.0
    if not settings.samples:
        return mel_BFT
    samples_BHT = pcm_BN.unfold(1, settings.hop_length, settings.hop_length).transpose(1, 2)
    return torch.cat([mel_BFT, samples_BHT], dim=1)


def _cleaned(pcm_BN: Tensor, settings: MelSettings) -> Tensor:
    return clean(pcm_BN, settings.sample_rate_hz, settings.high_pass_hz) if settings.cleaned else pcm_BN


def _log10_mel(pcm_BN: Tensor, settings: MelSettings, filterbank_FK: Tensor, pad_mode: str) -> Tensor:
    if not settings.cleaned:
        pcm_BN = pcm_BN * (_MAX_PEAK / pcm_BN.abs().amax(dim=1, keepdim=True)).clamp(max=1.0)
    # As torch.stft does it, but frames stay side by side: it transposes them, which takes as long as a third of it.
    half = settings.n_fft // 2
    padded_BN = pad(pcm_BN[:, None], (half, half), mode=pad_mode)[:, 0]
    window_S = torch.hann_window(settings.n_fft, device=pcm_BN.device)
    spectrum_BTK = torch.fft.rfft(padded_BN.unfold(1, settings.n_fft, settings.hop_length) * window_S)
    power_BTK = spectrum_BTK.real.square() + spectrum_BTK.imag.square()
    return _mels(power_BTK, filterbank_FK).transpose(1, 2).contiguous().clamp_(min=_MIN_POWER).log10_()


def _mels(power_BTK: Tensor, filterbank_FK: Tensor) -> Tensor:
    """The power (B, T, F) in each mel band: neighbouring bands together, from the few bins that they are made of."""
    if filterbank_FK.device.type != "cpu":
        return power_BTK @ filterbank_FK.T
    mels_BTF = power_BTK.new_empty(*power_BTK.shape[:2], len(filterbank_FK))
    for first in range(0, len(filterbank_FK), _BANDS_TOGETHER):
        bands_GK = filterbank_FK[first : first + _BANDS_TOGETHER]
        bins = bands_GK.any(dim=0).nonzero()
        bounds = slice(int(bins[0]), int(bins[-1]) + 1) if len(bins) else slice(0, 1)
        mels_BTF[:, :, first : first + _BANDS_TOGETHER] = power_BTK[:, :, bounds] @ bands_GK[:, bounds].T
    return mels_BTF


class LogMel(nn.Module):
    """What a model sees of a window: `mel_db`, shifted and scaled by the artifact's constants, or `mel_whisper`.

    Always float32, under autocast too: a power spectrum does not fit bf16.
    """

    filterbank_FK: Tensor

    def __init__(self, settings: MelSettings, filterbank_FK: Tensor | None = None) -> None:
        """Use `filterbank_FK` (num_mels, 1 + n_fft // 2), or ask librosa for it when it is None."""
        super().__init__()
        self.settings = settings
        self.register_buffer("filterbank_FK", librosa_filterbank(settings) if filterbank_FK is None else filterbank_FK)

    def forward(self, pcm_BN: Tensor) -> Tensor:
        """Normalised log-mel (B, F, T) of float32 windows (B, N); F = settings.num_rows, T = settings.num_frames(N)."""
        with torch.autocast(pcm_BN.device.type, enabled=False):
            if self.settings.scale == "whisper":
                return mel_whisper(pcm_BN.float(), self.settings, self.filterbank_FK)
            db_BFT = mel_db(pcm_BN.float(), self.settings, self.filterbank_FK)
            return (db_BFT - self.settings.mean_db) / self.settings.std_db


def fit_log_mel(batches: Iterable[Tensor], settings: MelSettings) -> LogMel:
    """The log-mel of a new model: `mean_db` and `std_db` are those of these windows, rounded to 0.1 dB.

    Whisper's scale has no such constants, so for it no window is computed.

    Args:
        batches: float32 windows (B, N).
        settings: everything but the two constants.
    """
    filterbank_FK = librosa_filterbank(settings)
    if settings.scale == "whisper":
        return LogMel(settings, filterbank_FK)
    total, total_squares, count = 0.0, 0.0, 0
    for pcm_BN in batches:
        db_BFT = mel_db(pcm_BN, settings, filterbank_FK).double()
        total, total_squares = total + db_BFT.sum().item(), total_squares + db_BFT.square().sum().item()
        count += db_BFT.numel()
    mean = total / count
    std = (total_squares / count - mean**2) ** 0.5
    return LogMel(settings.replace(mean_db=round(mean, 1), std_db=round(std, 1)), filterbank_FK)
