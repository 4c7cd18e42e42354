"""The effect of confirmed photos on landmarks that the bundled model already knows.

Run `python benchmarks/confirm.py DATA`, DATA being the folder with all sets; it takes about a minute.
Of each class with enough test images some are set aside as the library of a user who confirmed their tags. The
bundled model learns N of them per class, like `landmarks learn --from-library`, and tags the other test images.
Images are confirmed whatever the model predicted; a real user mostly confirms correct predictions, which teach
less. False tags are counted on ordinary photos that the model was not trained on. The table is printed and written
to benchmarks/results/confirm.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from embeddings import class_names, world34
from numpy.typing import NDArray
from record import record, table
from world_data import assign_roles, list_photos

from landmarks.fewshot.learned import LearnedLandmark, LearnedLandmarks, read_learned
from landmarks.geo.gazetteer import Gazetteer
from landmarks.model.folder import DEFAULT_MODEL, find_model
from landmarks.model.recognizer import Recognition, Recognizer
from landmarks.tagging.settings import TagSettings
from landmarks.tagging.tagger import Tagger

CONFIRMED = (0, 1, 5, 10)
LEFT = 5  # images that a class must have beside those
DRAWS = 5


def names(tagger: Tagger, recognitions: Sequence[Recognition]) -> NDArray[np.str_]:
    """The landmark that each photo is tagged with, empty if none is."""
    tags = [tagger.tag(one).photo.tags for one in recognitions]
    return np.array([found[0].name if found and found[0].level == "landmark" else "" for found in tags])


def taught(empty: LearnedLandmarks, photos: dict[str, list[Recognition]]) -> LearnedLandmarks:
    """The landmarks, each from its photos."""
    space = empty.reference.space
    vectors = {name: space.vectors(np.stack([one.embedding for one in ones])) for name, ones in photos.items()}
    return empty.with_landmarks([LearnedLandmark(name, found, found[:0]) for name, found in vectors.items()])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    given = parser.parse_args()
    folder, gazetteer = find_model(DEFAULT_MODEL), Gazetteer.bundled()
    recognizer = Recognizer(folder)
    read = read_learned(folder, recognizer.info)
    if read is None:
        raise SystemExit("the bundled model brings no reference")
    empty = read.with_landmarks(())
    test = world34(given.data, "test")
    roles = assign_roles(list_photos(given.data), "final")
    nothing = [roles.photos[i].path for i in roles.of("background_valid", "buildings")]
    pictures = list(recognizer.recognize(test.paths, embeddings=True))
    others = list(recognizer.recognize(nothing, embeddings=True))
    shown = np.array([gazetteer.display_name(name) for name in class_names(given.data)])[test.labels]
    classes, counts = np.unique(shown, return_counts=True)
    classes = classes[counts >= max(CONFIRMED) + LEFT]

    def tagger(learned: LearnedLandmarks | None) -> Tagger:
        info = recognizer.info
        return Tagger(info.classes, recognizer.calibration, gazetteer, TagSettings(), "", learned=learned)

    figures: dict[int, list[tuple[float, float, float]]] = {count: [] for count in CONFIRMED}
    for draw in range(DRAWS):
        rng = np.random.default_rng(draw)
        order = {name: rng.permutation(np.flatnonzero(shown == name)) for name in classes}
        asked = np.concatenate([places[max(CONFIRMED) :] for places in order.values()])
        for count in CONFIRMED:
            library = {str(name): [pictures[place] for place in order[name][:count]] for name in classes}
            model = tagger(taught(empty, library) if count else None)
            found = names(model, [pictures[place] for place in asked])
            right = found == shown[asked]
            false = (names(model, others) != "").mean()
            figures[count].append((right.mean(), ((found != "") & ~right).mean(), false))
    rows = [[count, *(f"{value:.2%}" for value in np.mean(figures[count], axis=0))] for count in CONFIRMED]
    header = ["confirmed photos per landmark", "tagged rightly", "tagged wrongly", "false tags on ordinary photos"]
    body = table(header, rows) + (
        f"\n\n{len(classes)} landmarks of world34 with at least {max(CONFIRMED) + LEFT} test pictures, all of "
        f"them confirmed; {len(asked)} test pictures and {len(others)} ordinary photos that nothing was "
        f"learnt from, mean of {DRAWS} draws."
    )
    record("confirm", "Confirmed photos", "python benchmarks/confirm.py DATA", body, ["onnxruntime", "numpy"])


if __name__ == "__main__":
    main()
