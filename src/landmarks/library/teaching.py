"""Teaches a model from the confirmed and rejected tags of libraries.

Photos on which a tag was confirmed are examples of it; photos on which it was rejected are counter-examples.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from landmarks.errors import InputError
from landmarks.fewshot.enrollment import Lesson, Teacher
from landmarks.library.records import Verdict
from landmarks.library.review.verdicts import confirmed_tags, own_names
from landmarks.tagging.tags import Tag


def learn_from_verdicts(
    teacher: Teacher, verdicts: Iterable[tuple[Path, Verdict]]
) -> tuple[list[Lesson], list[InputError]]:
    """Learn the landmarks that users confirmed or rejected on photos.

    Args:
        teacher: Teaches the model.
        verdicts: Photos and what was said of them, as from `Library.verdicts`.

    Returns:
        What was learned, and the errors of the landmarks that could not be, as none of their photos can be read.
    """
    confirmed: dict[str, list[Path]] = defaultdict(list)
    rejected: dict[str, list[Path]] = defaultdict(list)
    tags: dict[str, Tag] = {}
    for photo, verdict in verdicts:
        if verdict.verdict == "rejected":
            rejected[verdict.name].append(photo)
        for tag in confirmed_tags([verdict]):
            if tag.level == "landmark" and tag.source == "photo":
                key = tag.place.key if tag.place is not None else verdict.name  # one in all languages
                tags.setdefault(key, tag)
                confirmed[key].append(photo)
    lessons: list[Lesson] = []
    failed: list[InputError] = []
    due = []
    for key, photos in confirmed.items():
        against = [photo for name in sorted(own_names(tags[key])) for photo in rejected.pop(name, [])]
        due.append((tags[key].name, photos, against))
    # One that was taught from a folder learns from rejections alone.
    due += [(name, [], against) for name, against in rejected.items() if teacher.knows(name)]
    for name, photos, against in due:
        try:
            lessons.append(teacher.learn(name, photos, against))
        except InputError as error:
            failed.append(error)
    return lessons, failed
