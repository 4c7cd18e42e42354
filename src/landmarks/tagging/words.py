"""Why a photo got its tags, in sentences for people; `landmarks.tagging.writers.reasons` has the numbers."""

from __future__ import annotations

from landmarks.geo.gazetteer import Gazetteer
from landmarks.tagging.tagger import Explanation
from landmarks.tagging.tags import Tag, photo_tag


def explain(explanation: Explanation, tags: tuple[Tag, ...], gazetteer: Gazetteer) -> str:
    """Return why a photo got its tags, or none.

    Args:
        explanation: The explanation of one model.
        tags: The tags.
        gazetteer: Provides the names.
    """
    shown = photo_tag(tags)
    best = gazetteer.display_name(explanation.best.class_name)
    if explanation.learned is not None and shown is not None:
        return f"It looks like the photos of {shown.name} that you taught ({_percent(explanation.learned)})."
    sentences = [f"It looks most like {best} ({_percent(explanation.best.probability)})"]
    if explanation.runner_up is not None and explanation.runner_up.probability >= 0.01:
        second = explanation.runner_up
        sentences[0] += f", then {gazetteer.display_name(second.class_name)} ({_percent(second.probability)})"
    if not explanation.known:
        sentences.append("But it is unlike the photos that the model learned from, so it gets no tag")
    elif explanation.contradiction is None and shown is None:
        sentences.append(f"That is too uncertain for a tag, which needs {_percent(explanation.needed)}")
    elif shown is not None and shown.level != "landmark":
        sentences.append(f"It is uncertain which landmark it is, so the tag is {shown.name}")
    if explanation.distance is not None:
        stood = f"The camera was {_kilometres(explanation.distance)} from {best}"
        sentences.append(stood if explanation.contradiction is None else f"{stood}, so it cannot be in the photo")
    return ". ".join(sentences) + "."


def _percent(share: float) -> str:
    return "over 99 %" if 0.99 < share < 1 else f"{100 * share:.0f} %"


def _kilometres(distance: float) -> str:
    return f"{distance:.1f} km" if distance < 10 else f"{distance:,.0f} km"
