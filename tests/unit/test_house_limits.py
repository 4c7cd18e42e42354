"""No module, function or list of parameters grows past what can be read in one sitting; no room gets crowded."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from landmarks.cli.commands import COMMANDS

PACKAGE = Path(__file__).resolve().parents[2] / "src" / "landmarks"
FILES = {str(path.relative_to(PACKAGE)): path for path in sorted(PACKAGE.rglob("*.py"))}

LINES_OF_A_MODULE = 400
LINES_OF_A_FUNCTION = 70
PARAMETERS = 8
MODULES_OF_A_ROOM = 12
ROOMS = 14

LONG_FUNCTIONS: dict[str, str] = {}
MANY_PARAMETERS = {
    "training/data/loaders.py: get_data_loaders": "the function of the course exercise, with its arguments",
    "training/reports/report.py: write_report": "keywords alone, one for each part of the page",
}
CROWDED_ROOMS = {
    "cli": "a file per command",
}


def functions(name: str) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    tree = ast.parse(FILES[name].read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    given = function.args
    names = [one.arg for one in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    return len([name for name in names if name not in {"self", "cls"}])


def is_command(name: str, function: str) -> bool:
    """Each parameter of a command is an option or a group of options."""
    return name.startswith("cli/") and (function in COMMANDS or (name, function) == ("cli/models.py", "add"))


@pytest.mark.parametrize("name", FILES)
def test_a_module_is_short(name: str) -> None:
    assert len(FILES[name].read_text(encoding="utf-8").splitlines()) <= LINES_OF_A_MODULE, "split it by concern"


def test_functions_are_short() -> None:
    found = {
        f"{name}: {function.name}"
        for name in FILES
        for function in functions(name)
        if (function.end_lineno or 0) - function.lineno + 1 > LINES_OF_A_FUNCTION
    }
    assert found == set(LONG_FUNCTIONS), "split a long one; take one that became short off the list"


def test_functions_take_few_parameters() -> None:
    found = {
        f"{name}: {function.name}"
        for name in FILES
        for function in functions(name)
        if parameters(function) > PARAMETERS and not is_command(name, function.name)
    }
    assert found == set(MANY_PARAMETERS), "group some in a dataclass; take one that has few off the list"


def test_rooms_are_not_crowded() -> None:
    rooms: dict[str, int] = {}
    for name in FILES:
        room, _, module = name.rpartition("/")
        rooms[room] = rooms.get(room, 0) + (module != "__init__.py")
    crowded = {room for room, count in rooms.items() if count > MODULES_OF_A_ROOM}
    assert crowded == set(CROWDED_ROOMS)
    assert len([path for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"]) <= ROOMS


def test_the_page_about_the_album_counts_its_modules() -> None:
    page = (PACKAGE.parents[1] / "docs" / "open-design.md").read_text(encoding="utf-8")
    modules = [*(PACKAGE / "serving" / "album" / "static").glob("*.js")]
    lines = sum(len(module.read_text(encoding="utf-8").splitlines()) for module in modules)
    assert f"{len(modules)} modules of plain JavaScript, {round(lines, -2):,} lines" in page
