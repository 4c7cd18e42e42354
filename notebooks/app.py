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
# Upload one photo or many and see what they show: the five most likely landmarks, the place on a map, or "I don't
# know". The app needs a single file, the TorchScript model (`model.pt`) that `landmarks export` writes; size,
# crop, mean, standard deviation and class names are inside it.
#
# `MODEL` is a model folder with a `model.pt`. By default a small model is trained on drawn scenes, so that this
# copy can show its pictures: photos of places belong to somebody, drawings do not.

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
PHOTOS = os.environ.get("PHOTOS", "")  # a folder of photos it was not trained on; else new scenes are drawn
HIDE = bool(os.environ.get("HIDE"))  # do not display the photos, if this copy is shared and they are not yours


# %%
def find_model() -> Path:
    if MODEL:
        return Path(MODEL)
    return OUT / "model-app" if (OUT / "model-app" / "model.pt").is_file() else train_small()


def train_small() -> Path:
    import landmarks

    if not DRAWN.exists():
        draw = [sys.executable, "../tests/drawn.py", DRAWN, "--classes", "8", "--train", "30", "--test", "8"]
        subprocess.run(draw, check=True)
    run = landmarks.train(DRAWN, OUT / "transfer-app", method="transfer")
    return landmarks.export(run, OUT / "model-app")


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
# A classifier always answers: shown a cat, it names the most likely landmark. So it needs a probability below
# which the app says "I don't know". The best way to choose this threshold is to show the model photos *without* a
# landmark and to take the value that at most 1 % of such photos exceed (`choose_threshold`; it needs at least 99
# of them). Without such photos, 80 % is a cautious guess.

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
# The gazetteer maps class names to a name, city, country and position. The drawn scenes are no real places, so a
# table of our own says which place each of them stands for; your own classes get their places in the same way.
# The map is drawn here, without any map service: a dot for each place that the model knows, and a ring around the
# answer. (The link opens OpenStreetMap, and only when you click it.)

# %%
import base64
import io

from IPython.display import HTML, display
from PIL import Image

from landmarks.geo.gazetteer import Gazetteer, Place

OWN_PLACES = """key,name,city,country,country_code,kind,latitude,longitude
Clock_Tower,Big Ben,London,United Kingdom,GB,tower,51.5007,-0.1246
Arch_Bridge,Pont du Gard,Vers-Pont-du-Gard,France,FR,bridge,43.9475,4.5350
Pyramid,Great Pyramid,Giza,Egypt,EG,pyramid,29.9792,31.1342
Domed_Temple,Taj Mahal,Agra,India,IN,mausoleum,27.1750,78.0422
Snow_Mountain,Mount Fuji,Fujinomiya,Japan,JP,mountain,35.3606,138.7274
Ferris_Wheel,London Eye,London,United Kingdom,GB,ferris wheel,51.5033,-0.1196
Lighthouse,Tower of Hercules,A Coruña,Spain,ES,lighthouse,43.3859,-8.4065
Pagoda,Yasaka Pagoda,Kyoto,Japan,JP,pagoda,34.9985,135.7792
"""
OUT.mkdir(parents=True, exist_ok=True)
(OUT / "places.csv").write_text(OWN_PLACES, encoding="utf-8")
places = Gazetteer.bundled().with_overrides(OUT / "places.csv")
WIDTH, HEIGHT = 280, 140


def on_map(latitude: float, longitude: float) -> tuple[float, float]:
    return (longitude + 180) / 360 * WIDTH, (90 - latitude) / 180 * HEIGHT


def draw_map(place: Place) -> str:
    found = (places.find(name) for name in names)
    dots = [on_map(*other.coordinates) for other in found if other and other.coordinates]
    x, y = on_map(*place.coordinates)
    grid = "".join(
        [f'<path d="M{WIDTH * i / 12:.0f} 0v{HEIGHT}" stroke="#dfe4e8"/>' for i in range(1, 12)]
        + [f'<path d="M0 {HEIGHT * i / 6:.0f}h{WIDTH}" stroke="#dfe4e8"/>' for i in range(1, 6)]
    )
    crowd = "".join(f'<circle cx="{a:.1f}" cy="{b:.1f}" r="1.2" fill="#9db4c6"/>' for a, b in dots)
    ring = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="6" fill="none" stroke="#d07a2d" stroke-width="2.5"/>'
    box = f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#f6f8fa"/>'
    return f'<svg width="{WIDTH}" height="{HEIGHT}" role="img" aria-label="map">{box}{grid}{crowd}{ring}</svg>'


display(HTML(draw_map(places.find("Pagoda"))))

# %% [markdown]
# The five most likely landmarks as bars, and the answer: the landmark and its position, or "I don't know".


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
# One broken file among many must not stop the others, so an unreadable file gets its reason.

# %%
from landmarks.errors import ImageError


def answer(name: str, content: bytes) -> str:
    """One photo as HTML: the photo, the five most likely landmarks, the place."""
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
# Choose one photo or many. (The button works in Jupyter only, not in a rendered copy of the notebook.)

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
# Photos from neither train nor test, uploaded from code: this is what the button does.

# %%
import datetime

if PHOTOS:
    photos = find_photos([Path(PHOTOS)])
else:
    new = OUT / "new-scenes"
    flags = ["--classes", "8", "--train", "1", "--test", "1", "--seed", "99"]
    subprocess.run([sys.executable, "../tests/drawn.py", new, *flags], check=True)
    photos = find_photos([new / "train"])


def uploaded(name: str, content: bytes) -> dict:
    now = datetime.datetime.now(datetime.UTC)
    return {"name": name, "type": "image/jpeg", "size": len(content), "content": content, "last_modified": now}


upload.value = tuple(uploaded(f"{photo.parent.name}/{photo.name}", photo.read_bytes()) for photo in photos)
display(HTML(result.value))

# %% [markdown]
# A picture of nothing, for which the right answer is "I don't know", and a file that is no picture at all:


# %%
def noise() -> bytes:
    content = io.BytesIO()
    grey = np.random.default_rng(0).normal(128, 30, (160, 160, 3)).clip(0, 255).astype(np.uint8)
    Image.fromarray(grey).save(content, "JPEG")
    return content.getvalue()


upload.value = (uploaded("noise.jpg", noise()), uploaded("notes.jpg", b"this is no picture"))
display(HTML(result.value))

# %% [markdown]
# ## The same without PyTorch
#
# `landmarks.load_model` needs nothing but ONNX Runtime. It reads `model.onnx` from the same folder: the network in
# integers of 8 bits, no less accurate as far as the export can measure, with slightly other probabilities;
# `--precision fp32` gives the same. A tag is what the model is sure of; the candidates are its guesses in order.
# The classes of the drawn scenes are not in the gazetteer, so their tags have no place.

# %%
import landmarks

model = landmarks.load_model(folder)
for found in model.tag(photos):
    tags, guess = [tag.name for tag in found.tags], found.candidates[0]
    print(f"{found.path.parent.name}: {tags}, best guess {guess.class_name} {guess.probability:.1%}")

# %% [markdown]
# ## From here to a real app
#
# - [docs/python.md](../docs/python.md) has the whole Python API.
# - On a phone or in a browser, `model.onnx` runs too: [docs/javascript.md](../docs/javascript.md) shows it in
#   JavaScript.
# - Calibrate on your own photos without a landmark, with `landmarks export --negatives`: then you know how many of
#   such photos get a tag ([docs/unknown.md](../docs/unknown.md)).
