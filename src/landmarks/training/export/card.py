"""The model card: what a model is, what it was trained on, its metrics and its limits.

The format follows Mitchell et al. 2019, https://arxiv.org/abs/1810.03993.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from landmarks.model.folder import ModelInfo
from landmarks.model.ood import is_landmark
from landmarks.model.operating_points import WORDS, estimated, same_groups

LISTED_CLASSES = 1000
"""Classes that a card lists."""


def model_card(info: ModelInfo, notes: str = "") -> str:
    """Return the card as Markdown.

    Args:
        info: The content of `model.json`, which nearly all of the card is made from.
        notes: Additional Markdown: source and licence of the data, purpose.
    """
    known = is_landmark(info.classes)
    names = [name for name, is_known in zip(info.classes, known, strict=True) if is_known]
    count = f"{len(names)} classes" + ("" if known.all() else " and one for everything else")
    listed = "\n".join(f"- {name}" for name in names[:LISTED_CLASSES])
    more = len(names) - LISTED_CLASSES
    classes = f"{listed}\n\nand {more} more: `model.json` has them all." if more > 0 else listed
    versions = ", ".join(f"{name} {version}" for name, version in info.versions.items())
    sections = [
        f"# {info.name}",
        f"A landmark recogniser: `{info.architecture}`, {info.precision}, {count}, made {info.created} by "
        "landmarks.",
        "## Use",
        f"```\nlandmarks tag --model {info.name} PHOTO...\n```",
        "Input: RGB images, short side resized to "
        f"{info.preprocessing.resize} pixels, centre crop of {info.preprocessing.crop}; "
        "`model.onnx` takes the crops as uint8 (N, height, width, 3) and outputs `logits` and `embedding`.",
        "## Metrics",
        _figures(info.metrics),
        "## Training data",
        _data(info.data),
        *([notes.strip()] if notes.strip() else []),
        "## Licence and origin",
        _origin(info),
        "## Limits",
        _unknown(info.calibration),
        "It was evaluated on images from the same sources as its training data; it is less accurate on photos "
        "from elsewhere. Do not use it where a wrong place could harm somebody: to find out where a person is, as "
        "evidence, or for navigation.",
        "## Classes",
        classes,
        "## Made with",
        versions,
    ]
    return "\n\n".join(sections) + "\n"


def _origin(info: ModelInfo) -> str:
    lines = [f"Licence of the weights: {info.licence}."]
    if info.origin:
        lines.append("It was trained on:\n\n" + "\n".join(f"- {one.words}" for one in info.origin))
    return "\n\n".join(lines)


def _figures(metrics: Mapping[str, Any]) -> str:
    rows = ["| split | images | top-1 (95 % interval) | top-5 | loss |", "|---|---|---|---|---|"]
    for split in ("valid", "test"):
        values = metrics.get(split)
        if values:
            top1, top5 = values["top1"], values["top5"]
            rows.append(
                f"| {split} | {values['count']} | {top1['value']:.3f} ({top1['low']:.3f} to {top1['high']:.3f}) "
                f"| {top5['value']:.3f} | {values['loss']:.3f} |"
            )
    text = "\n".join(rows)
    sources = metrics.get("test", {}).get("sources") or []
    if len(sources) > 1:
        lines = ["| source | test images | top-1 (95 % interval) |", "|---|---|---|"]
        for item in sources:
            found = item["accuracy"]
            interval = f"{found['low']:.3f} to {found['high']:.3f}"
            name = item["source"] or "not in the manifest"
            lines.append(f"| {name} | {found['count']} | {found['value']:.3f} ({interval}) |")
        text += "\n\nBy source of the images:\n\n" + "\n".join(lines)
    proof = metrics.get("export")
    if proof:
        text += (
            f"\n\nThese are the metrics of the trained network. On {proof['pictures']} validation images the fp32 "
            f"exports differ from it by at most {max(proof['torchscript'], proof['onnx']):.1e} in probability."
        )
        if proof["int8_valid_accuracy"] is not None:
            text += (
                f" On {proof['valid_pictures']} validation images the accuracy of fp32 is "
                f"{proof['valid_accuracy']:.3f} and of int8 {proof['int8_valid_accuracy']:.3f}."
            )
    return text


def _data(data: Mapping[str, Any]) -> str:
    if not data:
        return "Not recorded."
    return (
        f"`{data['name']}` (fingerprint {data['fingerprint']}): {data['train']} training, {data['valid']} "
        f"validation and {data['test']} test images; {data.get('unreadable', 0)} were unreadable."
    )


def _unknown(calibration: Mapping[str, Any] | None) -> str:
    if calibration is None:
        return (
            "The model knows the classes below and nothing else: it names one of them for any other photo too, "
            "mostly with a low probability."
        )
    if calibration.get("operating_points"):
        return _operating_points(calibration)
    return (
        "The model knows the classes below and nothing else. `landmarks tag` gives no tag to a photo whose "
        f"`{calibration['score']}` score is below {calibration['threshold']:.4g}, chosen on "
        f"{calibration['fitted_on']['negatives']} photos without a landmark so that at most "
        f"{calibration['target_fpr']:.1%} of such photos get a tag. Photos that look very similar to one of its "
        "landmarks, such as another bridge of the same kind, pass more often."
    )


def _operating_points(calibration: Mapping[str, Any]) -> str:
    fitted = calibration["fitted_on"]
    rows = ["| prefer | score needed | confidence needed | " + " | ".join(WORDS.values()) + " |"]
    rows.append("|---" * (3 + len(WORDS)) + "|")
    for name, point in calibration["operating_points"].items():
        cells = [_share(point["expected"].get(key)) for key in WORDS]
        rows.append(f"| {name} | {point['threshold']:.4g} | {point['min_confidence']:g} | {' | '.join(cells)} |")
    text = (
        "The model knows the classes below and nothing else. `landmarks tag` gives no tag to a photo whose "
        f"`{calibration['score']}` score is below the threshold. Thresholds were chosen on {fitted['negatives']} "
        f"photos without a landmark and {fitted.get('unknown_landmarks', 0)} of landmarks it does not know. The "
        f"expected rates are cross-fitted: measured on {_others(fitted)} than those on which the thresholds were "
        f"chosen. {estimated(fitted)}".rstrip()
        + "\n\n"
        + "\n".join(rows)
    )
    worst = sorted(fitted.get("rates", {}).items(), key=lambda item: -float(item[1]["value"]))[:5]
    if worst:
        listed = "; ".join(f"{name} {_share(rate)}" for name, rate in worst)
        text += (
            "\n\nHighest false-positive rates at `balanced`, on the calibration photos with cross-fitted scores: "
            f"{listed}."
        )
    return (
        text
        + " Photos that look very similar to one of its landmarks, such as another bridge of the same kind, pass "
        "more often."
    )


def _others(fitted: Mapping[str, Any]) -> str:
    """Return on what the expected rates were measured."""
    kinds = "other photos of the same kinds" if same_groups(fitted, "kind") else "other kinds of photos"
    if not fitted.get("unknown_landmarks"):
        return kinds
    same = same_groups(fitted, "landmark")
    return f"{kinds} and {'other photos of the same landmarks' if same else 'other landmarks'}"


def _share(rate: Mapping[str, Any] | None) -> str:
    return "not measured" if rate is None else f"{rate['value']:.1%} ({rate['low']:.1%} to {rate['high']:.1%})"
