"""Plants known faults in a copy of a data set: wrong labels, near-duplicates and broken files."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass
from pathlib import Path

from PIL import Image, ImageEnhance

ALTERATIONS = ("re-encoded", "resized", "cropped", "brighter or darker")
DAMAGES = ("cut short", "rest is zeros", "empty", "a web page", "damaged head")


@dataclass(frozen=True)
class Planted:
    """What was planted; paths are relative to the data set.

    Attributes:
        wrong_labels: Images in a class that is not theirs.
        copies: Altered copies, each with its original.
        alterations: What was done to each copy.
        broken: Damaged files, each with its damage.
        pictures: Images of the data set after planting.
        left_out: Images of the source that the copy does not have.
    """

    wrong_labels: dict[str, str]
    copies: dict[str, str]
    alterations: dict[str, str]
    broken: dict[str, str]
    pictures: int
    left_out: list[str]


def plant(
    source: Path,
    target: Path,
    *,
    wrong_labels: float = 0.05,
    copies: float = 0.05,
    broken: float = 0.02,
    seed: int = 0,
    left_out: Collection[str] = (),
) -> Planted:
    """Copy a data set with `train/` and `test/`, and plant faults in the copy.

    Each fault affects different images, drawn evenly over the data set. A wrong label is any other class. Half of
    the copies are placed beside their original, a quarter in the other split and a quarter in another class.

    Args:
        source: The data set; it is not changed.
        target: The folder to create. If it exists, the planted faults are read from it.
        wrong_labels: Fraction of the images that are moved to another class.
        copies: Fraction of the images that get an altered copy.
        broken: Fraction of the images that are damaged.
        seed: Seed of all random choices.
        left_out: Images to leave out of the copy, relative to the source.
    """
    truth = target.with_suffix(".json")
    if truth.is_file():
        return Planted(**json.loads(truth.read_text()))
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    (target / "manifest.csv").unlink(missing_ok=True)
    for name in left_out:
        (target / name).unlink()
    rng = random.Random(seed)
    files = sorted(path.relative_to(target) for path in target.glob("*/*/*.jpg"))
    classes = sorted({path.parts[1] for path in files})
    drawn = files.copy()
    rng.shuffle(drawn)
    counts = [round(share * len(files)) for share in (wrong_labels, copies, broken)]
    moved, originals, damaged = (drawn[sum(counts[:n]) : sum(counts[: n + 1])] for n in range(3))

    placed: dict[str, str] = {}
    for path in moved:
        other = path.parent.parent / rng.choice([name for name in classes if name != path.parts[1]]) / path.name
        (target / path).rename(target / other)
        placed[str(other)] = str(path)
    pairs, how = {}, {}
    for number, path in enumerate(originals):
        split, name, _ = path.parts
        if number % 4 == 2:
            split = "test" if split == "train" else "train"
        elif number % 4 == 3:
            name = rng.choice([other for other in classes if other != name])
        copy = Path(split, name, f"{rng.getrandbits(64):016x}.jpg")
        how[str(copy)] = ALTERATIONS[number // 4 % len(ALTERATIONS)]
        _alter(target / path, target / copy, how[str(copy)], rng)
        pairs[str(copy)] = str(path)
    damages = {str(path): DAMAGES[number % len(DAMAGES)] for number, path in enumerate(damaged)}
    for name, damage in damages.items():
        _damage(target / name, damage, rng)
    planted = Planted(placed, pairs, how, damages, len(files) + len(pairs), sorted(left_out))
    truth.write_text(json.dumps(asdict(planted), indent=1))
    return planted


def _alter(original: Path, copy: Path, how: str, rng: random.Random) -> None:
    with Image.open(original) as opened:
        image = opened.convert("RGB")
    width, height = image.size
    if how == "resized":
        factor = rng.uniform(0.5, 0.9)
        image = image.resize((round(width * factor), round(height * factor)), Image.Resampling.LANCZOS)
    elif how == "cropped":
        left, top, right, bottom = (rng.uniform(0, 0.06) for _ in range(4))
        image = image.crop(
            (round(left * width), round(top * height), round((1 - right) * width), round((1 - bottom) * height))
        )
    elif how == "brighter or darker":
        image = ImageEnhance.Brightness(image).enhance(rng.choice((rng.uniform(0.65, 0.9), rng.uniform(1.1, 1.4))))
    image.save(copy, quality=rng.randint(40, 85))


def _damage(path: Path, how: str, rng: random.Random) -> None:
    content = path.read_bytes()
    kept = round(len(content) * rng.uniform(0.1, 0.9))
    ways: dict[str, Callable[[], bytes]] = {
        "cut short": lambda: content[:kept],
        "rest is zeros": lambda: content[:kept] + bytes(len(content) - kept),
        "empty": lambda: b"",
        "a web page": lambda: b"<!doctype html><title>404 Not Found</title>",
        "damaged head": lambda: bytes(rng.getrandbits(8) for _ in range(64)) + content[64:],
    }
    path.write_bytes(ways[how]())
