"""Time saved and pixel error caused by decoding a JPEG at reduced size.

Run `python benchmarks/decode.py [--data DIR]`; the table is printed and written to benchmarks/results/decode.md.
With `--data`, a folder of photos (any depth), the pixel error is measured on real content too; with `--model` and
`--test`, the effect on the answers of a model.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from record import record, table

from landmarks.imaging.decoding import load_image, load_rgb
from landmarks.imaging.preprocessing import Preprocessing, prepare
from landmarks.model.folder import find_model
from landmarks.model.recognizer import Recognizer

CONTRACT = Preprocessing()
TINY = Preprocessing(resize=128, crop=112)
"""At half the size, test images are to their crop what photos of twice their pixels are to that of a network."""
BIG = (4000, 3000)
SMALL = (800, 600)
MARGINS = (1, 2, 4)


def made_picture(size: tuple[int, int], seed: int, fall: float = 1.0) -> Image.Image:
    """A synthetic image: the spectrum of photographs, mostly correlated colours, hard edges, grain.

    The spectrum falls as 1 / frequency ** `fall`: 1 is a scene in full detail, 1.35 what a phone's lens and noise
    reduction leave of it.
    """
    width, height = size
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = np.inf
    layers = []
    for _ in range(2):
        phases = np.exp(2j * np.pi * rng.random(frequency.shape))
        layer = np.fft.irfft2(phases / frequency**fall, s=(height, width))
        layers.append(layer / layer.std())
    light, tint = layers
    y, x = np.mgrid[0:height, 0:width]
    for _ in range(30):  # facades: rectangles of windows
        left, top = rng.integers(width), rng.integers(height)
        step = int(rng.integers(8, 120))
        part = np.s_[top : top + height // 5, left : left + width // 8]
        light[part] += ((x[part] // step + y[part] // step) % 2) * rng.normal(0, 1)
    picture = 120 + 45 * (light[..., None] + tint[..., None] * (0.4, 0.0, -0.4))
    picture += rng.normal(0, 2, (height, width, 1))
    return Image.fromarray(picture.clip(0, 255).astype(np.uint8))


def jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def real_pictures(folder: Path, count: int) -> tuple[list[Image.Image], list[Image.Image]]:
    """Real content of 12 megapixels: photos enlarged, and mosaics of photos in their own pixels."""
    paths = sorted(folder.rglob("*.jpg"))
    if not paths:
        raise SystemExit(f"{folder}: no .jpg files below this folder")
    rng = np.random.default_rng(0)
    chosen = iter(paths[index] for index in rng.permutation(len(paths)))
    pictures = (picture for picture in map(Image.fromarray, map(load_rgb, chosen)) if min(picture.size) >= 200)
    enlarged = [next(pictures).resize(BIG, Image.Resampling.LANCZOS) for _ in range(count)]
    return enlarged, [mosaic(pictures) for _ in range(count)]


def mosaic(pictures: Iterator[Image.Image]) -> Image.Image:
    canvas = Image.new("RGB", BIG)
    pieces = [next(pictures) for _ in range(20)]
    for index in range(20 * 15):
        piece = pieces[index * 7 % len(pieces)]
        canvas.paste(piece.crop((0, 0, 200, 200)), (index % 20 * 200, index // 20 * 200))
    return canvas


def plain(content: bytes) -> NDArray[np.uint8]:
    """The same contract with every pixel decoded."""
    return prepare(load_rgb(content), CONTRACT)


def with_margin(content: bytes, margin: int) -> NDArray[np.uint8]:
    """The same contract with the decoded short side kept at `margin` times the resize."""
    return prepare(load_rgb(content, min_side=CONTRACT.resize * margin), CONTRACT)


def milliseconds(runs: int, *actions: Callable[[], object]) -> list[float]:
    """Median time of each action; they take turns, so that a busy moment affects all equally."""
    times: list[list[float]] = [[] for _ in actions]
    for _ in range(runs):
        for action, spent in zip(actions, times, strict=True):
            start = time.perf_counter()
            action()
            spent.append(1000 * (time.perf_counter() - start))
    return [statistics.median(spent) for spent in times]


def timing_table(runs: int) -> list[str]:
    rows = [
        "| picture | every pixel decoded | `prepare` | ratio |" + "".join(f" margin {m} |" for m in MARGINS),
        "|---|---|---|---|" + "---|" * len(MARGINS),
    ]
    pictures = (
        ("4000 x 3000, detail as from a phone", BIG, 1.35),
        ("4000 x 3000, full detail", BIG, 1.0),
        ("800 x 600, detail as from a phone", SMALL, 1.35),
    )
    for name, size, fall in pictures:
        content = jpeg(made_picture(size, seed=0, fall=fall))
        actions = [lambda margin=margin, content=content: with_margin(content, margin) for margin in MARGINS]
        full, fast, *margins = milliseconds(
            runs,
            lambda content=content: plain(content),
            lambda content=content: prepare(content, CONTRACT),
            *actions,
        )
        label = f"{name}, {len(content) / 2**20:.1f} MiB"
        cells = "".join(f" {value:.1f} ms |" for value in margins)
        rows.append(f"| {label} | {full:.1f} ms | {fast:.1f} ms | {full / fast:.1f} x |{cells}")
    return rows


def cost_row(name: str, pictures: list[Image.Image]) -> str:
    contents = [jpeg(picture) for picture in pictures]
    full = [plain(content) for content in contents]
    compared = [[prepare(np.array(picture), CONTRACT) for picture in pictures]]
    compared += [[with_margin(content, margin) for content in contents] for margin in MARGINS]
    cells = []
    for results in compared:
        difference = np.abs(np.stack(results).astype(int) - np.stack(full))
        cells.append(f"{difference.mean():.2f} / {difference.max()}")
    return f"| {name} | {len(pictures)} | " + " | ".join(cells) + " |"


def cost_table(data: Path | None, count: int) -> list[str]:
    rows = [
        "| content, 4000 x 3000 | pictures | JPEG compression itself |"
        + "".join(f" margin {margin} |" for margin in MARGINS),
        "|---|---|---|" + "---|" * len(MARGINS),
        cost_row("made: 1/f texture, facades, grain", [made_picture(BIG, seed) for seed in range(1, count + 1)]),
    ]
    if data is not None:
        enlarged, mosaics = real_pictures(data, count)
        rows.append(cost_row("real photos, enlarged", enlarged))
        rows.append(cost_row("real photos in their own pixels, as a mosaic", mosaics))
    return rows


def enlarged(path: Path, side: int) -> bytes:
    picture = Image.fromarray(load_rgb(path))
    scale = side / min(picture.size)
    return jpeg(picture.resize((round(picture.width * scale), round(picture.height * scale))))


def crop_of(source: bytes | NDArray[np.uint8], contract: Preprocessing) -> NDArray[np.uint8]:
    """Input of a network for an image; a smaller crop is enlarged to its size."""
    crop = Image.fromarray(prepare(source, contract))
    return np.asarray(crop.resize((CONTRACT.crop, CONTRACT.crop), Image.Resampling.BICUBIC))


def accuracy_table(model: str, data: Path, count: int) -> list[str]:
    """Predictions of a model on test images, decoded in full and at a fraction."""
    recognizer = Recognizer(find_model(model), threads=os.cpu_count() or 1)
    labels = {name: label for label, name in enumerate(recognizer.info.classes)}
    paths = [path for path in sorted(data.rglob("*.jpg")) if path.parent.name in labels]
    paths = [paths[index] for index in np.random.default_rng(0).permutation(len(paths))]
    large = [path for path in paths if min(load_image(path).size) >= 2 * TINY.resize]
    cases = {
        "enlarged to a short side of 600": (paths[:count], lambda path: enlarged(path, 600), CONTRACT),
        "enlarged to a short side of 2200": (paths[:count], lambda path: enlarged(path, 2200), CONTRACT),
        "in their own pixels, crop of half the size": (large, Path.read_bytes, TINY),
    }
    rows = []
    for name, (chosen, read, contract) in cases.items():
        true = np.array([labels[path.parent.name] for path in chosen])
        answers = []
        for path in chosen:
            content = read(path)
            crops = np.stack([crop_of(load_rgb(content), contract), crop_of(content, contract)])
            answers.append(recognizer.answer(crops).probabilities)
        full, part = np.stack(answers, axis=1)
        change = np.abs(full - part).max(axis=1)
        accuracies = [f"{(found.argmax(axis=1) == true).mean():.4f}" for found in (full, part)]
        same = (full.argmax(axis=1) == part.argmax(axis=1)).mean()
        changes = f"{np.median(change):.3f} / {np.quantile(change, 0.95):.3f} / {change.max():.3f}"
        rows.append([name, str(len(chosen)), *accuracies, f"{same:.4f}", changes])
    header = ["test pictures", "number", "accuracy, every pixel", "accuracy, `prepare`", "same answer"]
    return [table([*header, "change of a probability: median / 95 % / largest"], rows)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of photos for the pixel cost on real content")
    parser.add_argument("--model", help="model folder or bundled name for the accuracy cost, with --test")
    parser.add_argument("--test", type=Path, help="folder of test pictures, one folder a class of the model")
    parser.add_argument("--runs", type=int, default=15, help="timed runs of each way")
    parser.add_argument("--count", type=int, default=6, help="pictures of each content for the pixel cost")
    parser.add_argument("--answers", type=int, default=300, help="pictures for the accuracy cost")
    arguments = parser.parse_args()
    lines = [
        "A picture that is shrunk to a short side of 256 anyway needs few of its pixels, so a JPEG is decoded at",
        "1/2, 1/4 or 1/8. The margin says how many times 256 the decoded short side keeps at least;",
        "`prepare` uses 1.",
        "",
        "## Time for decode, resize and crop of one picture",
        "",
        f"Medians of {arguments.runs} runs in one process, the ways taking turns.",
        "",
        *timing_table(arguments.runs),
        "",
        "## Change of the 224 x 224 result against decoding every pixel, mean / max of 255 levels",
        "",
        "As a yardstick, the first figure is what saving the same picture as JPEG (quality 92) changes.",
        "",
        *cost_table(arguments.data, arguments.count),
    ]
    if arguments.model and arguments.test:
        answers = accuracy_table(arguments.model, arguments.test, arguments.answers)
        lines += ["", "## Change of a model's answers", "", *answers]
    command = "python benchmarks/decode.py --data PHOTOS --model MODEL --test PHOTOS/test"
    record("decode", "Decoding a JPEG at a fraction", command, "\n".join(lines), ["pillow", "numpy"])


if __name__ == "__main__":
    main()
