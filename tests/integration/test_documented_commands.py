"""Every command and every Python block of the README and the pages runs as shown, on drawn pictures."""

from __future__ import annotations

import doctest
import hashlib
import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from itertools import zip_longest
from operator import attrgetter
from pathlib import Path

import pytest
from commands import Outcome, landmarks, start
from drawn import draw_dataset
from tiny_backbone import NARROW, TINY_BACKBONE, small_networks
from warm import warm_ranks

from landmarks.cli import data, models, runs
from landmarks.files.checksums import sha256_file
from landmarks.training.tuning.search_space import SPACES

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "examples"
QUICK = ["--epochs", "1", "--sizes", "64", "--limit", "24", "--batch-size", "8"]
QUICK_SHARDS = [word for word in QUICK if word not in {"--limit", "24"}]  # shards know no limit
QUICK_HEAD = ["--epochs", "20", "--views", "1", "--batch-size", "8"]
"""Added to every training, which on the page takes minutes; the head of a frozen backbone learns in no time."""

AS_SHOWN = "README.md"
"""The page whose networks are those that users get; those of the other pages are small."""

NEEDED = {"tune": "optuna", "index": "lancedb", "search": "lancedb", "cluster": "ray"}
"""Packages of the extras, by the first command that wants them."""

FENCE = re.compile(r"^```(?P<kind>[^\n]*)\n(?P<text>.*?)^```$", flags=re.MULTILINE | re.DOTALL)
GENERATED = {"docs/cli.md"}


@dataclass(frozen=True)
class Shown:
    """A block of commands, and what the page says that they print, or None where it does not say."""

    commands: tuple[list[str], ...]
    answer: str | None


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks_of(page: str) -> list[Shown]:
    """The blocks of a page that hold commands of ours."""
    text, found = text_of(page), []
    fences = list(FENCE.finditer(text))
    for fence, following in zip_longest(fences, fences[1:]):
        if fence["kind"]:
            continue
        lines = [line.split("  #")[0].strip() for line in fence["text"].splitlines()]
        commands = tuple(shlex.split(line) for line in lines if line.startswith("landmarks "))
        if commands:
            adjacent = following is not None and not text[fence.end() : following.start()].strip()
            answers = adjacent and following["kind"] == "text"
            found.append(Shown(commands, following["text"] if answers else None))
    return found


def python_of(page: str) -> list[str]:
    """The Python blocks of a page."""
    return [fence["text"] for fence in FENCE.finditer(text_of(page)) if fence["kind"] == "python"]


ALL = ["README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))]
PAGES = [page for page in ALL if page not in GENERATED and blocks_of(page)]


class Once:
    """Runs commands, but a training or an export that several pages show only once.

    Args:
        folder: Keeps what was made.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._outcomes: dict[str, Outcome] = {}

    def __call__(self, *words: str) -> Outcome:
        if words[0] not in {"train", "export"} or "--out" not in words:
            return landmarks(*words)
        out = words[words.index("--out") + 1]
        if words[0] == "train":
            key = " ".join(words).replace(f"--out {out}", "--out")
        else:  # the run is known by its weights, wherever it is
            key = " ".join(words[2:]) + sha256_file(Path(words[1]) / "weights.safetensors")
        kept = self._folder / hashlib.sha256(key.encode()).hexdigest()
        if key not in self._outcomes:
            outcome = landmarks(*words)
            self._outcomes[key] = replace(outcome, out=outcome.out.replace(out, "OUT"))
            shutil.copytree(out, kept)
            return outcome
        shutil.copytree(kept, out)
        return replace(self._outcomes[key], out=self._outcomes[key].out.replace("OUT", out))


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    return Once(tmp_path_factory.mktemp("kept"))


@pytest.fixture(scope="module")
def nothing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos without a landmark, as far as a model of the first four drawn ones knows."""
    folder = tmp_path_factory.mktemp("nothing")
    draw_dataset(folder, classes=8, train_per_class=13, test_per_class=1, side=64)
    for number in range(4):
        shutil.rmtree(next((folder / "train").glob(f"{number:02d}.*")))
    return folder / "train"


@pytest.fixture
def place(
    drawn: Path,
    nothing: Path,
    cache: Path,
    once: Once,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Path]:
    """A folder that holds what the pages speak of, with a run and a model of the reader's own; the current one."""
    # The same path for all pages, so that a run of one can stand for that of another.
    folder = tmp_path_factory.getbasetemp() / "place"
    folder.mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    warm_ranks(monkeypatch)
    # Trials with other backbones, crops or augmentations embed all pictures again.
    cheap = [one for one in SPACES["transfer"] if one.key not in {"backbone", "crop_scale", "names"}]
    monkeypatch.setitem(SPACES, "transfer", tuple(cheap))
    shutil.copy(EXAMPLES / "pyramid.jpg", folder / "photo.jpg")
    for name in ("holiday", "docs/examples"):
        shutil.copytree(EXAMPLES, folder / name)
    for name, target in {"EVERYTHING": drawn, "NOTHING": nothing, "ORDINARY": nothing}.items():
        (folder / name).symlink_to(target, target_is_directory=True)
    shutil.copytree(nothing, folder / "OTHERS")  # no photo may be in both
    shutil.copytree(drawn, folder / "DATA")  # no link: the doctor moves pictures
    shutil.copytree(min((drawn / "train").iterdir()), folder / "atomium")
    (folder / "places.csv").write_text("key,name\npyramid,Great Pyramid\n")
    monkeypatch.chdir(folder)
    for words in (
        ["train", "DATA", "--method", "transfer", "--out", "runs/mine"],
        ["export", "runs/mine", "--out", "models/mine"],
    ):
        outcome = once(*quick(words))
        assert outcome.status == 0, outcome.err
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("page", PAGES)
def test_commands_of_a_page_run_in_order_and_answer_as_shown(
    page: str, place: Path, once: Once, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = blocks_of(page)
    named = {word for block in blocks for words in block.commands for word in words}
    missing = {package for word, package in NEEDED.items() if word in named and find_spec(package) is None}
    if missing or ("mlflow" in named and find_spec("mlflow") is None):
        pytest.skip(f"{', '.join(sorted(missing)) or 'mlflow'} is not installed")
    if page != AS_SHOWN:
        small_networks(monkeypatch)  # for the trials of `tune`, too
    if page == "docs/doctor.md":
        spoil(place / "DATA")
    for target in outputs_of(blocks):
        if (place / target).is_dir():
            shutil.rmtree(place / target)  # the page makes it itself
    for block in blocks:
        printed = ""
        for words in block.commands:
            if words[1] == "serve":
                continue  # it runs until it is stopped; tests/integration/test_serve.py does that
            # Ray leaves threads behind, so it gets a process of its own.
            shown = quick(words[1:], small=page != AS_SHOWN)
            outcome = (start if words[1] == "cluster" else once)(*shown)
            assert outcome.status == 0, f"{shlex.join(words)}: {outcome.err}"
            printed += outcome.out.replace(str(place), "...")
        if block.answer is not None:
            assert without_numbers(printed) == without_numbers(block.answer), "mend the page"


@pytest.mark.parametrize("page", [page for page in ALL if python_of(page)])
def test_python_of_a_page_runs_in_order(
    page: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small_networks(monkeypatch)
    names: dict[str, object] = {}
    if page == "docs/search.md":
        pytest.importorskip("lancedb", reason="the extra search is not installed")
        assert landmarks("index", "holiday").status == 0
    for block in python_of(page):
        exec(compile(block, page, "exec"), names)
    assert capsys.readouterr().out


EXAMPLES_OF_API = ("load_model", "tag", "train", "evaluate", "export", "Model.tag", "Model.predict", "Model.embed")


@pytest.mark.parametrize("name", EXAMPLES_OF_API)
def test_examples_in_docstrings_run(name: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import landmarks as package

    small_networks(monkeypatch)
    documented = attrgetter(name)(package)
    examples = doctest.DocTestParser().get_examples(documented.__doc__)
    assert examples
    if name == "train":  # it makes the run itself
        (place / "DATA").rename(place / "pictures")
        shutil.rmtree(place / "runs/mine")
    exec(compile("".join(example.source for example in examples), name, "exec"), {"landmarks": package})


MENTIONED = re.compile(r"`+landmarks ([a-z][^`]*)`")
"""A command within a sentence; nothing runs it."""

GROUPS = {"data": data.COMMANDS, "models": models.COMMANDS, "runs": runs.COMMANDS}
TEXTS = ["README.md", "docs/*.md", "notebooks/*.py", "benchmarks/*.py", "src/**/*.py"]


@pytest.mark.parametrize("pattern", TEXTS)
def test_commands_in_sentences_have_the_options_that_they_name(pattern: str) -> None:
    pages: dict[tuple[str, ...], set[str]] = {}
    mentioned = 0
    for path in sorted(ROOT.glob(pattern)):
        for found in MENTIONED.finditer(path.read_text(encoding="utf-8")):
            words = re.sub(r"\s+(?:#\s)?", " ", found[1]).split(" ")
            command = [words[0], *(word for word in words[1:2] if word in GROUPS.get(words[0], ()))]
            asked = {word.partition("=")[0] for word in words if re.match("--?[a-z]", word)}
            known = pages.setdefault(
                tuple(command), set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", landmarks(*command, "--help").out))
            )
            assert asked <= known, f"{path.relative_to(ROOT)}: landmarks {' '.join(words)}: {asked - known}"
            mentioned += 1
    assert mentioned


def test_targets_of_make_in_the_pages_exist() -> None:
    makefile = text_of("Makefile")
    for page in ALL:
        for target in set(re.findall(r"(?:^|`)make ([a-z]+)", text_of(page), flags=re.MULTILINE)):
            assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), f"{page}: make {target}"


def test_readme_is_short() -> None:
    assert len(text_of("README.md").splitlines()) < 150


def spoil(data: Path) -> None:
    """Plant what the doctor looks for: a picture twice, and one in the wrong class."""
    first, second = sorted((data / "train").iterdir())[:2]
    shutil.copy(first / "000.jpg", first / "again.jpg")
    shutil.copy(first / "001.jpg", second / "mislabelled.jpg")


def outputs_of(blocks: list[Shown]) -> set[str]:
    commands = [words for block in blocks for words in block.commands if words[1] in {"train", "export"}]
    return {words[words.index("--out") + 1] for words in commands if "--out" in words}


def quick(words: list[str], *, small: bool = True) -> list[str]:
    words = ["photo.jpg" if word == "PHOTO..." else word for word in words]
    if words[0] == "tune":
        return [*words, "--epochs", "2"]
    if words[0] != "train" or "--resume" in words:
        return words
    transfer = not {"scratch", "quick"} & set(words)
    few = QUICK_SHARDS if "SHARDS" in words else QUICK
    network = TINY_BACKBONE if transfer else NARROW[2:]  # without the method, which the words or their preset say
    few = QUICK_HEAD if transfer and "--unfreeze" not in words else few
    return last_wins([*words, *(network if small else ()), *few])


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


def without_numbers(text: str) -> str:
    """Figures change with the machine and the model; what is said must not."""
    return re.sub(r"\d+(\.\d+)?", "#", text).strip()
