import io
import os

import pytest

from ser_core.audio.byte_view import ByteView

FILE = bytes(range(100))


class Dribble(io.BytesIO):
    """Gives at most three bytes at a time, as a pipe or a socket may."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(3 if size is None or size < 0 else min(3, size))


class Broken(io.BytesIO):
    """Cannot be read from byte 20 on."""

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() >= 20:
            raise ValueError("gone")
        return super().read(4)


@pytest.mark.parametrize("kind", [io.BytesIO, Dribble])
def test_the_head_comes_before_the_bytes_between_offset_and_end(kind: type[io.BytesIO]) -> None:
    view = ByteView(kind(FILE), 30, head=b"head", offset=10)
    assert view.num_left == 24
    assert view.read(6) == b"head" + FILE[10:12]
    assert (view.tell(), view.file_position, view.num_left) == (6, 12, 18)
    assert view.read(1000) == FILE[12:30]
    assert view.read(1) == b""
    assert view.error is None


def test_it_is_searched_as_a_file_is() -> None:
    view = ByteView(io.BytesIO(FILE), 30, head=b"head", offset=10)
    assert view.seek(-2, os.SEEK_END) == 22
    assert view.read(9) == FILE[28:30]
    assert view.seek(3) == 3
    assert view.seek(2, os.SEEK_CUR) == 5
    assert view.read(2) == FILE[11:13]


def test_others_may_read_the_file_in_between() -> None:
    file = io.BytesIO(FILE)
    view = ByteView(file, 100)
    first = view.read(5)
    file.seek(77)
    assert first + view.read(5) == FILE[:10]


def test_the_first_error_is_kept_and_looks_like_the_end() -> None:
    view = ByteView(Broken(FILE), 100)
    assert view.read(50) == FILE[:20]
    assert view.read(50) == b""
    assert isinstance(view.error, ValueError)
    view.seek(0)
    assert view.read(1) == b""
