import json
from dataclasses import asdict, replace

import pytest

from jobs.report import Outcome, Preview, Result, check_tally, run_record
from ser_core.errors import FailureRateError, SerError
from ser_core.models.artifact import Artifact
from ser_core.score_config import ScoreConfig
from ser_core.source.plan import PlanSummary
from ser_core.storage.location import Location
from ser_core.tables.assembler import Totals
from ser_core.tables.comparison import Comparison, Tally
from ser_core.tables.schema import Fingerprint

OUTPUT = Location("s3://bucket/emotions")
LEFT_OUT = {"no recording": {"txt": 3, "": 1}}
PLAN = PlanSummary(
    num_files=10,
    num_bytes=2_500_000,
    suffixes={"wav": 8, "m4a": 2},
    left_out=LEFT_OUT,
    num_hidden=2,
)
COMPARISON = Comparison(num_new=3, num_changed=2, num_retried=1, num_unchanged=4, num_gone=5)
FINGERPRINT = Fingerprint(
    source="/archive",
    glob=None,
    model="compact@0123",
    channels="mix",
    window_seconds=3.0,
    hop_seconds=1.5,
    precision="fp32",
)
#: What runs before have left too.
ALL_ROWS = Totals(
    num_files=15, num_failed=1, num_windows=3000, num_no_speech=500, audio_seconds=9000.0, speech_seconds=4500.0
)


def ended(scored: int = 7, partial: int = 2, failed: int = 1) -> Outcome:
    return Outcome(
        fingerprint=FINGERPRINT,
        config=ScoreConfig(max_failure_rate=0.1),
        plan=PLAN,
        comparison=COMPARISON,
        totals=Totals(
            num_files=6,
            num_failed=1,
            num_windows=1200,
            num_no_speech=200,
            audio_seconds=3600.0004,
            speech_seconds=1800.0,
        ),
        tally=Tally(scored=scored, partial=partial, failed=failed),
        all_rows=ALL_ROWS,
        seconds=12.00049,
    )


@pytest.mark.parametrize(
    ("tally", "code"),
    [((10, 0, 0), 0), ((9, 1, 0), 3), ((9, 0, 1), 3), ((0, 0, 10), 3)],
)
def test_the_exit_code_speaks_of_every_file_of_the_plan(tally: tuple[int, int, int], code: int) -> None:
    assert Result.of(ended(*tally), OUTPUT).exit_code == code


def test_gone_files_do_not_count_for_the_exit_code() -> None:
    assert COMPARISON.num_gone
    assert Result.of(ended(10, 0, 0), OUTPUT).exit_code == 0


def test_the_failure_rate_is_judged_over_the_plan() -> None:
    check_tally(ended(7, 2, 1))
    with pytest.raises(FailureRateError, match=r"2 of 10 files failed \(20\.0%\), more than --max-failure-rate 0\.1"):
        check_tally(ended(8, 0, 2))


def test_a_planned_file_without_a_row_is_no_silent_success() -> None:
    with pytest.raises(SerError, match="of 10 files in the plan only 9 have a row"):
        check_tally(ended(9, 0, 0))


def test_the_json_object_has_these_fields_and_no_others() -> None:
    data = asdict(Result.of(ended(), OUTPUT))
    assert data == {
        "files": 10,
        "scored": 7,
        "partial": 2,
        "failed": 1,
        "skipped": 4,
        "gone": 5,
        "windows": 1200,
        "no_speech": 200,
        "audio_seconds": 3600.0,
        "speech_seconds": 1800.0,
        "seconds": 12.0,
        "all_rows": asdict(ALL_ROWS),
        "output": "s3://bucket/emotions",
    }
    assert data["files"] == data["scored"] + data["partial"] + data["failed"]
    assert json.loads(json.dumps(data)) == data


def test_what_is_pending_is_new_changed_or_tried_again() -> None:
    assert COMPARISON.num_pending == 6


def test_the_end_lines_tell_a_person_the_same() -> None:
    assert Result.of(ended(), OUTPUT).lines(ended(), OUTPUT) == [
        "10 files: 7 scored, 2 partial, 1 failed; 4 unchanged, not scored again; 5 gone from the source",
        "this run: 1200 windows, 200 of them without speech, 1.00 hours of audio, 0.50 of speech, in 12.0 s",
        "all rows: 3000 windows, 500 of them without speech, 2.50 hours of audio, 1.25 of speech",
        "left out: 3 .txt, 1 without suffix (no recording), "
        "2 hidden (names with a dot in front, or left by file servers and systems)",
        "predictions: s3://bucket/emotions/predictions",
        "files:       s3://bucket/emotions/files",
    ]


def test_the_end_lines_of_a_first_run_leave_out_what_is_nought() -> None:
    outcome = ended(10, 0, 0)
    outcome.comparison, outcome.all_rows = Comparison(num_new=10), outcome.totals
    outcome.plan = replace(PLAN, left_out={}, num_hidden=0)
    lines = Result.of(outcome, OUTPUT).lines(outcome, OUTPUT)
    assert lines[0] == "10 files: 10 scored, 0 partial, 0 failed"
    assert lines[1] == "1200 windows, 200 of them without speech, 1.00 hours of audio, 0.50 of speech, in 12.0 s"
    assert not any("left out" in line or "all rows" in line for line in lines)


def test_the_record_of_a_run_counts_and_names_the_licence_and_the_versions() -> None:
    artifact = Artifact.load("compact")
    record = json.loads(json.dumps(run_record(ended(), artifact)))
    assert record["config"] == ScoreConfig(max_failure_rate=0.1).to_dict()
    assert record["model"] == {"identity": artifact.identity, "licence": artifact.config.licence}
    assert record["plan"] == {
        "num_files": 10, "num_bytes": 2_500_000, "suffixes": {"wav": 8, "m4a": 2}, "left_out": LEFT_OUT,
        "num_hidden": 2,
    }  # fmt: skip
    assert record["comparison"]["num_gone"] == 5
    assert record["this_run"] == asdict(ended().totals) | {"audio_hours": 3600.0004 / 3600, "speech_hours": 0.5}
    assert record["all_rows"] == asdict(ALL_ROWS) | {"audio_hours": 2.5, "speech_hours": 1.25}
    assert not {"audio_hours", "speech_hours"} & record.keys()
    assert record["files"] == {"scored": 7, "partial": 2, "failed": 1}
    assert record["windows_per_second"] == pytest.approx(100, rel=1e-3)
    assert record["audio_hours_per_second"] == pytest.approx(1 / 12, rel=1e-3)
    assert {"python", "ser", "ray", "torch", "deltalake"} <= record["versions"].keys()


def test_a_run_that_stopped_before_it_scored_anything_has_a_record_too() -> None:
    outcome = Outcome(fingerprint=FINGERPRINT, config=ScoreConfig(), plan=PLAN)
    record = run_record(outcome, Artifact.load("compact"))
    assert (record["comparison"], record["files"], record["all_rows"]) == (None, None, None)
    assert record["windows_per_second"] == 0
    json.dumps(record)


def test_a_dry_run_tells_files_bytes_settings_and_resources() -> None:
    preview = Preview.of(PLAN, COMPARISON, FINGERPRINT, "1 loader(s)", is_to_be_adapted=False)
    assert json.loads(json.dumps(asdict(preview))) == {
        "files": 10,
        "bytes": 2_500_000,
        "suffixes": {"wav": 8, "m4a": 2},
        "left_out": {"txt": 3, "": 1},
        "left_out_because": LEFT_OUT,
        "hidden": 2,
        "new": 3,
        "changed": 2,
        "retried": 1,
        "unchanged": 4,
        "gone": 5,
        "settings": FINGERPRINT.to_dict(),
        "resources": "1 loader(s)",
        "is_to_be_adapted": False,
    }
    assert preview.lines() == [
        "10 files, 2.5 MB: 3 new, 2 changed, 1 to try again, 4 unchanged, 5 gone",
        "by suffix: 8 .wav, 2 .m4a",
        "left out: 3 .txt, 1 without suffix (no recording), "
        "2 hidden (names with a dot in front, or left by file servers and systems)",
        "source: /archive",
        "model: compact@0123",
        "channels: mix",
        "window_seconds: 3.0",
        "hop_seconds: 1.5",
        "precision: fp32",
        "audio_stream: 0",
        "max_file_hours: 24.0",
        "adapt: none",
        "resources: 1 loader(s)",
        "nothing was written (--dry-run)",
    ]
