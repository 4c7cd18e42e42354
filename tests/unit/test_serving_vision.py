"""Google Cloud Vision's requests and responses, as its clients send and read them."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from starlette.testclient import TestClient
from stub_pool import StubPool, use_stub
from tiny_model import COLOURS, calibrated, make_model

from landmarks.serving.app import create_app
from landmarks.serving.settings import Access, Limits, ServeSettings
from landmarks.serving.vision import AnnotateImageRequest

KEY = "a-key-of-sixteen-or-more"
ROUTE = "/v1/images:annotate"
LANDMARK = [{"type": "LANDMARK_DETECTION", "maxResults": 3}]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    model = make_model(tmp_path_factory.mktemp("models") / "colours", calibration=calibrated())
    limits = Limits(max_mb=0.1, max_megapixels=1, max_files=5, max_request_mb=0.3, queue=32)
    settings = ServeSettings(model, workers=1, limits=limits, access=Access(api_key=KEY))
    with TestClient(create_app(settings), headers={"X-Goog-Api-Key": KEY}) as client:
        yield client


def coded(colour: str, kind: str = "PNG", **options: Any) -> str:
    content = io.BytesIO()
    Image.new("RGB", (64, 48), COLOURS[colour]).save(content, kind, **options)
    return base64.b64encode(content.getvalue()).decode()


def ask(client: TestClient, *requests: dict[str, Any]) -> list[dict[str, Any]]:
    answer = client.post(ROUTE, json={"requests": list(requests)})
    assert answer.status_code == 200, answer.text
    responses: list[dict[str, Any]] = answer.json()["responses"]
    return responses


def test_a_landmark_comes_with_its_place_and_pixels(client: TestClient) -> None:
    (answer,) = ask(client, {"image": {"content": coded("07.Eiffel_Tower")}, "features": LANDMARK})
    (found,) = answer["landmarkAnnotations"]
    assert (found["mid"], found["description"]) == ("Q243", "Eiffel Tower")
    assert 0.5 < found["score"] <= 1
    assert found["boundingPoly"]["vertices"] == [
        {"x": 0, "y": 0},
        {"x": 63, "y": 0},
        {"x": 63, "y": 47},
        {"x": 0, "y": 47},
    ]
    assert found["locations"][0]["latLng"]["latitude"] == pytest.approx(48.858, abs=0.01)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_pixels_are_those_of_the_upright_picture(client: TestClient, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = {"content": coded("07.Eiffel_Tower", kind, exif=exif)}
    (answer,) = ask(client, {"image": image, "features": LANDMARK})
    assert answer["landmarkAnnotations"][0]["boundingPoly"]["vertices"][2] == {"x": 47, "y": 63}


def test_each_picture_has_its_own_error(client: TestClient) -> None:
    tower = {"content": coded("07.Eiffel_Tower")}
    answers = ask(
        client,
        {"image": tower, "features": [{"type": 2}]},
        {"image": {"content": coded("background")}, "features": LANDMARK},
        {"image": {"content": "bm8gcGljdHVyZQ=="}, "features": LANDMARK},
        {"image": {"content": "!!!"}, "features": LANDMARK},
        {"image": {"source": {"imageUri": "http://localhost/a.jpg"}}, "features": LANDMARK},
        {"image": {}, "features": LANDMARK},
        {"image": tower, "features": [{"type": "LABEL_DETECTION"}]},
        {"image": tower, "features": [{"type": "LANDMARK_DETECTION", "maxResults": -1}]},
        {"image": tower, "features": [*LANDMARK, {"type": "LABEL_DETECTION"}]},
    )
    assert [answer.get("error", {}).get("code") for answer in answers] == [None, None, 3, 3, 3, 3, 12, 3, 12]
    assert ["landmarkAnnotations" in answer for answer in answers] == [True] + [False] * 7 + [True]
    assert answers[1] == {}
    assert "no address is fetched" in answers[4]["error"]["message"]


def test_a_request_that_is_refused_is_told_in_googles_words(client: TestClient) -> None:
    many = [{"image": {"content": "eA=="}, "features": LANDMARK}] * 17
    lone = b'{"requests": [{"image": {"content": "eA=="}, "features": [{"type": "\\ud800"}, {"type": 2}]}]}'
    for answer, expected in (
        (
            client.post(ROUTE, content=b"{", headers={"content-type": "application/json"}),
            (400, "INVALID_ARGUMENT"),
        ),
        (client.post(ROUTE, json={"requests": many}), (400, "INVALID_ARGUMENT")),
        (client.post(ROUTE, json={"requests": many[:6]}), (400, "INVALID_ARGUMENT")),  # not "again later"
        (client.post(ROUTE, json={}, headers={"X-Goog-Api-Key": "wrong"}), (401, "UNAUTHENTICATED")),
        (client.post(ROUTE, json={"requests": [[]] * 60_000}), (400, "INVALID_ARGUMENT")),
        (client.post(f"{ROUTE}?x=1", json={}), (400, "INVALID_ARGUMENT")),
        (client.post(f"{ROUTE}?model=none", json={}), (400, "INVALID_ARGUMENT")),
        (client.post(ROUTE, json={"request": []}), (400, "INVALID_ARGUMENT")),
        (client.post(ROUTE, json={"requests": [{"feature": LANDMARK}]}), (400, "INVALID_ARGUMENT")),
        (
            client.post(ROUTE, content=lone, headers={"content-type": "application/json"}),
            (400, "INVALID_ARGUMENT"),
        ),
        (client.get(ROUTE), (405, "UNIMPLEMENTED")),
    ):
        error = answer.json()["error"]
        assert (answer.status_code, error["status"]) == expected
        assert error["code"] == answer.status_code
        assert error["message"]


def test_names_may_be_in_snake_case_and_values_null(client: TestClient) -> None:
    tower = {"content": coded("07.Eiffel_Tower")}
    features = [{"type": "LANDMARK_DETECTION", "max_results": -3, "model": None}]
    wrong, right = ask(
        client,
        {"image": tower, "features": features, "image_context": {"language_hints": ["en"]}},
        {"image": {**tower, "source": None}, "features": LANDMARK, "imageContext": None},
    )
    assert wrong["error"]["message"] == "maxResults must not be negative"
    assert right["landmarkAnnotations"]
    answer = client.post(ROUTE, json={"requests": None, "parent": "projects/p", "labels": {"team": "a"}})
    assert (answer.status_code, answer.json()) == (200, {"responses": []})
    names = client.get("/openapi.json").json()["components"]["schemas"]["RequestedFeature"]["properties"]
    assert set(names) == {"type", "maxResults", "model"}


def test_the_key_may_stand_in_the_address(client: TestClient) -> None:
    plain = {"X-Goog-Api-Key": ""}
    assert client.post(f"{ROUTE}?key={KEY}&$alt=json", json={}, headers=plain).json() == {"responses": []}
    assert client.get(f"/v1/models?key={KEY}", headers=plain).status_code == 401


def test_a_request_without_room_takes_none_and_leaves_none_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_stub(monkeypatch)
    limits = Limits(max_files=4, queue=4)
    app = create_app(ServeSettings(make_model(tmp_path / "colours"), workers=1, limits=limits))
    asked = {"image": {"content": base64.b64encode(bytes(10**5)).decode()}, "features": LANDMARK}
    with TestClient(app) as client:
        app.state.service.admission.take("somebody", 1, 0)
        for _ in range(4):
            assert client.post(ROUTE, json={"requests": [asked] * 4}).status_code == 429
            time.sleep(0.02)  # for what might still be decoded
        app.state.service.admission.give_back("somebody", 1, 0)
        pool = app.state.service.catalog.find(None).pool
        assert isinstance(pool, StubPool)
        assert (app.state.service.admission.taken, pool.answered) == (0, 0)
        assert "error" not in ask(client, *[asked] * 4)[3]
    assert app.state.service.admission.taken == 0


def test_json_may_begin_with_a_byte_order_mark(client: TestClient) -> None:
    asked = b'\xef\xbb\xbf{"requests": []}'
    answer = client.post(ROUTE, content=asked, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()) == (200, {"responses": []})


@given(st.binary(max_size=200), st.booleans(), st.booleans(), st.integers(0, 80))
def test_a_picture_is_read_from_either_alphabet_with_or_without_padding_and_lines(
    content: bytes, url_safe: bool, padded: bool, line: int
) -> None:
    encode = base64.urlsafe_b64encode if url_safe else base64.b64encode
    text = encode(content).decode()
    text = text if padded else text.rstrip("=")
    if line:
        text = "\r\n".join(text[at : at + line] for at in range(0, len(text), line))
    assert AnnotateImageRequest(image={"content": text}).content() == content


@pytest.mark.parametrize("text", ["A", "AAA=AAAA", "=", "A A=", 'AAAA"', "AAAA\\n", "\\u0041AAA", "héhé"])
def test_what_is_not_base64_is_no_picture(text: str) -> None:
    assert AnnotateImageRequest(image={"content": text}).content() is None
