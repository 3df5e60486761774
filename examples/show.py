"""Print the files of a finished output and the emotions found in them: `python examples/show.py OUTPUT`."""

import sys

import pyarrow.dataset as ds


def main(output: str) -> None:
    files = ds.dataset(f"{output}/files", partitioning="hive", exclude_invalid_files=True).to_table().sort_by("path")
    print(f"{'file':<24}{'status':<9}{'emotion':<11}{'confidence':>10}  windows")
    for row in files.to_pylist():
        confidence = "" if row["confidence"] is None else f"{row['confidence']:.2f}"
        emotion = row["emotion"] or row["reason"]
        print(f"{row['path']:<24}{row['status']:<9}{emotion:<11}{confidence:>10}  {row['num_windows']}")


if __name__ == "__main__":
    main(sys.argv[1])
