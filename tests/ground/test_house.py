"""The house stays one that is liked to live in: sizes of files, functions, folders and doors."""

import ast
import importlib
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
FILES = sorted(file for package in ("ser_core", "cluster", "jobs") for file in (ROOT / package).rglob("*.py"))
DOORS = [file.with_name("__init__.py") for file in sorted((ROOT / "ser_core").rglob("__init__.pyi"))]
#: What an `__init__.pyi` may export: more than a reader can hold in mind is not a door.
MAX_NAMES = 22


def name_of(file: Path) -> str:
    return str(file.relative_to(ROOT))


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_files_and_functions_are_short(file: Path) -> None:
    text = file.read_text()
    assert len(text.splitlines()) <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 60, node.name


def test_no_folder_holds_more_than_twenty_files() -> None:
    folders = {file.parent for file in FILES}
    assert {name_of(folder): n for folder in folders if (n := len(list(folder.glob("*.py")))) > 20} == {}


def test_every_folder_of_the_program_is_installed() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    there = {file.parent for room in ("jobs", "cluster", "ser_core") for file in (ROOT / room).rglob("*.py")}
    assert sorted(listed) == sorted(name_of(folder).replace("/", ".") for folder in there)


@pytest.mark.parametrize("door", DOORS, ids=name_of)
def test_a_door_says_what_its_room_does_and_every_name_at_it_is_there(door: Path) -> None:
    module = importlib.import_module(".".join(door.parent.relative_to(ROOT).parts))
    assert len((module.__doc__ or "").split()) >= 12
    assert 0 < len(module.__all__) <= MAX_NAMES
    stub = ast.parse(door.with_suffix(".pyi").read_text())
    [listed] = [node.value for node in stub.body if isinstance(node, ast.Assign)]
    assert sorted(ast.literal_eval(listed)) == sorted(module.__all__)
    for name in module.__all__:
        getattr(module, name)


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_a_modules_first_line_says_its_role(file: Path) -> None:
    docstring = ast.get_docstring(ast.parse(file.read_text()))
    assert docstring, "no docstring"
