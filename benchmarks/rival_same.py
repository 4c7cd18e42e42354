"""LitServe with the recogniser of this package, for comparison in `benchmarks/serve.py same`.

`python benchmarks/rival_same.py PORT WORKERS`. Images come as base64 in JSON, as in LitServe's own examples,
one process per core tags them, and the answer holds the tags: the same work as behind `/v1/tags`.
"""

from __future__ import annotations

import base64
import sys
from typing import Any

import litserve
from load import HOST

import landmarks


class Tagger(litserve.LitAPI):
    """The bundled model, one image at a time: its int8 network is no faster on several."""

    def setup(self, device: str) -> None:  # noqa: ARG002 - LitServe gives it by name
        """Load the model."""
        self._model = landmarks.load_model()

    def decode_request(self, request: dict[str, str]) -> bytes:
        """Return the file."""
        return base64.b64decode(request["picture"])

    def predict(self, content: bytes) -> dict[str, Any]:
        """Tag it."""
        result = next(iter(self._model.tag([content])))
        return {
            "tags": [{"name": tag.name, "probability": tag.probability} for tag in result.tags],
            "error": result.error,
        }

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        """Return it as JSON."""
        return output


if __name__ == "__main__":
    server = litserve.LitServer(
        Tagger(api_path="/tags"), accelerator="cpu", workers_per_device=int(sys.argv[2]), track_requests=False
    )
    server.run(host=HOST, port=int(sys.argv[1]), log_level="warning", generate_client_file=False)
