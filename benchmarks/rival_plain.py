"""Plain FastAPI with TorchScript, one image at a time, for comparison in `benchmarks/serve.py`.

`python benchmarks/rival_plain.py PORT MODEL.pt`. The image goes into the script as it was decoded: the script
resizes it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import uvicorn
from fastapi import FastAPI, UploadFile
from load import HOST

from landmarks.imaging.decoding import load_rgb
from landmarks.training.export.predictor import load_torchscript, predict_picture


def make_app(model: Path) -> FastAPI:
    script = load_torchscript(model)
    app = FastAPI()

    @app.post("/tags")
    async def tags(photos: UploadFile) -> list[float]:
        return predict_picture(script, load_rgb(await photos.read())).tolist()

    return app


if __name__ == "__main__":
    uvicorn.run(make_app(Path(sys.argv[2])), host=HOST, port=int(sys.argv[1]), log_level="warning")
