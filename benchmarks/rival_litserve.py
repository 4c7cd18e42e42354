"""LitServe with TorchScript in batches of up to 16, for comparison in `benchmarks/serve.py`.

`python benchmarks/rival_litserve.py PORT MODEL.pt`. Images are resized one by one, and go through the network of
the script together.
"""

from __future__ import annotations

import base64
import sys
from pathlib import Path

import litserve
import numpy as np
import torch
from load import HOST

from landmarks.imaging.preprocessing import Preprocessing, normalize, prepare
from landmarks.training.export.predictor import load_torchscript

BATCH = 16
SECONDS = 0.01
"""How long an image waits for others, in seconds."""
PREPROCESSING = Preprocessing()


class Tagger(litserve.LitAPI):
    """Images as base64 in JSON, as LitServe's own examples send them."""

    def __init__(self, model: Path) -> None:
        super().__init__(max_batch_size=BATCH, batch_timeout=SECONDS, api_path="/tags")
        self._model = model

    def setup(self, device: str) -> None:  # noqa: ARG002 - LitServe gives it by name
        """Load the network."""
        self._network = load_torchscript(self._model).model

    def decode_request(self, request: dict[str, str]) -> np.ndarray:
        """Decode and resize one image."""
        return prepare(base64.b64decode(request["picture"]), PREPROCESSING)

    def batch(self, inputs: list[np.ndarray]) -> torch.Tensor:
        """Put images together, normalised."""
        return torch.from_numpy(normalize(np.stack(inputs), PREPROCESSING))

    def predict(self, pictures: torch.Tensor) -> torch.Tensor:
        """Run the network."""
        with torch.no_grad():
            return torch.softmax(self._network(pictures), dim=1)

    def unbatch(self, output: torch.Tensor) -> list[list[float]]:
        """Give each image its probabilities."""
        return output.tolist()

    def encode_response(self, output: list[float]) -> dict[str, list[float]]:
        """Return them as JSON."""
        return {"probabilities": output}


if __name__ == "__main__":
    server = litserve.LitServer(Tagger(Path(sys.argv[2])), accelerator="cpu")
    server.run(host=HOST, port=int(sys.argv[1]), log_level="warning", generate_client_file=False)
