"""Google's own client library, with nothing changed but its endpoint."""

from __future__ import annotations

from pathlib import Path

import pytest
from serving import serving
from tiny_model import COLOURS, calibrated, make_model, save_colour


def test_googles_client_reads_the_answers(tmp_path: Path) -> None:
    vision = pytest.importorskip("google.cloud.vision", reason="google-cloud-vision is not installed")
    from google.api_core.exceptions import Unauthorized

    model = make_model(tmp_path / "colours", calibration=calibrated())
    tower = save_colour(tmp_path / "tower.png", COLOURS["07.Eiffel_Tower"]).read_bytes()
    environment = {"LANDMARKS_API_KEY": "a-key-of-sixteen-or-more"}
    with serving("--model", model, "--workers", 1, environment=environment) as running:

        def client(key: str) -> object:
            options = {"api_endpoint": running.address, "api_key": key}
            return vision.ImageAnnotatorClient(transport="rest", client_options=options)

        known = client("a-key-of-sixteen-or-more")
        answer = known.landmark_detection(image=vision.Image(content=tower))  # type: ignore[attr-defined]
        (found,) = answer.landmark_annotations
        assert (found.description, found.mid) == ("Eiffel Tower", "Q243")
        assert found.locations[0].lat_lng.latitude == pytest.approx(48.858, abs=0.01)
        assert len(found.bounding_poly.vertices) == 4
        both = known.batch_annotate_images(  # type: ignore[attr-defined]
            requests=[
                {"image": {"content": content}, "features": [{"type_": vision.Feature.Type.LANDMARK_DETECTION}]}
                for content in (tower, b"no picture")
            ]
        )
        assert [response.error.code for response in both.responses] == [0, 3]
        with pytest.raises(Unauthorized, match="API key"):
            client("another-key-of-sixteen").landmark_detection(image=vision.Image(content=tower))  # type: ignore[attr-defined]
