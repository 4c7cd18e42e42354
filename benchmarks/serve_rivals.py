"""The services that `benchmarks/serve.py` compares with, each in a process of its own on loopback.

`python benchmarks/serve_rivals.py plain|litserve PORT MODEL.pt`: FastAPI with TorchScript, one picture after the
other; and LitServe with TorchScript in batches of up to 16. Either decodes with the package's own `prepare`.
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

from landmarks.preprocess import Preprocessing, prepare
from landmarks.training.predictor import load_torchscript

BATCH = 16
PREPROCESSING = Preprocessing()


def probabilities(script: torch.jit.ScriptModule, pictures: list[np.ndarray]) -> list[list[float]]:
    """Of prepared pictures, all of one size."""
    with torch.no_grad():
        batch = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
        return script(batch).tolist()


def plain(port: int, model: Path) -> None:
    script = load_torchscript(model)
    app = FastAPI()

    @app.post("/tags")
    async def tags(photos: UploadFile) -> list[float]:
        return probabilities(script, [prepare(await photos.read(), PREPROCESSING)])[0]

    uvicorn.run(app, host=HOST, port=port, log_level="warning")


def litserve(port: int, model: Path) -> None:
    import litserve

    class Tagger(litserve.LitAPI):
        def setup(self, device: str) -> None:
            self.script = load_torchscript(model)

        def decode_request(self, request: dict[str, str]) -> np.ndarray:
            return prepare(base64.b64decode(request["picture"]), PREPROCESSING)

        def batch(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
            return inputs

        def predict(self, pictures: list[np.ndarray]) -> list[list[float]]:
            return probabilities(self.script, pictures)

        def unbatch(self, output: list[list[float]]) -> list[list[float]]:
            return output

        def encode_response(self, output: list[float]) -> dict[str, list[float]]:
            return {"probabilities": output}

    api = Tagger(max_batch_size=BATCH, batch_timeout=0.01, api_path="/tags")
    server = litserve.LitServer(api, accelerator="cpu")
    server.run(host=HOST, port=port, log_level="warning", generate_client_file=False)


if __name__ == "__main__":
    {"plain": plain, "litserve": litserve}[sys.argv[1]](int(sys.argv[2]), Path(sys.argv[3]))
