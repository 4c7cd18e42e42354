"""`Predictor`: preprocessing, network and softmax in one TorchScript file.

TorchScript is deprecated in favour of `torch.export` since PyTorch 2.11, but the course exercise asks for it, and
much existing C++ and mobile code loads it; the model folder also has ONNX.
"""

from __future__ import annotations

import copy
import io
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.transforms import functional

from landmarks.files.atomic import write_bytes
from landmarks.imaging.decoding import load_rgb
from landmarks.imaging.preprocessing import Preprocessing
from landmarks.training.data.folders import Sample
from landmarks.training.models.torchscript import open_torchscript

WAY_ON = "give one made by landmarks export, or add it with landmarks models add first"
"""What to do with a file that no export made, for messages."""


class Predictor(nn.Module):
    """Maps unprocessed images to probabilities.

    Args:
        model: Maps normalised images (B, 3, crop, crop) to logits (B, K).
        class_names: Names in the order of the logits; stored in the file.
        mean: Mean of each channel, in [0, 1].
        std: Deviation of each channel, above 0.
        resize: Short side after resizing, in pixels.
        crop: Side of the centre crop, in pixels.
        temperature: Divisor of the logits before softmax, above 0.
    """

    def __init__(
        self,
        model: nn.Module,
        class_names: Sequence[str],
        mean: Sequence[float],
        std: Sequence[float],
        *,
        resize: int = 256,
        crop: int = 224,
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        self.model = model.eval()
        self.class_names: list[str] = list(class_names)
        self.resize = resize
        self.crop = crop
        self.register_buffer("mean", torch.tensor(list(mean)).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(list(std)).view(1, 3, 1, 1))
        self.register_buffer("temperature", torch.tensor(temperature))

    def forward(self, pictures: Tensor) -> Tensor:
        """Map images (B, 3, H, W) of any size to probabilities (B, K), each row summing to 1.

        Images are uint8, or float in [0, 1] as torchvision's `ToTensor` makes them.
        """
        if pictures.is_floating_point() and float(pictures.min()) >= 0 and float(pictures.max()) <= 1:
            pictures = functional.convert_image_dtype(pictures, torch.uint8)
        if pictures.dtype != torch.uint8 or pictures.size(-3) != 3:
            raise ValueError(
                "pictures must be RGB of shape (B, 3, H, W), uint8 from 0 to 255 or float from 0 to 1"
            )
        # Resized as uint8, like Pillow, so that this file and the ONNX model see the same pixels.
        x = functional.resize(pictures, [self.resize], antialias=True)
        x = functional.center_crop(x, [self.crop, self.crop])
        x = (x.to(torch.float32) / 255.0 - self.mean) / self.std
        return torch.softmax(self.model(x) / self.temperature, dim=1)


def make_predictor(
    model: nn.Module, class_names: Sequence[str], preprocessing: Preprocessing, temperature: float = 1.0
) -> Predictor:
    """Return a `Predictor` for a trained network, its preprocessing and its calibrated temperature."""
    return Predictor(
        model,
        class_names,
        preprocessing.mean,
        preprocessing.std,
        resize=preprocessing.resize,
        crop=preprocessing.crop,
        temperature=temperature,
    ).eval()


def save_torchscript(predictor: Predictor, path: Path) -> None:
    """Compile a predictor with `torch.jit.script` and write it, atomically.

    Raises:
        StorageError: The file cannot be written.
    """
    # Warnings about its deprecation and about what it leaves out; a user cannot fix either.
    with warnings.catch_warnings(action="ignore"):
        content = io.BytesIO()
        # Its users need no gradients, and cannot turn an answer that has some into an array.
        torch.jit.save(torch.jit.script(copy.deepcopy(predictor).requires_grad_(False)), content)
    write_bytes(path, content.getvalue())


def load_torchscript(path: Path) -> torch.jit.ScriptModule:
    """Load a file written by `save_torchscript`.

    Raises:
        ModelError: The file is missing or is not TorchScript.
    """
    return open_torchscript(path, missing="export the model first", damaged=WAY_ON)


@torch.no_grad()
def predict_picture(predictor: nn.Module, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the probabilities (K,) of one image (H, W, 3) uint8."""
    tensor = torch.from_numpy(picture).permute(2, 0, 1).unsqueeze(0)
    probabilities: NDArray[np.float32] = predictor(tensor)[0].numpy()
    return probabilities


def predictor_test(
    predictor: nn.Module, samples: Iterable[Sample]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Test a reloaded predictor on image files, as a user of the file would call it.

    Args:
        predictor: From `load_torchscript`, or a `Predictor`.
        samples: Images and their labels.

    Returns:
        Probabilities (N, K) and labels (N,).

    Raises:
        ImageError: An image is unreadable.
    """
    rows, labels = [], []
    for sample in samples:
        rows.append(predict_picture(predictor, load_rgb(sample.path)))
        labels.append(sample.label)
    return np.stack(rows), np.asarray(labels, dtype=np.int64)
