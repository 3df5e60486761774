"""Containers and codecs: what FFmpeg finds in each file, whole and cut at 60 %, and what `ser score` makes of it.

    python benchmarks/formats.py --clip SPEECH.wav [--model whisper]

Debian's `ffmpeg` writes every pair from one clip and counts the seconds in it; what it has no encoder for is left out.
A Markdown table comes out. `same` is the emotion of the clip itself: codecs that change nothing that is heard give it.
"""

import argparse
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
from deltalake import DeltaTable

#: Suffix, encoder, options: these have rate and bits enough to sound as the clip does.
TRANSPARENT = """
wav pcm_s16le|wav pcm_s24le|wav pcm_f32le|w64 pcm_s16le|rf64 pcm_s16le -f wav -rf64 always|aiff pcm_s16be|au pcm_s16be
caf pcm_s16le|caf alac|flac flac|oga flac|mka flac|m4a alac|mov pcm_s16le|wv wavpack|tta tta|mka pcm_s16le|nut pcm_s16le
mp3 libmp3lame -b:a 192k|mp2 mp2 -b:a 256k|wav libmp3lame -b:a 192k|mka libmp3lame -b:a 192k|mp4 libmp3lame -b:a 192k
avi libmp3lame -b:a 192k -f avi|m4a aac -b:a 160k -movflags +faststart|m4a aac -b:a 160k|aac aac -b:a 160k
mp4 aac -b:a 160k -movflags frag_keyframe+empty_moov -frag_duration 500000|mka aac -b:a 160k|ts aac -b:a 160k
flv aac -b:a 160k|3gp aac -b:a 160k -movflags +faststart|opus libopus -b:a 96k|webm libopus -b:a 96k
mka libopus -b:a 96k|mp4 libopus -b:a 96k -movflags +faststart|caf libopus -b:a 96k
ogg libvorbis -q:a 6|webm libvorbis -q:a 6|mka libvorbis -q:a 6|wma wmav2 -b:a 160k
wav wmav2 -b:a 160k|ac3 ac3 -b:a 192k|eac3 eac3 -b:a 192k|mkv ac3 -b:a 192k
wav ac3 -b:a 192k|dts dca -strict -2|thd truehd -strict -2|wav adpcm_ima_wav|wav adpcm_ms|aiff adpcm_ima_qt
mpg mp2 -b:a 256k|asf libmp3lame -b:a 192k|webm libopus -b:a 96k -live 1
"""
OTHERS = """
wav pcm_mulaw -ar 8000|wav pcm_alaw -ar 8000|au pcm_mulaw -ar 8000|wav libgsm_ms -ar 8000|gsm libgsm -ar 8000
wav adpcm_g726 -ar 8000|wav g723_1 -ar 8000 -ac 1|g722 g722 -ar 16000 -ac 1|wav g722 -ar 16000 -ac 1
spx libspeex -ar 16000|wma wmav1 -b:a 64k|ra real_144 -ar 8000 -ac 1|sbc sbc -ar 16000|voc pcm_u8
flv nellymoser -ar 8000 -ac 1
"""
#: With a picture beside the sound, which lasts twice as long.
VIDEO = "mp4 aac -c:v mpeg4|mkv aac -c:v mpeg4|avi libmp3lame -c:v mpeg4|wmv wmav2 -c:v wmv2|ts aac -c:v mpeg2video"
CUT = 0.6


def write_pair(folder: Path, clip: Path, number: int, pair: str, picture: list[str]) -> str | None:
    """Write a pair whole and cut; the name of the whole file, or None where this ffmpeg has no such encoder."""
    suffix, encoder, *options = pair.split()
    name = f"{number:02}_{encoder}.{suffix}"
    command = ["ffmpeg", "-v", "error", "-nostdin", "-i", str(clip), *picture, "-c:a", encoder, *options]
    if subprocess.run([*command, str(folder / name)], capture_output=True, check=False).returncode:
        (folder / name).unlink(missing_ok=True)
        return None
    contents = (folder / name).read_bytes()
    (folder / f"cut_{name}").write_bytes(contents[: round(CUT * len(contents))])
    return name


def seconds_by_ffmpeg(file: Path) -> float:
    """What FFmpeg decodes of the first audio stream, as 16 kHz mono."""
    command = ["ffmpeg", "-v", "quiet", "-nostdin", "-i", str(file), "-map", "0:a:0", "-ac", "1", "-ar", "16000"]
    answer = subprocess.run([*command, "-f", "s16le", "-"], capture_output=True, check=False)
    return len(answer.stdout) / 2 / 16_000


def score(folder: Path, output: Path, model: list[str]) -> dict[str, dict[str, object]]:
    """The row of every file, by name."""
    command = [str(Path(sys.executable).with_name("ser")), "score", str(folder), str(output), "--engine", "local"]
    subprocess.run([*command, "--glob", "**", "--max-failure-rate", "1", *model], check=False)
    rows = pa.table(DeltaTable(str(output / "files")).to_pyarrow_table())
    return {str(row["path"]): row for row in rows.to_pylist()}


def line(folder: Path, name: str, options: str, rows: dict[str, dict[str, object]], emotion: object) -> str:
    """A row of the table."""
    whole, cut = rows[name], rows[f"cut_{name}"]
    cells = [name.partition(".")[2], name[3:].partition(".")[0], options]
    for row, file in ((whole, folder / name), (cut, folder / f"cut_{name}")):
        cells += [f"{seconds_by_ffmpeg(file):.2f}", f"{row['audio_seconds'] or 0:.2f}", str(row["status"])]
    cells.append("same" if whole["emotion"] == emotion else str(whole["emotion"]))
    cells.append(str(cut["reason"] or "no"))
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--clip", type=Path, required=True, help="some seconds of speech")
    parser.add_argument("--model", help="as `ser score` takes it")
    options = parser.parse_args()
    with TemporaryDirectory() as place:
        folder, pairs = Path(place, "in"), {}
        folder.mkdir()
        command = ["ffmpeg", "-v", "error", "-nostdin", "-i", str(options.clip), "-ar", "44100", "-ac", "1"]
        subprocess.run([*command, str(folder / "clip.wav")], check=True)
        length = 2 * seconds_by_ffmpeg(folder / "clip.wav")
        picture = ["-f", "lavfi", "-i", f"testsrc=d={length}:r=25:s=64x64"]
        texts = [(TRANSPARENT, []), (OTHERS, []), (VIDEO, picture)]
        wanted = [(pair, beside) for text, beside in texts for pair in text.strip().replace("\n", "|").split("|")]
        for number, (pair, beside) in enumerate(wanted):
            if name := write_pair(folder, folder / "clip.wav", number, pair, beside):
                pairs[name] = " ".join(pair.split()[2:])
            else:
                print(f"left out: {pair}", file=sys.stderr)
        rows = score(folder, Path(place, "out"), ["--model", options.model] if options.model else [])
        emotion = rows["clip.wav"]["emotion"]
        print(f"\n{len(pairs)} pairs of {options.clip.name}, {emotion}, {length / 2:.2f} s\n")
        print(
            "| container | codec | options | FFmpeg, s | ser, s | status "
            "| FFmpeg, cut | ser, cut | status | emotion | said |"
        )
        print("|---|---|---|---|---|---|---|---|---|---|---|")
        for name, words in pairs.items():
            print(line(folder, name, words, rows, emotion))


if __name__ == "__main__":
    main()
