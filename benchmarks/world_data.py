"""The pictures of the bundled model `world`: what each is for, and all of them decoded once.

A picture has one role. Validation, the classes and kinds that are held out, `other_source` and every `test` folder
are never trained on.

| role | what |
|---|---|
| train, train_small | landmarks of world34 and world124; the same places at 64 pixels from the small sets |
| valid, test | landmarks that the model knows, not trained on |
| background, background_landmark | photos of no landmark; landmarks it must not claim: the outlier exposure |
| background_valid | more photos of the trained kinds, not trained on |
| unknown | landmarks of world124 that the development model does not know |
| unknown_small, unknown_twin | other landmarks at 64 pixels that are not trained on; `unknown` at 64 pixels |
| kind | kinds of photos that are not trained on (development only) |
| other_source, buildings | known landmarks from other collections; ordinary castles, churches and bridges |
"""

from __future__ import annotations

import csv
import random
from collections import defaultdict
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from multiprocessing import Pool
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from landmarks.imaging.decoding import load_rgb
from landmarks.imaging.preprocessing import center_crop, resize_short_side

SETS = (
    "world34",
    "world124",
    "monuments49",
    "landmarks10",
    "other_source",
    "negatives",
    "negatives_wide",
    "negatives_buildings",
)
TWINS = {
    "monuments49/04.Brihadeshwara_Temple": "021.Brihadeeswara_Temple",
    "monuments49/13.Fatehpur_Sikri_Fort": "037.Fatehpur_Sikri",
    "monuments49/16.India_Gate": "060.India_Gate",
    "monuments49/18.ajanta_caves": "002.Ajanta_Caves",
    "monuments49/23.basilica_of_bom_jesus": "012.Basilica_of_Bom_Jesus",
    "monuments49/31.charminar": "025.Charminar",
    "monuments49/41.fatehpur_sikri": "037.Fatehpur_Sikri",
    "monuments49/42.ford_Auguda": "041.Fort_Aguada_Goa",
    "monuments49/45.golden_temple": "049.Golden_Temple_Amritsar",
    "monuments49/46.hawa_mahal": "057.Hawa_Mahal",
    "landmarks10/00.berlin_cathedral": "014.Berlin_Cathedral",
    "landmarks10/01.colosseum": "06.Colosseum",
    "landmarks10/03.hagia_sophia": "056.Hagia_Sophia",
    "landmarks10/06.pantheon": "086.Pantheon_Rome",
    "landmarks10/09.st_stephen_cathedral_vienna": "104.St_Stephens_Cathedral_Vienna",
}
"""Folders of 64-pixel pictures that show a landmark of the model."""

LEFT_OUT = ("monuments49/27.buland_darwaza", "monuments49/08.Cheese")
"""A gate of Fatehpur Sikri, which the model knows, and a class that is no place."""

HELD_KINDS = ("mountain", "sea", "garden_park", "building_highrise", "house_bungalow", "football_stadium")
HELD_LANDMARKS = 26

SIDE, LONGEST = 256, 560
"""Short side of a stored picture, and the most of its long side that is kept."""

Mode = Literal["dev", "final"]


def other_collections(photos: Mapping[str, int], trained: Container[str]) -> str:
    """What the model saw of the collections of `other_source`.

    Args:
        photos: Photos of each collection there.
        trained: Collections that it learnt from.
    """
    untouched = {name: count for name, count in photos.items() if name not in trained}
    return (
        "`other sources` are other collections than those of these landmarks' training pictures; "
        f"{len(photos) - len(untouched)} of the {len(photos)} also gave training pictures of other landmarks "
        f"({sum(photos.values()) - sum(untouched.values())} of the {sum(photos.values())} photos are theirs). "
        f"Nothing was trained on {', '.join(f'{name} ({count})' for name, count in untouched.items()) or 'none'}."
    )


@dataclass(frozen=True)
class Photo:
    """One picture: its set, split and folder, what it is for, and its class, or -1 where it has none to learn."""

    path: Path
    collection: str
    split: str
    folder: str
    source: str
    role: str = ""
    label: int = -1

    @property
    def key(self) -> str:
        """Collection and folder: the class or kind, told apart between collections."""
        return f"{self.collection}/{self.folder}"


@dataclass(frozen=True)
class Roles:
    """Every picture with its role; the classes to learn: landmarks first, then groups of background."""

    photos: tuple[Photo, ...]
    known: tuple[str, ...]
    background: tuple[str, ...]

    @property
    def labels(self) -> NDArray[np.int64]:
        """(N,), -1 for a picture without a class to learn."""
        return np.array([photo.label for photo in self.photos])

    def of(self, *roles: str) -> NDArray[np.int64]:
        """Positions of the pictures that have one of the roles."""
        return np.array([i for i, photo in enumerate(self.photos) if photo.role in roles], dtype=np.int64)


def list_photos(data: Path) -> list[Photo]:
    """Every picture of the sets, in a fixed order."""
    photos = []
    for name in SETS:
        root, sources = data / name, {}
        if (root / "manifest.csv").is_file():
            with (root / "manifest.csv").open(encoding="utf-8") as file:
                sources = {(row["class"], row["file"]): row["source"] for row in csv.DictReader(file)}
        for path in sorted(root.rglob("*.jpg")):
            first = path.relative_to(root).parts[0]
            folder = path.parent.name if path.parent != root else "old_negatives" if name == "negatives" else ""
            source = sources.get((folder, path.name), "")
            photos.append(Photo(path, name, first if first in ("train", "test") else "any", folder, source))
    return photos


def assign_roles(photos: Sequence[Photo], mode: Mode, *, seed: int = 0) -> Roles:
    """Give every picture its role.

    Args:
        photos: From `list_photos`.
        mode: `dev` keeps 26 landmarks, six kinds and half of the other landmarks from the training, to choose
            score and thresholds on what the network has never seen; `final` trains on all landmarks.
        seed: Draws the landmarks that are held out.
    """
    dev = mode == "dev"
    wide = sorted({photo.folder for photo in photos if photo.collection == "world124"})
    # A drawing, not a secret.
    held = set(random.Random(seed).sample(wide, HELD_LANDMARKS)) if dev else set()
    known = sorted({photo.folder for photo in photos if photo.collection == "world34"})
    known += [name for name in wide if name not in held]
    others = sorted({photo.key for photo in photos if _is_other(photo)})
    kept = set(others[1::2] if dev else others[1::4])
    roles = [_first_role(photo, set(known), held, kept, HELD_KINDS if dev else ()) for photo in photos]
    _hold_out(photos, roles, "train", "valid", share=0.12 if dev else 0.08, least=2)
    _hold_out(photos, roles, "background", "background_valid", share=0.3 if dev else 0.25, least=0)
    groups = sorted({p.folder for p, role in zip(photos, roles, strict=True) if role == "background"})
    groups += sorted({p.key for p, role in zip(photos, roles, strict=True) if role == "background_landmark"})
    places = {name: i for i, name in enumerate([*known, *groups])}
    labelled = []
    for photo, role in zip(photos, roles, strict=True):
        name = ""
        if role in ("train", "train_small", "valid", "test", "other_source"):
            name = TWINS.get(photo.key, photo.folder)
        elif role in ("background", "background_valid"):
            name = photo.folder
        elif role == "background_landmark":
            name = photo.key
        labelled.append(replace(photo, role=role, label=places.get(name, -1)))
    return Roles(tuple(labelled), tuple(known), tuple(groups))


def _is_other(photo: Photo) -> bool:
    small = photo.collection in ("monuments49", "landmarks10")
    return small and photo.key not in TWINS and photo.key not in LEFT_OUT


def _first_role(photo: Photo, known: set[str], held: set[str], kept: set[str], held_kinds: Sequence[str]) -> str:
    if photo.collection in ("world34", "world124"):
        if photo.folder not in known:
            return "unknown"
        return "test" if photo.split == "test" else "train"
    if photo.collection in ("monuments49", "landmarks10"):
        if photo.key in TWINS:
            return "unknown_twin" if TWINS[photo.key] in held else "train_small"
        other = "unknown_small" if photo.key in kept else "background_landmark"
        return "" if photo.key in LEFT_OUT else other
    ordinary = "kind" if photo.folder in held_kinds else "background"
    return {"other_source": "other_source", "negatives_buildings": "buildings"}.get(photo.collection, ordinary)


def _hold_out(
    photos: Sequence[Photo], roles: list[str], role: str, instead: str, *, share: float, least: int
) -> None:
    """Give a share of the pictures of each folder that have `role` another one."""
    folders = defaultdict(list)
    for i, photo in enumerate(photos):
        if roles[i] == role:
            folders[photo.folder].append(i)
    for folder, places in folders.items():
        random.Random(folder).shuffle(places)
        for i in places[: max(least, round(share * len(places)))]:
            roles[i] = instead


@dataclass(frozen=True, eq=False)
class Pictures:
    """Decoded pictures in one file: RGB, short side 256, in the order of the photos."""

    values: NDArray[np.uint8]
    starts: NDArray[np.int64]
    shapes: NDArray[np.int64]

    def __getitem__(self, place: int) -> NDArray[np.uint8]:
        height, width = self.shapes[place]
        start = self.starts[place]
        found: NDArray[np.uint8] = self.values[start : start + height * width * 3].reshape(height, width, 3)
        return found

    def crop(self, place: int, size: int = 224) -> NDArray[np.uint8]:
        """The centre crop that the model sees in use."""
        return np.ascontiguousarray(center_crop(self[place], size))


def decode(photos: Sequence[Photo], cache: Path, *, processes: int = 2) -> Pictures:
    """Decode all pictures into `cache`, once."""
    values, index = cache / "pictures.u8", cache / "pictures.npy"
    if not index.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        shapes = []
        with values.open("wb") as file, Pool(processes) as pool:
            for picture in pool.imap(_decoded, [photo.path for photo in photos], chunksize=32):
                file.write(picture.tobytes())
                shapes.append(picture.shape[:2])
        np.save(index, np.array(shapes, dtype=np.int64))
    stored = np.load(index)
    if len(stored) != len(photos):
        raise SystemExit(f"{cache}: made of other pictures: remove it")
    sizes = stored.prod(axis=1) * 3
    return Pictures(np.memmap(values, dtype=np.uint8, mode="r"), np.cumsum(sizes) - sizes, stored)


def _decoded(path: Path) -> NDArray[np.uint8]:
    picture = resize_short_side(load_rgb(path), SIDE)
    height, width = picture.shape[:2]
    top, left = max(0, round((height - LONGEST) / 2)), max(0, round((width - LONGEST) / 2))
    return picture[top : top + LONGEST, left : left + LONGEST]
