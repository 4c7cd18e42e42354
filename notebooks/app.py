# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # An app in a notebook
#
# Upload a photo, or many, and see what they show: the five likeliest landmarks, the place, where it is, or "I
# don't know". The app needs one file, the TorchScript model (`model.pt`) that `landmarks export` writes; size,
# crop, mean, deviation and class names are inside it.
#
# `MODEL` is a model folder with a `model.pt`. Without it, the newest one of `transfer_learning.ipynb` is taken,
# or a small one is trained on drawn scenes.

# %%
import html
import os
import subprocess
import sys
from pathlib import Path

OUT = Path(os.environ.get("OUT", "../build/notebooks"))
DRAWN = Path("../build/drawn")
MODEL = os.environ.get("MODEL", "")
NEGATIVES = os.environ.get("NEGATIVES", "")  # a folder of photos without a landmark: see "I don't know"
PHOTOS = os.environ.get("PHOTOS", "")  # a folder of photos outside train and test; else new scenes are drawn
HIDE = bool(os.environ.get("HIDE"))  # leave the photos out of a copy that is passed on, where they are not yours


# %%
def find_model() -> Path:
    if MODEL:
        return Path(MODEL)
    made = sorted(OUT.glob("model-*/model.pt"), key=lambda path: path.stat().st_mtime)
    return made[-1].parent if made else train_small()


def train_small() -> Path:
    from landmarks.training.config.settings import default_settings
    from landmarks.training.engine.pipeline import train_run
    from landmarks.training.engine.trained import load_data
    from landmarks.training.export.export import ExportSettings, export_run

    if not DRAWN.exists():
        draw = [sys.executable, "../tests/drawn.py", DRAWN, "--classes", "8", "--train", "30", "--test", "8"]
        subprocess.run(draw, check=True)
    run = train_run(default_settings(DRAWN, "transfer"), OUT / "transfer-app")
    export_run(run, load_data(run), OUT / "model-app", ExportSettings(precision="fp32"))
    return OUT / "model-app"


# %%
import numpy as np

from landmarks.training.export.predictor import load_torchscript, predict_picture

folder = find_model()
predictor = load_torchscript(folder / "model.pt")
names = list(predictor.class_names)
print(f"{folder.name}: {len(names)} classes, {(folder / 'model.pt').stat().st_size / 1e6:.1f} MB")

# %% [markdown]
# ## "I don't know"
#
# A classifier always answers: shown a cat, it names the likeliest landmark. So it needs a probability below which
# the app says nothing. The best way to choose it is to show the model photos *without* a landmark, and to take
# the threshold that at most 1 % of such photos would pass (`choose_threshold`; it wants at least 99 of them).
# Without such photos, 80 % is a careful guess.

# %%
from landmarks.imaging.decoding import load_rgb
from landmarks.imaging.photos import find_photos
from landmarks.model.calibration import choose_threshold, is_landmark

known = is_landmark(names)  # a class named "background" is no landmark
if NEGATIVES:
    best = [predict_picture(predictor, load_rgb(photo))[known].max() for photo in find_photos([Path(NEGATIVES)])]
    THRESHOLD = choose_threshold(np.array(best), 0.01)
    print(f"chosen on {len(best)} photos without a landmark: {THRESHOLD:.3f}")
else:
    THRESHOLD = 0.8
    print(f"no photos to choose it on: {THRESHOLD}")

# %% [markdown]
# ## The answer to one photo
#
# The gazetteer of the package knows name, city, country and position of many class names. The map is drawn here,
# without any map service: a dot for each place of the gazetteer, and a ring around the one that was found. (Its
# link opens OpenStreetMap, and only when you click on it.)

# %%
import base64
import io

from IPython.display import HTML, display
from PIL import Image

from landmarks.geo.gazetteer import Gazetteer, Place

places = Gazetteer.bundled()
WIDTH, HEIGHT = 280, 140


def on_map(latitude: float, longitude: float) -> tuple[float, float]:
    return (longitude + 180) / 360 * WIDTH, (90 - latitude) / 180 * HEIGHT


def draw_map(place: Place) -> str:
    dots = [on_map(*other.coordinates) for other in places if other.coordinates]
    x, y = on_map(*place.coordinates)
    grid = "".join(
        [f'<path d="M{WIDTH * i / 12:.0f} 0v{HEIGHT}" stroke="#dfe4e8"/>' for i in range(1, 12)]
        + [f'<path d="M0 {HEIGHT * i / 6:.0f}h{WIDTH}" stroke="#dfe4e8"/>' for i in range(1, 6)]
    )
    crowd = "".join(f'<circle cx="{a:.1f}" cy="{b:.1f}" r="1.2" fill="#9db4c6"/>' for a, b in dots)
    ring = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="6" fill="none" stroke="#d07a2d" stroke-width="2.5"/>'
    box = f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#f6f8fa"/>'
    return f'<svg width="{WIDTH}" height="{HEIGHT}" role="img" aria-label="map">{box}{grid}{crowd}{ring}</svg>'


display(HTML(draw_map(places.find("Taj_Mahal"))))

# %% [markdown]
# The five likeliest as bars, and what is said: the landmark and where it is, or nothing.


# %%
def bars(probabilities: np.ndarray, top: int = 5) -> str:
    order = [i for i in np.argsort(-probabilities) if known[i]][:top]
    rows = []
    for index in order:
        share = float(probabilities[index])
        name = html.escape(places.display_name(names[index]))
        bar = f'<div style="background:#2f6690;height:12px;width:{max(1, 180 * share):.0f}px"></div>'
        rows.append(f"<tr><td>{name}</td><td style='width:190px'>{bar}</td><td>{share:.1%}</td></tr>")
    return f"<table>{''.join(rows)}</table>"


def verdict(probabilities: np.ndarray) -> str:
    best = int(np.argmax(np.where(known, probabilities, -1)))
    if probabilities[best] < THRESHOLD:
        return "<b>I don't know.</b>"
    place = places.find(names[best])
    text = f"<b>{html.escape(places.display_name(names[best]))}</b>"
    if place is None or place.coordinates is None:
        return text + "<br>(its position is not in the gazetteer)"
    where = html.escape(", ".join(part for part in (place.city, place.country) if part))
    latitude, longitude = place.coordinates
    link = f"https://www.openstreetmap.org/?mlat={latitude}&mlon={longitude}#map=15/{latitude}/{longitude}"
    return f'{text}<br>{where}<br><a href="{link}">{latitude:.4f}, {longitude:.4f}</a><br>{draw_map(place)}'


def thumbnail(picture: np.ndarray) -> str:
    image = Image.fromarray(picture)
    image.thumbnail((200, 200))
    content = io.BytesIO()
    image.save(content, "JPEG", quality=80)
    return f'<img src="data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}">'


# %% [markdown]
# One broken file among many must not stop the others, so what cannot be read gets its reason.

# %%
from landmarks.errors import ImageError


def answer(name: str, content: bytes) -> str:
    """One photo as HTML: the photo, the five likeliest, the place."""
    try:
        picture = load_rgb(content)
    except ImageError as error:
        return f"<p>{html.escape(name)}: {html.escape(error.reason)}</p>"
    probabilities = predict_picture(predictor, picture)
    photo = "" if HIDE else thumbnail(picture)
    cells = "".join(
        f"<td style='vertical-align:top'>{cell}</td>"
        for cell in (photo, bars(probabilities), verdict(probabilities))
    )
    return f"<p>{html.escape(name)}</p><table><tr>{cells}</tr></table>"


# %% [markdown]
# ## The app
#
# Choose one or many photos. (In a notebook that is only looked at, the button does nothing: open it in Jupyter.)

# %%
import ipywidgets

upload = ipywidgets.FileUpload(accept="image/*", multiple=True, description="Photos")
result = ipywidgets.HTML()


def answer_all(change: dict) -> None:
    result.value = "".join(answer(file["name"], bytes(file["content"])) for file in change["new"])


upload.observe(answer_all, names="value")
display(upload, result)

# %% [markdown]
# ## On photos it has never seen
#
# Photos outside train and test, uploaded by hand: this is what the button does.

# %%
import datetime

if PHOTOS:
    photos = find_photos([Path(PHOTOS)])
else:
    new = OUT / "new-scenes"
    draw = [
        sys.executable,
        "../tests/drawn.py",
        new,
        "--classes",
        "8",
        "--train",
        "1",
        "--test",
        "1",
        "--seed",
        "99",
    ]
    subprocess.run(draw, check=True)
    photos = find_photos([new / "train"])


def uploaded(name: str, content: bytes) -> dict:
    now = datetime.datetime.now(datetime.UTC)
    return {"name": name, "type": "image/jpeg", "size": len(content), "content": content, "last_modified": now}


upload.value = tuple(uploaded(photo.name, photo.read_bytes()) for photo in photos)
display(HTML(result.value))

# %% [markdown]
# And a file that is no picture at all:

# %%
upload.value = (uploaded("notes.jpg", b"this is no picture"),)
display(HTML(result.value))

# %% [markdown]
# ## From here to a real app
#
# - In Python, [docs/python.md](../docs/python.md) has the same in ten lines, without PyTorch.
# - On a phone or in a browser, take `model.onnx` of the same folder, a quarter of the size in int8:
#   [docs/javascript.md](../docs/javascript.md) shows it running in JavaScript.
# - Calibrate with `landmarks export --negatives`: `landmarks tag` then uses a better score than the bare
#   probability, and falls back from landmark to city, country and kind.
