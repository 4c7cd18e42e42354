"""The services that `benchmarks/serve.py` compares with, each in a process of its own on loopback.

`python benchmarks/serve_rivals.py plain|litserve PORT MODEL.pt`: FastAPI with TorchScript, one picture after the
other; and LitServe with TorchScript in batches of up to 16.
"""

from __future__ import annotations

import base64
import sys
from pathlib import Path

import numpy as np
import torch
import uvicorn
from fastapi import FastAPI, UploadFile
from load import HOST

from landmarks.images import load_rgb
from landmarks.preprocess import Preprocessing, normalize, prepare
from landmarks.training.predictor import load_torchscript, predict_picture

BATCH = 16
PREPROCESSING = Preprocessing()


def plain(port: int, model: Path) -> None:
    """The picture goes into the script as it was decoded: the script resizes it."""
    script = load_torchscript(model)
    app = FastAPI()

    @app.post("/tags")
    async def tags(photos: UploadFile) -> list[float]:
        return predict_picture(script, load_rgb(await photos.read())).tolist()

    uvicorn.run(app, host=HOST, port=port, log_level="warning")


def litserve(port: int, model: Path) -> None:
    """Pictures of one size go through the network of the script together."""
    import litserve

    class Tagger(litserve.LitAPI):
        def setup(self, device: str) -> None:  # noqa: ARG002 - LitServe names it
            self.script = load_torchscript(model)

        def decode_request(self, request: dict[str, str]) -> np.ndarray:
            return prepare(base64.b64decode(request["picture"]), PREPROCESSING)

        def batch(self, inputs: list[np.ndarray]) -> torch.Tensor:
            return torch.from_numpy(normalize(np.stack(inputs), PREPROCESSING))

        def predict(self, pictures: torch.Tensor) -> torch.Tensor:
            with torch.no_grad():
                return torch.softmax(self.script.model(pictures), dim=1)

        def unbatch(self, output: torch.Tensor) -> list[list[float]]:
            return output.tolist()

        def encode_response(self, output: list[float]) -> dict[str, list[float]]:
            return {"probabilities": output}

    api = Tagger(max_batch_size=BATCH, batch_timeout=0.01, api_path="/tags")
    server = litserve.LitServer(api, accelerator="cpu")
    server.run(host=HOST, port=port, log_level="warning", generate_client_file=False)


if __name__ == "__main__":
    {"plain": plain, "litserve": litserve}[sys.argv[1]](int(sys.argv[2]), Path(sys.argv[3]))
