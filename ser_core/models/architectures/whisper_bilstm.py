"""`whisper-bilstm`: the first layers of Whisper-base's encoder, mixed, read along time by a BiLSTM.

Beside them those of Moonshine's encoder may be read, which hears the samples.

Shape letters: B windows, F rows of the log-mel (its bands, and samples where they are asked for), T mel frames,
S steps (T / 2), L layers, H features,
E values of an embedding, K classifiers, C labels.
"""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool1d, dropout, layer_norm, max_pool1d

from ser_core.audio import MelSettings
from ser_core.models.architectures.moonshine_encoder import MoonshineStatistics, is_moonshine
from ser_core.models.architectures.whisper_encoder import WhisperEncoder
from ser_core.models.architectures.whisper_settings import WhisperBilstmSettings
from ser_core.models.architectures.whisper_steps import loudest_bands, mixed, step_counts
from ser_core.models.base import Architecture, Regression, SpeechModel
from ser_core.models.layers import Standardise, as_read, attentive_statistics, weighted_statistics

#: Whisper's log-mel goes no lower than 2 below its highest value; a little less, for rounding.
_FLOOR = 1.99
_HIDDEN_DROPOUT = 0.5


class _Heard(NamedTuple):
    """What is read of windows."""

    #: The layers that are mixed, normed as their scales differ.
    layers_BLSH: Tensor
    loudness_BS: Tensor
    #: 1 where a step is audio.
    audio_BS: Tensor
    #: Statistics of Moonshine's blocks (B, P), of each view.
    moonshine: list[Tensor]


class WhisperBilstm(SpeechModel):
    """Encoder -> softmax mix of normed layers -> BiLSTM -> attention pooling, and plain statistics -> classifiers.

    The statistics are what keeps a frozen encoder's generality: they are all that a linear classifier needs. Their
    scales differ as much as the layers' do, so they are standardised. Padding and silence may be left out:
    how much of it there is, and of what kind, tells corpora apart and not emotions.
    """

    HEAD_MODULES = frozenset({"standardise", "classifiers", "regression"})
    HEAD_SETTINGS = frozenset({"dropout", "lstm_drop_path", "hidden_units", "num_classifiers", "statistics_noise"})

    def __init__(self, settings: WhisperBilstmSettings, num_mels: int, num_labels: int) -> None:
        super().__init__()
        self._settings, self._num_mels = settings, num_mels
        self.encoder = WhisperEncoder(num_mels, settings.width, settings.num_layers)
        for module in self._frozen_modules():
            module.requires_grad_(False)
        self.mix_L = nn.Parameter(torch.zeros(1 + settings.num_layers - settings.first_mixed_layer))
        self.lstm = nn.LSTM(settings.width, settings.lstm_units, batch_first=True, bidirectional=True)
        self.attention = nn.Linear(2 * settings.lstm_units, 1)
        self.dropout = nn.Dropout(settings.dropout)
        self._num_pooled = 4 * settings.lstm_units
        num_statistics = 2 * settings.width * {"none": 0, "mix": 1, "layers": len(self.mix_L)}[settings.statistics]
        self.moonshine: MoonshineStatistics | None = None
        if settings.moonshine_layers:
            self.moonshine = MoonshineStatistics(
                settings.moonshine_width, settings.moonshine_layers, settings.first_moonshine_layer
            )
            num_statistics += self.moonshine.num_features
        self._num_statistics = num_statistics
        if settings.regression:
            self.regression = Regression(num_statistics, num_labels)
        if settings.classifiers_learn_rest:
            num_statistics = 0
        self.standardise = Standardise(num_statistics)
        self.classifiers = nn.ModuleList(
            _classifier(self._num_pooled + num_statistics, num_labels, settings)
            for _ in range(settings.num_classifiers)
        )

    def _frozen_modules(self) -> list[nn.Module]:
        if not self.has_frozen_layers:
            return []
        return [self.encoder.conv1, self.encoder.conv2, *self.encoder.layers[: self._settings.frozen_layers]]

    @property
    def has_frozen_layers(self) -> bool:
        """Whether the convolutions and at least one block are frozen."""
        return self._settings.frozen_layers > 0

    @property
    def has_second_encoder(self) -> bool:
        return self.moonshine is not None

    @property
    def encoding_key(self) -> str:
        settings = self._settings
        key = f"from layer {self._first_cached}, padding {'masked' if settings.mask_padding else 'read'}"
        if self.moonshine is None:
            return key
        return f"{key}, from block {settings.first_moonshine_layer}, views {settings.speech_ranges_db}"

    @property
    def _first_cached(self) -> int:
        return min(self._settings.first_mixed_layer, self._settings.frozen_layers)

    def encode_frozen(self, mel_BFT: Tensor) -> Tensor:
        """The frozen layers that are still needed, (B, L, S, H + 2): those that are mixed, and the last one.

        The last two features are the step's loudness, and 1; all are 0 where the step is padding, so that clips of
        unlike lengths can be mixed. With Moonshine's blocks (B, X): the same in one row, and behind it their statistics
        of each view.
        """
        if not self.has_frozen_layers:
            return mel_BFT
        with torch.no_grad():
            samples_BHT, mel_BFT = mel_BFT[:, self._num_mels :], mel_BFT[:, : self._num_mels]
            loudness_BS = loudest_bands(mel_BFT)
            audio_BS = self._is_audio(loudness_BS)
            layers = self._run([self.encoder.embed(mel_BFT)], audio_BS, 0, self._settings.frozen_layers)
            cached_BLSH = torch.stack(layers[self._first_cached :], dim=1)
            facts_BS2 = torch.stack([loudness_BS, torch.ones_like(loudness_BS)], dim=2).to(cached_BLSH.dtype)
            facts_BLS2 = facts_BS2[:, None].expand(*cached_BLSH.shape[:3], 2)
            encoded_BLSH = torch.cat([cached_BLSH, facts_BLS2], dim=3) * audio_BS[:, None, :, None]
            if self.moonshine is None:
                return encoded_BLSH
            ranges_db = loudness_BS.new_tensor(self._settings.speech_ranges_db)
            counts = step_counts(audio_BS, loudness_BS, list(ranges_db[:, None]))
            views = self.moonshine(samples_BHT, self._num_real(samples_BHT), counts)
            return torch.cat([encoded_BLSH.flatten(1), *views], dim=1)

    def embed_encoded(self, encoded: Tensor) -> Tensor:
        """What the BiLSTM's steps come to, and behind it the plain statistics of every view of the window.

        Where a regression alone reads these, of the views' mean: what is linear says the same of it.
        """
        heard = self._heard(encoded)
        mix_BSH = mixed(heard.layers_BLSH, self.mix_L.softmax(dim=0)) * (heard.audio_BS > 0)[:, :, None]
        pooled_BH = self._pooled(mix_BSH, heard.audio_BS)
        views = self._views(heard, mix_BSH[:, None] if self._settings.statistics == "mix" else heard.layers_BLSH)
        if self._settings.classifiers_learn_rest:
            views = [torch.stack(views).mean(dim=0)]
        return torch.cat([pooled_BH, *views], dim=1)

    def classify_embedded(self, embedding_BE: Tensor) -> Tensor:
        # The mean of logits is that of log-probabilities, but for what cancels out.
        pooled_BH, views = embedding_BE[:, : self._num_pooled], self._embedded_views(embedding_BE)
        logits_BKC = torch.stack([self._classify(pooled_BH, plain_BP) for plain_BP in views]).mean(dim=0)
        return logits_BKC if self.training else logits_BKC.mean(dim=1)

    def embedded_features(self, embedding_BE: Tensor) -> Tensor:
        return torch.stack(self._embedded_views(embedding_BE)).mean(dim=0)

    def _embedded_views(self, embedding_BE: Tensor) -> list[Tensor]:
        views_BV = embedding_BE[:, self._num_pooled :]
        return list(torch.split(views_BV, self._num_statistics, dim=1)) if self._num_statistics else [views_BV]

    def regression_features(self, encoded: Tensor) -> Tensor:
        # What is linear says of the mean of views what it says of them in the mean.
        return torch.stack(self.regression_views(encoded)).mean(dim=0)

    def regression_views(self, encoded: Tensor) -> list[Tensor]:
        heard = self._heard(encoded)
        return self._views(heard, heard.layers_BLSH)

    def _heard(self, encoded: Tensor) -> _Heard:
        settings = self._settings
        moonshine: list[Tensor] = []
        if self.has_frozen_layers:
            cached_BLSH = encoded.float() if encoded.dtype == torch.float16 else encoded
            if self.moonshine is not None:
                num_layers = settings.frozen_layers + 1 - self._first_cached
                num_views = len(settings.speech_ranges_db) * self.moonshine.num_features
                moonshine = list(torch.split(cached_BLSH[:, -num_views:], self.moonshine.num_features, dim=1))
                cached_BLSH = cached_BLSH[:, :-num_views].reshape(len(encoded), num_layers, -1, settings.width + 2)
            loudness_BS, audio_BS = cached_BLSH[:, 0, :, -2:].unbind(dim=2)
            first, layers = self._first_cached, list(cached_BLSH[..., :-2].unbind(dim=1))
        else:
            first, layers, loudness_BS = 0, [self.encoder.embed(encoded)], loudest_bands(encoded)
            audio_BS = self._is_audio(loudness_BS).to(loudness_BS.dtype)
        layers = self._run(layers, audio_BS > 0, settings.frozen_layers, settings.num_layers)
        layers_BLSH = torch.stack(layers[settings.first_mixed_layer - first :], dim=1)
        return _Heard(layer_norm(layers_BLSH, layers_BLSH.shape[3:]), loudness_BS, audio_BS, moonshine)

    def _run(self, layers: list[Tensor], is_audio_BS: Tensor, start: int, end: int) -> list[Tensor]:
        """`layers`, and after them what the blocks from `start` to `end` make of the last one."""
        layers = list(layers)
        # A mask of nothing would cost a GPU its quickest attention.
        mask_BS = is_audio_BS if self._settings.mask_padding else None
        for block in self.encoder.layers[start:end]:
            layers.append(block(layers[-1], mask_BS))
        return layers

    def _pooled(self, mix_BSH: Tensor, audio_BS: Tensor) -> Tensor:
        """What the BiLSTM's steps come to (B, H)."""
        slower_BHS = avg_pool1d(mix_BSH.transpose(1, 2), self._settings.steps_per_lstm_step, ceil_mode=True)
        steps_BSH, _ = self.lstm(self.dropout(slower_BHS.transpose(1, 2)))
        is_padding_BS = max_pool1d(audio_BS.float(), self._settings.steps_per_lstm_step, ceil_mode=True) == 0
        scores_BS1 = self.attention(steps_BSH).masked_fill(is_padding_BS[:, :, None], float("-inf"))
        pooled_BH = attentive_statistics(steps_BSH, scores_BS1)
        if self.training:
            # Whole windows: dropout draws once for each.
            return pooled_BH * dropout(pooled_BH.new_ones(len(pooled_BH), 1), self._settings.lstm_drop_path)
        return as_read(pooled_BH)

    def _classify(self, pooled_BH: Tensor, plain_BP: Tensor) -> Tensor:
        """Logits (B, K, C) of what the BiLSTM and the statistics of one view say."""
        if not self._settings.classifiers_learn_rest:
            pooled_BH = torch.cat([pooled_BH, self._standardised(plain_BP)], dim=1)
        logits_BKC = torch.stack([classify(pooled_BH) for classify in self.classifiers], dim=1)
        if self.regression is not None and (self._settings.classifiers_learn_rest or not self.training):
            logits_BKC = logits_BKC + self.regression(plain_BP)[:, None]
        return logits_BKC

    def _statistics(self, read_BLSH: Tensor, speech_BS: Tensor) -> Tensor:
        """The plain mean and standard deviation over the steps that count (B, P)."""
        if self._settings.statistics == "none":
            return read_BLSH.new_zeros(len(read_BLSH), 0)
        return weighted_statistics(read_BLSH, speech_BS[:, None, :, None]).flatten(1)

    def _standardised(self, plain_BP: Tensor) -> Tensor:
        """The standardised statistics, with noise in training."""
        standardised_BP: Tensor = self.standardise(plain_BP)
        noise = self._settings.statistics_noise
        if self.training and noise:
            standardised_BP = standardised_BP + noise * torch.randn_like(standardised_BP)
        return standardised_BP

    def _is_audio(self, loudness_BS: Tensor) -> Tensor:
        """Whether a step is audio (B, S): those after the last one that rises above the floor are the window's padding.

        Silence to the very end is taken for padding, too. A window that is silent as a whole is audio.
        """
        if not self._settings.mask_padding:
            return torch.ones_like(loudness_BS, dtype=torch.bool)
        is_loud_BS = loudness_BS > loudness_BS.amax(dim=1, keepdim=True) - _FLOOR
        return is_loud_BS.flip(1).cumsum(dim=1).flip(1) > 0

    def _num_real(self, samples_BHT: Tensor) -> Tensor:
        """Samples of each window before its padding; all of one that is silent as a whole."""
        pcm_BN = samples_BHT.transpose(1, 2).flatten(1)
        position_N = torch.arange(1, pcm_BN.shape[1] + 1, device=pcm_BN.device)
        last_B = (position_N * (pcm_BN != 0)).amax(dim=1)
        is_padded_B = last_B > 0 if self._settings.mask_padding else torch.zeros_like(last_B, dtype=torch.bool)
        return last_B.where(is_padded_B, pcm_BN.shape[1])

    def _views(self, heard: _Heard, read_BLSH: Tensor) -> list[Tensor]:
        """The plain statistics (B, P) of every view; in training of one alone, drawn for each window."""
        ranges_db = heard.loudness_BS.new_tensor(self._settings.speech_ranges_db)
        views, moonshine = list(ranges_db[:, None]), heard.moonshine
        if self.training and len(views) > 1:
            drawn_B = torch.randint(len(views), (len(read_BLSH),))
            views = [ranges_db[drawn_B]]
            moonshine = [torch.stack(moonshine)[drawn_B, torch.arange(len(drawn_B))]] if moonshine else []
        counts = step_counts(heard.audio_BS, heard.loudness_BS, views)
        plain = [self._statistics(read_BLSH, count_BS) for count_BS in counts]
        return [torch.cat(parts, dim=1) for parts in zip(plain, moonshine, strict=True)] if moonshine else plain

    def encoder_layers(self) -> list[list[nn.Parameter]]:
        """The parameters that are not frozen, of the convolutions and of each block."""
        convolutions = [*self.encoder.conv1.parameters(), *self.encoder.conv2.parameters()]
        layers = [convolutions, *(list(block.parameters()) for block in self.encoder.layers)]
        return [[parameter for parameter in layer if parameter.requires_grad] for layer in layers]

    def load_weights(self, file: Path) -> None:
        if self.moonshine is not None and is_moonshine(file):
            self.moonshine.encoder.load_published(file)
        else:
            self.encoder.load_published(file)


def _classifier(num_features: int, num_labels: int, settings: WhisperBilstmSettings) -> nn.Module:
    layers: list[nn.Module] = [nn.Dropout(settings.dropout)]
    if settings.hidden_units:
        layers += [nn.Linear(num_features, settings.hidden_units), nn.ReLU(), nn.Dropout(_HIDDEN_DROPOUT)]
    last = nn.Linear(settings.hidden_units or num_features, num_labels)
    if settings.classifiers_learn_rest:
        # It begins with what the regression says, and adds to it.
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
    return nn.Sequential(*layers, last)


ARCHITECTURE = Architecture(
    WhisperBilstmSettings,
    WhisperBilstm,
    MelSettings(n_fft=400, hop_length=160, num_mels=80, scale="whisper", cleaned=True, high_pass_hz=70.0),
)
