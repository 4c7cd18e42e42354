"""Every command shown in the README and in the pages about training runs as shown, on drawn pictures."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
from commands import start

from landmarks.cli import main

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "docs/training.md", "docs/scaling.md")
QUICK = ["--epochs", "1", "--sizes", "64", "--limit", "24", "--batch-size", "8"]
"""Added to every training, which on the page takes minutes."""
QUICK_SHARDS = [word for word in QUICK if word not in {"--limit", "24"}]
"""Shards know no limit."""


def commands_of(page: str) -> list[list[str]]:
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^```\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    lines = [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]
    return [shlex.split(line) for line in lines if line.startswith("landmarks ")]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, drawn: Path) -> Path:
    """A folder that holds what the pages speak of."""
    folder = tmp_path_factory.mktemp("reader")
    picture = sorted(drawn.glob("test/*/*.jpg"))[0]
    shutil.copy(picture, folder / "photo.jpg")
    (folder / "holiday").mkdir()
    shutil.copy(picture, folder / "holiday" / "beach.jpg")
    for name in ("DATA", "EVERYTHING"):
        (folder / name).symlink_to(drawn, target_is_directory=True)
    return folder


@pytest.mark.parametrize("page", PAGES)
def test_commands_of_a_page_run_in_order(page: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = place / Path(page).stem
    shutil.copytree(place, here, symlinks=True, ignore=lambda *_: [Path(p).stem for p in PAGES])
    monkeypatch.chdir(here)
    commands = commands_of(page)
    assert len(commands) >= 4
    for words in commands:
        arguments = ["photo.jpg" if word == "PHOTO..." else word for word in words[1:]]
        if arguments[0] == "train" and "--resume" not in arguments:
            arguments = last_wins([*arguments, *(QUICK_SHARDS if "SHARDS" in arguments else QUICK)])
        if arguments[0] == "cluster":
            pytest.importorskip("ray", reason="the last command of the page needs the extra cluster")
            done = start(*arguments)  # Ray leaves threads behind
            assert done.status == 0, done.err
        else:
            assert main(arguments) == 0, shlex.join(words)


def last_wins(arguments: list[str]) -> list[str]:
    """Leave out a flag with its value where the same flag comes again."""
    kept: list[str] = []
    position = 0
    while position < len(arguments):
        word = arguments[position]
        if word.startswith("--") and word in arguments[position + 1 :]:
            position += 2
            continue
        kept.append(word)
        position += 1
    return kept


def test_targets_of_make_in_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"\bmake ([a-z]+)", (ROOT / "README.md").read_text(encoding="utf-8"))):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target
