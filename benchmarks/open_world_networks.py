"""Networks that were trained for comparison."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from open_world_measures import Subject
from world_data import Roles
from world_outputs import outputs_of_all, write_network
from world_training import TEACHER, VARIANTS, read_network

NETWORKS = {
    "plain": "fine-tuned, margin 0.1, background: groups; combined",
    "no_margin": "fine-tuned, no margin; combined",
    "margin_3": "fine-tuned, margin 0.3; combined",
    "teacher": "fine-tuned Lite2, margin 0.1 (the teacher, fp32); combined",
    "student": "**fine-tuned with the teacher, margin 0.1, background: groups; combined**",
}
"""Networks of `world_training.py`, as rows of the table."""


def variant(roles: Roles, cache: Path, name: str, known: NDArray[np.bool_]) -> Subject | None:
    """A network that was trained for comparison, or None where `bundle.py` ran without `--compare`."""
    weights = cache / "dev" / f"{name}.pt"
    if not weights.is_file():
        return None
    recipe = TEACHER if name == "teacher" else VARIANTS[name]
    trained = read_network(weights, recipe)
    network = write_network(trained, roles, cache / "dev" / name, scale=recipe.scale, int8=name != "teacher")
    return Subject.of(roles, outputs_of_all(network, roles.photos), known)
