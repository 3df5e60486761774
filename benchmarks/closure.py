"""How much code one has to open: folders, files and lines, and what each verb touches by following its imports.

    python benchmarks/closure.py [ROOT]

A name that is imported from a room's door counts as an import of the module that defines it, and of the door.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

PACKAGES = ("ser_core", "cluster", "jobs")
VERBS = ("score", "train", "predict", "evaluate")


def module_files(root: Path) -> dict[str, Path]:
    """Every module of the packages by its dotted name."""
    files = [file for package in PACKAGES for file in sorted((root / package).rglob("*.py"))]
    return {".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): file for file in files}


def imported_names(tree: ast.AST, package: str) -> Iterator[tuple[str, str]]:
    """(module, name) of every import, inside functions too; the name is empty for `import module`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = ".".join(filter(None, (package if node.level else "", node.module or "")))
            yield from ((module, alias.name) for alias in node.names)


def imports_of(name: str, modules: dict[str, Path], doors: dict[str, dict[str, str]]) -> set[str]:
    """The modules of the packages that a module imports directly."""
    found = set()
    for module, imported in imported_names(ast.parse(modules[name].read_text()), name):
        inner = f"{module}.{imported}"
        target = doors.get(module, {}).get(imported)
        found |= {candidate for candidate in (module, inner, target) if candidate in modules}
    return found


def doors_of(modules: dict[str, Path]) -> dict[str, dict[str, str]]:
    """Package -> exported name -> the module that defines it, from each door's stub."""
    doors = {}
    for name, file in modules.items():
        stub = file.with_suffix(".pyi")
        if stub.exists():
            doors[name] = {imported: module for module, imported in imported_names(ast.parse(stub.read_text()), name)}
    return doors


def closure(start: str, modules: dict[str, Path]) -> set[str]:
    """The modules that `start` reaches by imports, itself included."""
    doors = doors_of(modules)
    reached, pending = set(), [start]
    while pending:
        name = pending.pop()
        if name not in reached:
            reached.add(name)
            pending += imports_of(name, modules, doors)
    return reached


def num_lines(modules: dict[str, Path], names: set[str]) -> int:
    """Lines of the modules of these names."""
    return sum(len(modules[name].read_text().splitlines()) for name in names)


def main() -> None:
    """Print the table."""
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent.parent)
    modules = module_files(root)
    folders: dict[Path, int] = {}
    for file in modules.values():
        folders[file.parent] = folders.get(file.parent, 0) + 1
    largest = max(folders, key=lambda folder: folders[folder])
    print(f"{len(folders)} folders, {len(modules)} files, {num_lines(modules, set(modules))} lines", end="; ")
    print(f"the largest folder is {largest.relative_to(root)} with {folders[largest]} files")
    for verb in VERBS:
        reached = closure(f"jobs.{verb}", modules)
        print(f"ser {verb}: {len(reached)} files, {num_lines(modules, reached)} lines")


if __name__ == "__main__":
    main()
