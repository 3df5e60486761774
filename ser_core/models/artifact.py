"""A model as a folder: model.safetensors, config.json, MODEL_CARD.md, a licence file; nothing in it is executed, nor
is the copy of its architecture's file, where that is none of this program's.

The weights file holds the network's tensors as `model.<name>` (in which form, `stored.py` says), the mel filterbank as
`mel.filterbank_FK`, so that scoring needs no librosa, and, of a model that can be adapted to an archive, its
`Reference`. torch is imported only where tensors are looked at: listing models must be quick.
"""

import dataclasses
import difflib
import functools
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self

from ser_core.errors import ArtifactError, UsageError, one_line
from ser_core.models.artifact_config import CONFIG_FILE, Adaptation, ArtifactConfig
from ser_core.models.own_code import OwnCode, in_use, named_by_user
from ser_core.models.threads import one_thread

if TYPE_CHECKING:
    from torch import Tensor

    from ser_core.audio import LogMel, WindowSettings
    from ser_core.models.base import SpeechModel
    from ser_core.models.reference import Reference
    from ser_core.models.tensors import Encoder
    from ser_core.storage import Location

WEIGHTS_FILE = "model.safetensors"
CARD_FILE = "MODEL_CARD.md"
#: What every model's folder holds.
ARTIFACT_FILES = frozenset({WEIGHTS_FILE, CARD_FILE, CONFIG_FILE})

_BUNDLED = Path(__file__).parent.parent / "bundled"
_MODEL_PREFIX = "model."
_FILTERBANK = "mel.filterbank_FK"


@dataclasses.dataclass(frozen=True)
class Artifact:
    """One model: its files as they are."""

    config_json: bytes
    #: A safetensors file.
    weights: bytes
    card: str = ""
    licence_text: str = ""
    #: Of its architecture, where that is in a file that a person named; never the copy in the model's folder.
    code: OwnCode | None = None

    @functools.cached_property
    def config(self) -> ArtifactConfig:
        """What config.json says."""
        return ArtifactConfig.from_json(self.config_json)

    @property
    def content_hash(self) -> str:
        """sha256 (hex) over config and weights: whatever changes a prediction changes it."""
        return hashlib.sha256(self.config_json + self.weights).hexdigest()

    @property
    def identity(self) -> str:
        """Name and content, as prediction rows carry it: `compact@0123456789ab`."""
        return f"{self.config.name}@{self.content_hash[:12]}"

    @functools.cached_property
    def encoder(self) -> "Encoder":
        """What computes its embeddings; an ArtifactError where there are none."""
        from ser_core.models.tensors import Encoder, require_embeddings

        require_embeddings(self.identity, self.config.architecture, model := self.model())
        with in_use(self.code):
            return Encoder.of(self.config, model, self._tensors()[_FILTERBANK])

    @classmethod
    def of_model(
        cls, config: ArtifactConfig, model: "SpeechModel", log_mel: "LogMel", *, card: str = "", licence_text: str = "",
        reference: "Reference | None" = None,
    ) -> Self:  # fmt: skip
        """An artifact of a trained model and the features it was trained on; weights stored as `config` says."""
        from safetensors.torch import save

        stored = model.stored_tensors(config.weights_dtype)
        tensors = {_MODEL_PREFIX + name: value.cpu().contiguous() for name, value in stored.items()}
        tensors[_FILTERBANK] = log_mel.filterbank_FK.cpu().contiguous()
        if reference is not None:
            tensors |= reference.to_tensors()
        return cls(config.to_json(), save(tensors), card, licence_text, named_by_user(config.architecture))

    @classmethod
    def load(cls, name_or_folder: str) -> Self:
        """Read and check a bundled model by name, or a local folder, or s3://bucket/prefix.

        Raises:
            ArtifactError: missing, broken, foreign or newer; one line naming the model, the fault and what to do.
            ServiceError: the storage it lies on failed.
        """
        from ser_core.models.registry import check_origin

        folder = _folder(name_or_folder)
        with _one_line_faults(name_or_folder):
            config_json = _read(folder, CONFIG_FILE)
            config = ArtifactConfig.from_json(config_json)
            check_origin(config.architecture, config.code)
            licence_text = _read(folder, config.licence_file).decode() if config.licence_file else ""
            weights, card = _read(folder, WEIGHTS_FILE), _read(folder, CARD_FILE).decode()
            artifact = cls(config_json, weights, card, licence_text, named_by_user(config.architecture))
            artifact._check_tensors()
        return artifact

    def save(self, folder: str) -> None:
        """Write the folder, local or s3://; the config last, since a folder without one is no model."""
        from ser_core.storage import Location, put

        for name, data in self._files().items():
            put(Location.parse(folder).join(name), data)

    def _files(self) -> dict[str, bytes]:
        licence = {self.config.licence_file: self.licence_text.encode()} if self.config.licence_file else {}
        code = {self.code.file: self.code.text} if self.code is not None else {}
        return {
            WEIGHTS_FILE: self.weights,
            CARD_FILE: self.card.encode(),
            **licence,
            **code,
            CONFIG_FILE: self.config_json,
        }

    def windows(self, window_seconds: float | None = None, hop_seconds: float | None = None) -> "WindowSettings":
        """How files are cut for this model.

        Args:
            window_seconds: length of a window; None: as long as those it was trained on.
            hop_seconds: from one window's start to the next one's; None: windows do not overlap.

        Raises:
            UsageError: one of the two is out of range.
        """
        from ser_core.audio import WindowSettings

        seconds = self.config.window_seconds if window_seconds is None else window_seconds
        return WindowSettings(
            sample_rate_hz=self.config.mel.sample_rate_hz,
            window_seconds=seconds,
            hop_seconds=seconds if hop_seconds is None else hop_seconds,
        )

    def log_mel(self) -> "LogMel":
        """The features this model was trained on, on the CPU."""
        from ser_core.audio import LogMel

        return LogMel(self.config.mel, self._tensors()[_FILTERBANK])

    @one_thread()
    def model(self) -> "SpeechModel":
        """The trained network in float32 on the CPU, in evaluation mode."""
        from ser_core.models.stored import of_stored

        model = self._untrained()
        tensors = self._tensors()
        # One after the other: all together they would be there twice.
        for name, tensor in model.state_dict().items():
            tensor.copy_(of_stored(tensors, _MODEL_PREFIX + name))
        return model.eval()

    @property
    def can_adapt(self) -> bool:
        """Whether it can be adapted to an archive: it has a reference, and is not adapted yet."""
        return self.config.adaptation is None and self.reference is not None

    @functools.cached_property
    def reference(self) -> "Reference | None":
        """What the model knows of its training data; None: it cannot be adapted."""
        from ser_core.models.reference import Reference

        return Reference.of_tensors(self._tensors())

    def require_adaptable(self, name: str | None = None) -> "Reference":
        """The reference that an adaptation is estimated with; `name` is what the error calls the model.

        Raises:
            ArtifactError: the model cannot be adapted, or is already.
        """
        if self.config.adaptation is not None:
            where = f"model '{name or self.identity}'"
            raise ArtifactError(
                f"{where} is adapted already; use it as it is (--adapt none), or the one that it was made of"
            )
        return self.require_reference(name)

    def require_reference(self, name: str | None = None) -> "Reference":
        """The reference, of an adapted model too.

        Raises:
            ArtifactError: the model cannot be adapted.
        """
        if self.reference is None:
            raise ArtifactError(
                f"model '{name or self.identity}' cannot be adapted: it holds no statistics of its training data, as "
                "one that has a regression does; use it as it is, or another model"
            )
        return self.reference

    def adapted(self, adaptation: Adaptation) -> Self:
        """The same model, adapted to an archive.

        Raises:
            ArtifactError: it cannot be adapted, or is already.
        """
        self.require_adaptable()
        config = self.config.replace(adaptation=adaptation)
        return dataclasses.replace(self, config_json=config.to_json())

    def _untrained(self) -> "SpeechModel":
        from ser_core.models.registry import build

        config = self.config
        with in_use(self.code):
            return build(config.architecture, config.architecture_settings, config.mel.num_mels, len(config.labels))

    def _tensors(self) -> "dict[str, Tensor]":
        from safetensors.torch import load

        return load(self.weights)

    @one_thread()
    def _check_tensors(self) -> None:
        import torch
        from safetensors import SafetensorError

        from ser_core.models.reference import expected_tensors
        from ser_core.models.tensors import fault_of_tensors

        try:
            tensors = self._tensors()
        except SafetensorError as error:
            raise UsageError(f"{WEIGHTS_FILE} is broken or no safetensors file ({error})") from error
        with torch.device("meta"):
            model = self._untrained()
            stored = model.stored_tensors(self.config.weights_dtype)
            expected = {_MODEL_PREFIX + name: tensor for name, tensor in stored.items()}
            expected[_FILTERBANK] = torch.empty(self.config.mel.num_mels, 1 + self.config.mel.n_fft // 2)
            expected |= expected_tensors(tensors, model, len(self.config.labels))
        if fault := fault_of_tensors(tensors, expected):
            raise UsageError(f"{WEIGHTS_FILE} does not fit architecture '{self.config.architecture}': {fault}")


def bundled_names() -> tuple[str, ...]:
    """The models that come with the program."""
    return tuple(sorted(file.parent.name for file in _BUNDLED.glob(f"*/{CONFIG_FILE}")))


def read_config(name_or_folder: str) -> ArtifactConfig:
    """What a model's config.json says, without reading the weights or importing torch.

    Raises:
        ArtifactError: missing, broken, foreign or newer, as from `Artifact.load`.
        ServiceError: the storage it lies on failed.
    """
    folder = _folder(name_or_folder)
    with _one_line_faults(name_or_folder):
        return ArtifactConfig.from_json(_read(folder, CONFIG_FILE))


def _folder(name_or_folder: str) -> "Location":
    from ser_core.storage import Location

    return Location.parse(str(_BUNDLED / name_or_folder) if name_or_folder in bundled_names() else name_or_folder)


@contextmanager
def _one_line_faults(name_or_folder: str) -> Iterator[None]:
    where = f"model '{name_or_folder}'"
    try:
        yield
    except FileNotFoundError as error:
        close = difflib.get_close_matches(name_or_folder, bundled_names(), 1)
        hint = f"did you mean '{close[0]}'? If not, " if close else ""
        remedy = f"give a model folder or a bundled name ({', '.join(bundled_names())})"
        raise ArtifactError(f"{where}: no {error} there; {hint}{remedy}") from error
    except UsageError as error:
        raise ArtifactError(f"{where}: {error}") from error
    except (ValueError, ArithmeticError, LookupError, TypeError, RuntimeError, MemoryError) as error:
        # Its files were not written by this program: there is no telling what they hold.
        raise ArtifactError(f"{where}: it cannot be loaded ({type(error).__name__}: {one_line(error)})") from error


def _read(folder: "Location", file_name: str) -> bytes:
    from ser_core.storage import read

    try:
        return read(folder.join(file_name))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(file_name) from error
    except OSError as error:
        advice = "; check AWS_ENDPOINT_URL and the bucket, or give another model" if folder.is_s3 else ""
        raise UsageError(f"{file_name} cannot be read ({one_line(error)}){advice}") from error
