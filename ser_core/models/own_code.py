"""Architectures from outside the package: a Python file that the command line names, or an installed entry point.

A model's folder says which code its architecture is, and holds a copy of that file for people to read. The copy is
never executed by itself, nor is any other file that a model, a manifest or a file of settings names: code runs where a
person typed its name, or installed it.
"""

import dataclasses
import hashlib
import importlib.metadata
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cached_property
from pathlib import PurePosixPath
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ser_core.errors import UsageError, one_line, printable
from ser_core.models.artifact_config import CodeOrigin

if TYPE_CHECKING:
    from ser_core.models.base import Architecture, SpeechModel

#: Entry points of installed packages: name of the architecture = module:ARCHITECTURE.
ENTRY_POINTS = "ser.architectures"
_SUFFIX, _OBJECT = ".py", "ARCHITECTURE"
_NAME = re.compile(r"[A-Za-z]\w*")
#: By the architecture's name, the files that this command was told to use.
_named: dict[str, "OwnCode"] = {}


@dataclasses.dataclass(frozen=True)
class OwnCode:
    """One Python file with an architecture, whose name is the file's; it may travel to other machines."""

    #: Its last part.
    file: str
    text: bytes

    @classmethod
    def read(cls, path: str) -> "OwnCode":
        """The file at a local path, or s3://; nothing is executed yet.

        Raises:
            UsageError: it cannot be read, or its name is no architecture's.
        """
        from ser_core.storage import Location, read

        where = f"--architecture {printable(path)}"
        file = PurePosixPath(path).name
        if not file.endswith(_SUFFIX) or not _NAME.fullmatch(file.removesuffix(_SUFFIX)):
            raise UsageError(f"{where}: give a Python file whose name is made of letters, digits and _, as my_net.py")
        try:
            return cls(file, read(Location.parse(path)))
        except OSError as error:
            raise UsageError(f"{where}: cannot be read ({one_line(error)}); give a Python file") from error

    def __reduce__(self) -> Any:
        # What was executed here is nothing that another process could load.
        return OwnCode, (self.file, self.text)

    @property
    def name(self) -> str:
        """The architecture's, as settings and models have it."""
        return self.file.removesuffix(_SUFFIX)

    @property
    def origin(self) -> CodeOrigin:
        """What a model says of it."""
        return CodeOrigin(file=self.file, sha256=hashlib.sha256(self.text).hexdigest())

    @contextmanager
    def in_use(self) -> Iterator["OwnCode"]:
        """Within it the architecture is known by its name."""
        before = _named.get(self.name)
        _named[self.name] = self
        try:
            yield self
        finally:
            _named.pop(self.name)
            if before is not None:
                _named[self.name] = before

    @cached_property
    def architecture(self) -> "Architecture":
        """What the file defines; it is executed once.

        Raises:
            UsageError: the file cannot be executed, or defines no architecture.
        """
        module = ModuleType(f"ser_own_code.{self.name}")
        # What a class's annotations mean is looked up there.
        sys.modules[module.__name__] = module
        with faults_of(self.file):
            exec(compile(self.text, self.file, "exec"), module.__dict__)
        return _checked(getattr(module, _OBJECT, None), self.file, self.origin)

    @staticmethod
    def check_model(name: str, model: "SpeechModel", num_rows: int, num_labels: int) -> None:
        """Whether a new model of a person's own architecture does what training and scoring rely on.

        Raises:
            UsageError: it fails, or gives anything but a row of finite logits for each window, or one that changes with
                the other windows of its batch.
        """
        import torch

        mode = model.training
        with faults_of(name), torch.inference_mode():
            model.eval()
            for num_frames in (64, 1):
                mel_BFT = torch.randn(3, num_rows, num_frames, generator=torch.Generator().manual_seed(0))
                logits_BC = model(mel_BFT)
                if tuple(logits_BC.shape) != (len(mel_BFT), num_labels):
                    shape = tuple(logits_BC.shape)
                    raise UsageError(
                        f"gives {shape} for 3 windows of {num_frames} frames, instead of {(3, num_labels)}"
                    )
                if not logits_BC.isfinite().all():
                    raise UsageError(f"gives logits that are not finite numbers for windows of {num_frames} frames")
                if not torch.allclose(model(mel_BFT[1:2]), logits_BC[1:2], rtol=1e-3, atol=1e-4):
                    raise UsageError("gives a window other logits beside others than alone; normalise within a window")
        model.train(mode)


def named_by_user(name: str) -> OwnCode | None:
    """The file of an architecture that this command was told to use."""
    return _named.get(name)


def installed(name: str) -> "Architecture | None":
    """An architecture that an installed package offers under this name; None: there is none.

    Raises:
        UsageError: the package cannot be imported, or offers no architecture.
    """
    for found in _entry_points(name):
        with faults_of(found.value):
            return _checked(found.load(), found.value, _origin_of(found))
    return None


def _entry_points(name: str) -> importlib.metadata.EntryPoints:
    return importlib.metadata.entry_points(group=ENTRY_POINTS, name=name)


def _origin_of(found: importlib.metadata.EntryPoint) -> CodeOrigin:
    package = found.dist
    return CodeOrigin(package=package.name if package else found.module, version=package.version if package else None)


def origin_installed(name: str) -> CodeOrigin | None:
    """Which installed package offers an architecture under this name; nothing of it is executed."""
    return next((_origin_of(found) for found in _entry_points(name)), None)


def unknown(name: str, known: tuple[str, ...]) -> UsageError:
    """That nothing is known under this name, and what to do."""
    others = sorted({*known, *_named, *importlib.metadata.entry_points(group=ENTRY_POINTS).names})
    if name.endswith(_SUFFIX):
        return UsageError(
            f"architecture '{printable(name)}': code is executed only where the command line names it: --architecture "
            f"{printable(name)}"
        )
    return UsageError(f"architecture '{printable(name)}' is unknown; known: {', '.join(others)}")


@contextmanager
def faults_of(what: str) -> Iterator[None]:
    """Turns what a person's own code raises into one line that names it."""
    try:
        yield
    except UsageError as error:
        raise UsageError(f"architecture {what}: {error}") from error
    except (Exception, SystemExit) as error:
        line = _line_in(error, what)
        raise UsageError(
            f"architecture {what}: {type(error).__name__}: {one_line(error)}" + (f" (line {line})" if line else "")
        ) from error


def in_use(code: OwnCode | None) -> Any:
    """`OwnCode.in_use`, or nothing."""
    return nullcontext() if code is None else code.in_use()


def _line_in(error: BaseException, file: str) -> int | None:
    """The last line of the file that led to an error; None: there is none, or the error says it."""
    line, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == file:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def _checked(found: object, where: str, origin: CodeOrigin) -> "Architecture":
    from ser_core.models.base import Architecture

    if not isinstance(found, Architecture):
        raise UsageError(
            f"architecture {where}: has no {_OBJECT} that is an Architecture of ser_core.models.base; see 'Add an "
            "architecture' in docs/contributing.md"
        )
    return dataclasses.replace(found, origin=origin)
