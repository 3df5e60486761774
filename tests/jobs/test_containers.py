"""Archives and tables of recordings as SOURCE: scored as the files are, once, and again only where they changed."""

from collections import defaultdict
from pathlib import Path

import numpy as np

from ser_core import storage
from tests.conftest import S3Server
from tests.support.audio_factory import encode, speech
from tests.support.cli import ROOT, files, predictions, ser_here
from tests.support.containers import audio_table, tar_of

CLIPS = {name: (ROOT / "examples" / name).read_bytes() for name in ("angry-man.flac", "calm-woman.flac")}


def test_members_are_scored_as_their_files_are_and_again_where_the_container_changed(
    moto_s3: S3Server, tmp_path: Path
) -> None:
    # Larger than what is fetched whole, and soon scored.
    large = encode(np.repeat(speech(9.0)[:, None], 32, axis=1), subtype="DOUBLE")
    assert len(large) > 32 * 2**20
    root, output = moto_s3.location.join("in"), tmp_path / "out"
    for name, data in CLIPS.items():
        storage.put(root.join(name), data)
    storage.put(root.join("x.tar"), tar_of([*CLIPS.items(), ("large.wav", large), ("large.json", b"{}")]))
    storage.put(root.join("t.parquet"), audio_table([(data, name) for name, data in CLIPS.items()], group_rows=1))
    storage.put(root.join("cut.tar"), tar_of([*CLIPS.items()])[:-20_000])
    storage.put(
        root.join("list.csv"), b"path\n" + b"\n".join([b"x.tar", b"t.parquet", b"cut.tar", *map(str.encode, CLIPS)])
    )
    command = ("score", root.join("list.csv").url, output, "--output-mode", "json")

    preview = ser_here(*command, "--dry-run")
    assert (preview.data["suffixes"], preview.data["left_out"]) == ({"flac": 7, "wav": 1, "tar": 1}, {"json": 1})
    first = ser_here(*command)
    assert (first.code, first.data["scored"], first.data["failed"]) == (3, 8, 1), first.err
    answers = defaultdict(set)
    for row in files(output).to_pylist():
        answers[row["path"].rpartition("/")[2]].add((row["emotion"], row["confidence"], row["reason"]))
    assert answers.pop("cut.tar") == {(None, None, "truncated")}
    assert {name: len(found) for name, found in answers.items()} == {
        "angry-man.flac": 1,
        "calm-woman.flac": 1,
        "large.wav": 1,
    }
    assert ser_here(*command).data["skipped"] == 9

    storage.put(root.join("x.tar"), tar_of([*CLIPS.items(), ("more.flac", CLIPS["calm-woman.flac"])]))
    again = ser_here(*command, "--prune")
    assert (again.data["files"], again.data["scored"], again.data["skipped"]) == (9, 8, 6)
    rows = predictions(output)
    keys = set(zip(rows["path"].to_pylist(), rows["window_index"].to_pylist(), strict=True))
    assert len(keys) == rows.num_rows
    assert len({path for path, _ in keys}) == 8
    assert files(output).num_rows == 9
