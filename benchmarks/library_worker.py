"""One run over a library with a tagger that costs nothing; `library.py` starts it, also with older sources.

Run `python benchmarks/library_worker.py LIBRARY tag`, or `undo`, for one line per photo; `timed` tags, tags again
and undoes, and prints the CPU seconds of each.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from landmarks.library.library import Library

try:
    from landmarks.geo.gazetteer import Place
    from landmarks.tagging.tags import ImageTags, Tag
except ImportError:  # before the rooms
    from landmarks.places import Place
    from landmarks.tags import PhotoTags as ImageTags
    from landmarks.tags import Tag

PLACES = [
    Place("eiffel_tower", "Eiffel Tower", "Paris", "France", "FR", "tower", 48.8583, 2.2944, "Q243"),
    Place("colosseum", "Colosseum", "Rome", "Italy", "IT", "ruin", 41.8902, 12.4922, "Q10285"),
]
TAGS = [Tag(place.name, "landmark", 0.9, place, place.key) for place in PLACES]
DIGESTS = any(field.name == "sha256" for field in fields(ImageTags))


def tagger(photos: Iterable[Path]) -> Iterator[ImageTags]:
    """Tag each photo by its content, which is read once as by the network."""
    for photo in photos:
        content = photo.read_bytes()
        digest: dict[str, Any] = {"sha256": hashlib.sha256(content).digest()} if DIGESTS else {}
        yield ImageTags(photo, (TAGS[content[-20] % 2],), (), "made", **digest)


def run(root: Path, what: str) -> Iterator[str]:
    """Tag or undo a library; yields the status of each photo."""
    with Library(root) as library:
        done = library.undo() if what == "undo" else library.tag([root], tagger, model="made")
        for one in done:
            yield one.status


def main() -> None:
    root, what = Path(sys.argv[1]), sys.argv[2]
    if what != "timed":
        for status in run(root, what):
            print(status, flush=True)
        return
    for phase in ("tag", "tag", "undo"):
        started = time.process_time()
        for _ in run(root, phase):
            pass
        print(time.process_time() - started)


if __name__ == "__main__":
    main()
