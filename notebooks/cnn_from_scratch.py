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
# # A landmark recogniser from scratch
#
# No pretrained weights: a network of our own learns from a few hundred pictures, on a machine without a GPU. You
# will look at the data, see what augmentation does, build the network, train it, read its report, and export it
# to a file that answers like the trained network.
#
# Everything here calls the parts of `landmarks.training` one by one, to show them. `landmarks.train(DATA,
# method="scratch")` does the training in one line of Python, `landmarks train DATA --method scratch` in one
# command.
#
# **How good it gets.** The outputs of this copy come from drawn scenes, because photos of places may rarely be
# passed on. Drawings are easier than photos, so these are mere thumbnails of 32 pixels. On the 34 real landmarks
# of the benchmarks the same network reaches 69.7 % after [seven minutes](../benchmarks/results/training_peers.md)
# on two cores, and [91.7 %](../benchmarks/results/accuracy-scratch.md) with the optimiser Muon: 28 epochs on their
# pictures and those of three more collections, then 8 on the 34 landmarks alone, with crops of up to 192 pixels.
#
# **The data.** `DATA` is a folder with `train/CLASS/picture` and `test/CLASS/picture`. Without it, the notebook
# draws a small set of its own. Set the variables in the environment, or here:

# %%
import math
import os
import subprocess
import sys
from pathlib import Path

QUICK = bool(os.environ.get("QUICK"))  # a minute instead of several: for a first try, and for tests
OUT = Path(os.environ.get("OUT", "../build/notebooks"))
DRAWN = Path("../build/thumbnails")
DATA = Path(os.environ.get("DATA", DRAWN))
SHOWN = Path(os.environ.get("SHOWN", DATA))  # the set whose pictures are shown; see below
SEED = 0

for folder in {DATA, SHOWN} & {DRAWN}:
    if not folder.exists():
        flags = ["--classes", "8", "--train", "100", "--test", "25", "--side", "32"]
        subprocess.run([sys.executable, "../tests/drawn.py", folder, *flags], check=True)

# %%
from dataclasses import replace

import numpy as np
import pandas as pd
import PIL.Image
import torch
from IPython.display import HTML, Image, Markdown, display
from matplotlib.figure import Figure

from landmarks.training.reports.class_names import display_names
from landmarks.training.reports.plots import png_bytes

torch.manual_seed(SEED)


def show(figure: Figure, width: int = 900) -> None:
    display(Image(png_bytes(figure), width=width))


# %% [markdown]
# ## Look at the data
#
# `prepare_data` reads the folder, puts pictures that cannot be read aside, splits validation off the training
# pictures class by class, and decodes everything once into a cache file. Three splits, three jobs:
#
# - **training** pictures move the weights;
# - **validation** pictures choose between epochs, networks and settings;
# - **test** pictures are looked at once, at the end. A metric that helped to choose is no longer honest.

# %%
from landmarks.training.config.settings import DataSettings
from landmarks.training.data.loaders import prepare_data

loading = DataSettings(batch_size=16 if QUICK or DATA == DRAWN else 64, valid_size=0.15, seed=SEED)
data = prepare_data(DATA, loading)
shown_as = display_names(data.folder.classes)  # a number before a class name only sets the order
counts = pd.DataFrame(data.folder.counts()).rename(columns=shown_as).T
counts.index.name = "class"
print(f"{len(data.folder.classes)} classes, {len(data.broken)} pictures that cannot be read")
counts

# %%
pd.DataFrame({"pictures": counts.sum(), "smallest class": counts.min(), "largest class": counts.max()})

# %% [markdown]
# Are some classes much larger than others? Then a network can score well by guessing the large ones, and the mean
# over classes (macro F1) says more than plain accuracy. `--sampler balanced` draws every class equally often.
#
# ### Mean and standard deviation
#
# A network learns best from inputs around 0 with a spread of about 1. So each colour channel has the mean of the
# training pictures subtracted and is divided by their standard deviation. Both are measured on the training
# pictures only, and they travel with the model: whoever uses it must do the same.

# %%
statistics = {"mean": data.preprocessing.mean, "standard deviation": data.preprocessing.std}
pd.DataFrame(statistics, index=["red", "green", "blue"]).T.round(3)

# %% [markdown]
# ### A sample batch, before and after augmentation
#
# A few hundred or thousand pictures are few. Augmentation shows the network each of them differently every time:
# another part, mirrored, lighter, tilted. What must stay is the landmark. Always look at it: a crop that leaves
# only sky teaches that sky is a tower.
#
# `get_data_loaders` builds the loaders of a folder in one call, `visualize_one_batch` draws what they give.
# (If you train on photos that you may not pass on, `SHOWN` names another set whose pictures appear here.)

# %%
from landmarks.training.config.settings import AugmentSettings
from landmarks.training.data.loaders import get_data_loaders, visualize_one_batch

OUT.mkdir(parents=True, exist_ok=True)
shown = get_data_loaders(SHOWN, batch_size=16, augment=AugmentSettings(sizes=(96,)), seed=SEED)
visualize_one_batch(shown, OUT / "batch.png", count=6, seed=SEED)
PIL.Image.open(OUT / "batch.png").convert("RGB").save(OUT / "batch.jpg", quality=85)  # a tenth of the size
Image(str(OUT / "batch.jpg"), width=900)

# %% [markdown]
# The more augmentation, the slower the learning. What is shown here (crop, mirror, and one random change of colour
# or shape, called TrivialAugment) suits trainings of half an hour; the short one below only crops and mirrors.
# MixUp and CutMix, which blend two pictures of a batch and their labels, are for long trainings that overfit.
#
# A batch as the network gets it: floats around 0, channels first.

# %%
pictures, targets = next(iter(shown["train"]))
print(f"pictures {tuple(pictures.shape)}, {pictures.dtype}")
print(f"mean {pictures.mean():.2f}, standard deviation {pictures.std():.2f}")
print(f"targets  {tuple(targets.shape)}, {targets.dtype}: {targets[:8].tolist()} ...")

# %% [markdown]
# ## The architecture, and why
#
# `MyModel` is a small residual network.
#
# - **Two strided convolutions first.** They bring the picture to a quarter of its side at once. Full resolution
#   costs most and tells least.
# - **Four stages of 3 x 3 convolutions** (five blocks: the third stage has two). Each stage has half the side and
#   twice the channels of the one before: first edges, then textures, then windows and arches, then whole facades.
# - **Shortcuts** (residual blocks). Each block adds to what came in, so the gradient has a way past it, and a
#   block that has learned nothing does no harm.
# - **Batch normalisation** after each convolution keeps the numbers in range and allows a large learning rate.
# - **Squeeze-and-excitation** (channel attention) lets each block weigh its channels by what the whole picture
#   shows.
# - **The mean over all positions** at the end. It makes the network take pictures of any size: training begins
#   with small crops, which are fast, and ends with larger ones.
# - **Ordinary convolutions, not the depthwise ones of mobile networks.** Those need fewer operations, but a CPU
#   computes them several times slower.

# %%
from landmarks.training.models.model import MyModel

classes = data.folder.classes
model = MyModel(len(classes))


def describe(network: MyModel, size: int = 96) -> pd.DataFrame:
    rows, x = [], torch.zeros(1, 3, size, size)
    network.eval()
    for name, part in [("stem", network.stem), *((f"block {i + 1}", b) for i, b in enumerate(network.stages))]:
        x = part(x)
        rows.append((name, "x".join(map(str, x.shape[1:])), sum(p.numel() for p in part.parameters())))
    rows.append(("mean over positions", str(network.embedding_size), 0))
    rows.append(("head", str(network.head.out_features), sum(p.numel() for p in network.head.parameters())))
    return pd.DataFrame(rows, columns=["part", "output (channels x height x width)", "parameters"])


with torch.no_grad():
    summary = describe(model)
print(f"{summary.parameters.sum() / 1e6:.2f} million parameters")
summary

# %% [markdown]
# ## Loss, optimiser, schedule
#
# - **Loss:** cross-entropy on the raw outputs (logits): minus the logarithm of the probability of the right class.
#   *Label smoothing* of 0.1 asks for about 90 % instead of 100 %, which makes the network less overconfident.
# - **Optimiser:** AdamW, the usual one. Each weight has a step of its own size. Weight decay pulls weights towards
#   0, but not the biases and norms. (`landmarks train` takes Muon, which learns more in each epoch: try
#   `optimizer="muon"` below.)
# - **Schedule:** one cycle. The learning rate rises for 15 % of the steps, because the first gradients are
#   erratic, and then falls to nearly 0, so that the last steps are small.
#
# A check that costs nothing: the loss of an untrained network must be about the logarithm of the number of
# classes. If it is not, something is wired wrongly.

# %%
from landmarks.training.config.settings import OptimizationSettings
from landmarks.training.engine.optimization import get_loss, get_optimizer, get_scheduler

optimization = OptimizationSettings(optimizer="adamw", learning_rate=2e-3, schedule="onecycle")
loss = get_loss(label_smoothing=0.1)
with torch.no_grad():
    start = loss(model(pictures), torch.randint(len(classes), (len(pictures),)))
print(f"loss before training {start:.2f}; ln({len(classes)}) = {math.log(len(classes)):.2f}")

# %%
dummy = get_optimizer(torch.nn.Linear(1, 1), optimization)
schedule = get_scheduler(dummy, optimization, epochs=1, steps_per_epoch=200)
rates = []
for _ in range(199):
    rates.append(dummy.param_groups[0]["lr"])
    dummy.step()
    schedule.after_step()
figure = Figure(figsize=(6, 2.2), layout="constrained")
axes = figure.subplots()
axes.plot(np.linspace(0, 100, len(rates)), rates)
axes.set(xlabel="% of the training steps", ylabel="learning rate")
show(figure, 520)

# %% [markdown]
# ### One epoch by hand
#
# `train_one_epoch` and `valid_one_epoch` are the whole of deep learning in a dozen lines each: forward, loss,
# backward, step. Here on a part of the data, at 64 pixels. After so few steps, accuracy is hardly above guessing.

# %%
from landmarks.training.data.loaders import make_loaders
from landmarks.training.engine.train import train_one_epoch, valid_one_epoch

few = prepare_data(DATA, replace(loading, limit=min(512, len(data.folder.train))))
loaders = make_loaders(few, loading, AugmentSettings(names=("resized-crop", "flip"), sizes=(64,)))
optimizer = get_optimizer(model, optimization)
trained = train_one_epoch(loaders["train"], model, optimizer, loss, clip=2.0)
valid = valid_one_epoch(loaders["valid"], model, get_loss())
print(f"training    loss {trained.loss:.3f}  accuracy {trained.accuracy:.3f}")
print(f"validation  loss {valid.loss:.3f}  accuracy {valid.accuracy:.3f}")

# %% [markdown]
# Is validation much worse than training here? After one epoch it often is: the running means of batch
# normalisation have not settled yet, and the validation crops are larger than those trained on.
#
# ## Train
#
# `optimize` puts the two into a loop; `train_run` calls it and does the rest: epochs, the best weights by
# validation loss, an average of the weights, a checkpoint per epoch, and a report. It sends each epoch to its
# *loggers*; ours redraws the curves.

# %%
from landmarks.training.config.settings import LoopSettings, default_settings
from landmarks.training.engine.loggers.base import Logger
from landmarks.training.engine.pipeline import train_run
from landmarks.training.reports.plots import learning_curves
from landmarks.training.runs.folder import EpochRow

settings = default_settings(DATA, "scratch")
settings = replace(
    settings,
    loading=loading,
    model=replace(settings.model, resize=128, crop=128),  # of validation and test pictures
    augment=replace(settings.augment, names=("resized-crop", "flip"), sizes=(64,) if QUICK else (64, 96)),
    optimization=replace(optimization, ema=0.9 if QUICK else 0.99),
    loop=LoopSettings(epochs=2 if QUICK else 18),
)

history: list[dict] = []
curves = display(HTML("training begins"), display_id=True)


class LiveCurves(Logger):
    def epoch(self, row: EpochRow) -> None:
        history.append(vars(row))
        curves.update(Image(png_bytes(learning_curves(history)), width=900))


number = 1
while (OUT / f"scratch-{number}").exists():  # a run folder is never overwritten
    number += 1
run = train_run(settings, OUT / f"scratch-{number}", loggers=[LiveCurves()])
print(f"{len(history)} epochs; the best weights are those of the marked one")

# %% [markdown]
# How to read the curves:
#
# - **both losses fall:** it is still learning; more epochs would help;
# - **training falls, validation rises:** it is overfitting (memorising the training pictures). Use more or
#   stronger augmentation, or more pictures;
# - **both stay high:** too small a network, too short a training, or too low a learning rate;
# - **training is worse than validation:** normal here. Training pictures are augmented and their labels smoothed.
#
# Training begins with crops of 64 pixels, which are quick, and goes on with 96 in the second half (not with
# `QUICK`). Where the losses jump there, that is why.
#
# ## The report
#
# The run folder now holds `report.html`: metrics with intervals, curves, confusions, the worst mistakes with
# their pictures, and advice. Here are its metrics.

# %%
headline = []
for split in ("valid", "test"):
    found = run.metrics(split)
    top1 = found["top1"]
    interval = f"{top1['low']:.3f} - {top1['high']:.3f}"
    headline.append(
        (
            split,
            found["count"],
            found["loss"],
            top1["value"],
            interval,
            found["top5"]["value"],
            found["macro"]["f1"],
        )
    )
columns = ["split", "pictures", "loss", "top-1", "95 % interval", "top-5", "macro F1"]
display(pd.DataFrame(headline, columns=columns).round(3))
print("the report:", run.folder.report.relative_to(OUT))

# %% [markdown]
# The interval shows how far chance alone could move the accuracy with so few test pictures. Whether two networks
# differ is what `landmarks runs compare` tests, on the pictures that only one recognises.
#
# ## Confusion matrix
#
# `one_epoch_test` collects the predictions for the test pictures, `evaluate` turns them into metrics.
# (`landmarks.evaluate(run.folder.root)` does both.)

# %%
from landmarks.training.engine.train import one_epoch_test
from landmarks.training.metrics.evaluate import Predictions, evaluate
from landmarks.training.reports.plots import confusion_matrix, per_class_bars

test_loader = make_loaders(data, loading, settings.augment, preprocessing=run.preprocessing)["test"]
probabilities, labels = one_epoch_test(test_loader, run.model)
predictions = Predictions(
    probabilities=probabilities.numpy(),
    labels=labels.numpy(),
    class_names=run.classes,
    paths=tuple(sample.path for sample in data.folder.test),
)
evaluation = evaluate(predictions)
show(confusion_matrix(evaluation.confusion, evaluation.class_names), 760)

# %% [markdown]
# A row is what a picture shows, a column is what the network predicted. Off the diagonal are the mistakes, and
# they are seldom random: things of one kind are taken for each other.

# %%
pd.DataFrame(
    [
        (shown_as[pair.true], shown_as[pair.predicted], pair.count, f"{pair.share:.0%}")
        for pair in evaluation.confused_pairs
    ],
    columns=["shows", "taken for", "pictures", "of its pictures"],
)

# %%
show(per_class_bars(evaluation), 700)

# %% [markdown]
# ## Export: TorchScript
#
# A trained network alone is of little use: whoever calls it must know the size, the crop, the mean, the standard
# deviation and the names. `Predictor` puts all that and the softmax into one file: pictures in as they are,
# probabilities out.
#
# An export is only worth something if it answers like the network it came from. So it is read back and compared,
# on picture files that it decodes itself.

# %%
from landmarks.training.export.predictor import (
    load_torchscript,
    make_predictor,
    predictor_test,
    save_torchscript,
)

predictor = make_predictor(run.model, run.classes, run.preprocessing)
save_torchscript(predictor, OUT / "scratch.pt")

reloaded = load_torchscript(OUT / "scratch.pt")
samples = data.folder.test[:: max(1, len(data.folder.test) // 100)]
again, truth = predictor_test(reloaded, samples)
before, _ = predictor_test(predictor, samples)
print(f"{(OUT / 'scratch.pt').stat().st_size / 1e6:.1f} MB, classes inside: {reloaded.class_names[:3]} ...")
print(f"largest difference of a probability: {np.abs(again - before).max():.1e}")
print(f"accuracy of the file on {len(samples)} test pictures: {(again.argmax(axis=1) == truth).mean():.3f}")
assert np.abs(again - before).max() < 1e-4

# %% [markdown]
# `landmarks export RUN` writes this file and an ONNX model, and writes neither if their answers differ.
#
# ## What else was tried
#
# Before you believe in an architecture, train it beside others, with everything else equal.
# `benchmarks/ablation.py` changes one thing at a time, in the network or in its training, with the same seeds,
# split and epochs:

# %%
table = Path("../benchmarks/results/ablation.md").read_text(encoding="utf-8")
Markdown(table.partition("\n")[2])

# %% [markdown]
# A short schedule tells how *fast* something learns, not where it ends. Augmentation shows this best: it makes
# each epoch harder, so it loses in the short run. The overfitting that it prevents comes later.
#
# All of these trained with AdamW. No part of the network counts for as much as the optimiser: **Muon**, which
# `landmarks train` uses from scratch, makes the steps of convolutions orthogonal, so that directions that are rare
# in the gradients are learnt as fast as common ones:

# %%
table = Path("../benchmarks/results/ablation_optimizers.md").read_text(encoding="utf-8")
Markdown(table.partition("\n")[2])

# %% [markdown]
# ## Go on
#
# - `transfer_learning.ipynb`: the same data with a pretrained backbone.
# - `app.ipynb`: such a file in an app.
# - `landmarks train DATA --method scratch` trains longer and at larger sizes.
