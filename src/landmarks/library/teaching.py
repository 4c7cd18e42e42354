"""Teaches a model from the confirmed and rejected tags of a library.

Photos on which a tag was confirmed are examples of it; photos on which it was rejected are counter-examples.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from landmarks.fewshot.enrollment import Lesson, Teacher
from landmarks.library.library import Library
from landmarks.tagging.tags import tags_from_json


def learn_from_library(teacher: Teacher, library: Library) -> list[Lesson]:
    """Learn from the verdicts of a library: the landmarks that its user confirmed or rejected on photos."""
    confirmed: dict[str, list[Path]] = defaultdict(list)
    rejected: dict[str, list[Path]] = defaultdict(list)
    names: dict[str, str] = {}
    for photo, verdict in library.verdicts():
        if verdict.verdict == "confirmed":
            for tag in tags_from_json(verdict.tag or "[]"):
                if tag.level == "landmark" and tag.source == "photo":
                    names.setdefault(verdict.name, tag.name)
                    confirmed[verdict.name].append(photo)
        elif verdict.verdict == "rejected":
            rejected[verdict.name].append(photo)
    return [teacher.learn(names[key], photos, rejected[key]) for key, photos in confirmed.items()]
