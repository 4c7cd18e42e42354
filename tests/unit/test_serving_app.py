"""The service in this process: its routes, its answers, and its errors."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import re
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2 as httpx
import numpy as np
import pytest
from nearest import Nearest
from numpy.typing import NDArray
from PIL import ExifTags, Image
from starlette.testclient import TestClient
from stub_pool import TAG, StubPool, use_stub
from tiny_model import COLOURS, calibrated, make_model

from landmarks.errors import ModelError, SearchError, SettingsError
from landmarks.imaging.formats import PHOTO_SUFFIXES
from landmarks.metadata.xmp import XmpPacket
from landmarks.model.folder import Origin, read_info, write_info
from landmarks.model.operating_points import ExpectedRate, ExpectedRates, OperatingPoint
from landmarks.serving.app import create_app
from landmarks.serving.look_alikes import LookAlike
from landmarks.serving.middleware.intake import Upload
from landmarks.serving.schemas import TagsResponse
from landmarks.serving.service import Service
from landmarks.serving.settings import Access, Limits, ServeSettings
from landmarks.tagging.settings import TagSettings

KEY = "a-key-of-sixteen-or-more"


def picture(
    colour: tuple[int, int, int], size: tuple[int, int] = (64, 48), kind: str = "PNG", **options: Any
) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", size, colour).save(content, kind, **options)
    return content.getvalue()


TOWER = picture(COLOURS["07.Eiffel_Tower"])
HENGE = picture(COLOURS["31.Stonehenge"])
GREY = picture(COLOURS["background"])
PORTO = picture((30, 215, 65))  # between two landmarks of one city
RAW = {"content-type": "image/png"}
LIMITS = Limits(max_mb=0.1, max_megapixels=1, max_files=4, max_request_mb=0.3, queue=8)


@pytest.fixture(scope="module")
def client(model: Path) -> Iterator[TestClient]:
    with TestClient(create_app(ServeSettings(model, workers=1, limits=LIMITS))) as client:
        yield client


def error_of(answer: Any) -> tuple[int, str]:
    body = answer.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"code", "message"}
    return answer.status_code, body["error"]["code"]


# --- tags ---


def test_a_raw_body_is_tagged(client: TestClient) -> None:
    answer = client.post("/v1/tags", content=TOWER, headers=RAW)
    assert answer.status_code == 200
    body = answer.json()
    assert set(body) == {"model", "photos"}
    assert body["model"].startswith("colours-")
    (photo,) = body["photos"]
    assert set(photo) == {"file", "tags", "candidates", "known", "reasons", "error"}
    (tag,) = photo["tags"]
    assert (tag["name"], tag["level"]) == ("Eiffel Tower", "landmark")
    assert tag["place"]["city"] == "Paris"
    assert tag["place"]["latitude"] == pytest.approx(48.858, abs=0.01)
    assert photo["known"] is True
    assert photo["error"] is None


def test_what_is_unknown_gets_no_tag_but_candidates(client: TestClient) -> None:
    (photo,) = client.post("/v1/tags", content=GREY, headers=RAW).json()["photos"]
    assert photo["tags"] == []
    assert photo["known"] is False
    assert len(photo["candidates"]) == 4
    assert any("no tag" in reason for reason in photo["reasons"])


def test_an_unsure_landmark_falls_back_to_its_city(client: TestClient) -> None:
    (photo,) = client.post("/v1/tags", content=PORTO, headers=RAW).json()["photos"]
    (tag,) = photo["tags"]
    assert (tag["name"], tag["level"]) in {("Porto", "city"), ("Casa da Música", "landmark")}
    if tag["level"] == "city":
        assert tag["place"]["latitude"] is None


def test_the_answers_are_those_of_the_command(client: TestClient, model: Path, tmp_path: Path) -> None:
    from commands import landmarks

    (tmp_path / "tower.png").write_bytes(TOWER)
    told = json.loads(landmarks("tag", tmp_path / "tower.png", "--model", model, "--jsonl").out)
    body = client.post("/v1/tags", content=TOWER, headers=RAW).json()
    assert body["photos"][0]["tags"] == told["tags"]
    assert body["photos"][0]["candidates"] == told["candidates"]
    assert body["model"] == told["model"]


def test_many_files_come_back_in_order_and_a_broken_one_alone_fails(client: TestClient) -> None:
    files = [
        ("photos", (name, content))
        for name, content in (
            ("a.png", TOWER),
            ("note.txt", b"no picture"),
            ("ü b.png", HENGE),
            ("cut.png", TOWER[:60]),
        )
    ]
    answer = client.post("/v1/tags", files=files)
    assert answer.status_code == 200
    photos = answer.json()["photos"]
    assert [photo["file"] for photo in photos] == ["a.png", "note.txt", "ü b.png", "cut.png"]
    assert [photo["tags"][0]["name"] if photo["tags"] else None for photo in photos] == [
        "Eiffel Tower",
        None,
        "Stonehenge",
        None,
    ]
    assert [photo["error"] and photo["error"]["code"] for photo in photos] == [
        None,
        "unsupported_format",
        None,
        "damaged_picture",
    ]


def test_text_fields_beside_the_files_are_no_fault(client: TestClient) -> None:
    answer = client.post(
        "/v1/tags", files={"photos": ("a.png", TOWER)}, data={"album": "Paris", "token": "x" * 500}
    )
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["photos"]) == 1
    assert error_of(client.post("/v1/tags", data={"album": "Paris"}, files={})) in {
        (400, "bad_request"),
        (415, "unsupported_format"),
    }


def test_the_position_of_the_camera_counts(client: TestClient) -> None:
    exif = Image.Exif()
    gps = exif.get_ifd(ExifTags.IFD.GPSInfo)
    gps.update({1: "S", 2: (33.0, 51.0, 0.0), 3: "E", 4: (151.0, 12.0, 0.0)})
    far = picture(COLOURS["07.Eiffel_Tower"], kind="JPEG", exif=exif, quality=95)
    (photo,) = client.post("/v1/tags", content=far, headers={"content-type": "image/jpeg"}).json()["photos"]
    assert photo["tags"] == []
    assert any("km away" in reason for reason in photo["reasons"])


def test_a_preview_is_made_on_request(client: TestClient) -> None:
    large = picture((200, 0, 0), (1000, 600), "TIFF", compression="tiff_lzw")
    files = [("photos", ("a.tiff", large)), ("photos", ("b.png", b"no picture"))]
    shown, broken = client.post("/v1/tags?preview=true", files=files).json()["photos"]
    kind, _, content = shown["preview"].partition(",")
    assert kind == "data:image/jpeg;base64"
    assert Image.open(io.BytesIO(base64.b64decode(content))).size == (480, 288)
    assert "preview" not in broken
    (plain,) = client.post("/v1/tags", files=files[:1]).json()["photos"]
    assert "preview" not in plain


def test_vision_shape(client: TestClient) -> None:
    files = [("photos", ("a.png", TOWER)), ("photos", ("b.png", GREY)), ("photos", ("c.png", b"no picture"))]
    answer = client.post("/v1/tags?format=vision", files=files)
    assert answer.status_code == 200
    known, unknown, broken = answer.json()["responses"]
    (found,) = known["landmarkAnnotations"]
    assert set(found) == {"mid", "description", "score", "boundingPoly", "locations"}
    assert found["description"] == "Eiffel Tower"
    assert found["mid"] == "Q243"
    assert 0.5 < found["score"] <= 1
    assert found["locations"][0]["latLng"] == {
        "latitude": pytest.approx(48.858, abs=0.01),
        "longitude": pytest.approx(2.294, abs=0.01),
    }
    assert len(found["boundingPoly"]["normalizedVertices"]) == 4
    assert unknown == {}
    assert set(broken["error"]) == {"code", "message"}


# --- what is refused ---


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"content": b"no picture", "headers": RAW}, (415, "unsupported_format")),
        ({"content": TOWER[:60], "headers": RAW}, (400, "damaged_picture")),
        ({"content": b"", "headers": RAW}, (400, "damaged_picture")),
        ({"content": picture((1, 2, 3), (1001, 1000)), "headers": RAW}, (413, "too_large")),
        ({"content": b"\xff" * (LIMITS.max_file_bytes + 1), "headers": RAW}, (413, "too_large")),
        ({"content": b"\xff" * (LIMITS.max_request_bytes + 1), "headers": RAW}, (413, "too_large")),
        ({"json": {"url": "http://example.org/a.jpg"}}, (415, "unsupported_format")),
        ({"content": b"", "headers": {"content-encoding": "gzip"}}, (415, "unsupported_format")),
        ({"files": [("photos", (str(n), TOWER)) for n in range(5)]}, (413, "too_large")),
        ({"files": [("photos", ("a", b"no")), ("photos", ("b", TOWER[:60]))]}, (400, "bad_request")),
        ({"files": [("photos", ("a", b"no")), ("photos", ("b", b"never"))]}, (415, "unsupported_format")),
        ({"content": b"--x", "headers": {"content-type": "multipart/form-data"}}, (400, "bad_request")),
        (
            {"content": b"--x--", "headers": {"content-type": "multipart/form-data; boundary=x"}},
            (400, "bad_request"),
        ),
    ],
)
def test_a_bad_request_has_its_status_and_one_shape(
    client: TestClient, body: dict[str, Any], expected: tuple[int, str]
) -> None:
    assert error_of(client.post("/v1/tags", **body)) == expected


def test_a_body_without_length_is_limited_too(client: TestClient) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(50):
            yield b"\xff" * 10_000

    assert error_of(client.post("/v1/tags", content=endless(), headers=RAW)) == (413, "too_large")


def test_parameters_and_addresses_are_checked(client: TestClient) -> None:
    assert error_of(client.post("/v1/tags?format=xml", content=TOWER, headers=RAW)) == (422, "invalid_parameter")
    misspelt = client.post("/v1/tags?fromat=vision", content=TOWER, headers=RAW)
    assert error_of(misspelt) == (422, "invalid_parameter")
    assert "format" in misspelt.json()["error"]["message"]
    assert error_of(client.get("/v1/models?x=1")) == (422, "invalid_parameter")
    assert error_of(client.get("/v1/tags")) == (405, "method_not_allowed")
    assert error_of(client.get("/nothing/here")) == (404, "not_found")
    assert error_of(client.get("/static/../../settings.py")) == (404, "not_found")
    assert error_of(client.post("/v1/search", content=TOWER, headers=RAW))[0] in {404, 405}


def test_nothing_is_taken_for_good_by_what_was_refused(client: TestClient) -> None:
    for _ in range(20):
        client.post("/v1/tags", content=b"no picture", headers=RAW)
    assert client.post("/v1/tags", content=TOWER, headers=RAW).status_code == 200
    assert "landmarks_pictures_inside 0.0" in client.get("/metrics").text


FORM = (
    b'--B\r\nContent-Disposition: form-data; name="photos"; filename="+2AA-\\ud800.jpg"\r\n\r\n'
    + TOWER
    + b"\r\n--B"
)


@pytest.mark.parametrize(
    "charset", ["utf-7", "undefined", "punycode", "unicode_escape", "raw_unicode_escape", "idna", "zlib", "none"]
)
def test_a_charset_of_a_form_breaks_nothing(client: TestClient, charset: str) -> None:
    kind = {"content-type": f"multipart/form-data; charset={charset}; boundary=B"}
    answer = client.post("/v1/tags", content=FORM + b"--\r\n", headers=kind)
    if answer.status_code != 200:
        assert error_of(answer) == (400, "bad_request")
    else:
        assert answer.json()["photos"][0]["file"].endswith(".jpg")


@pytest.mark.parametrize("left", [1, 4, 60, len(TOWER) // 2, len(TOWER) + 90])
def test_a_form_that_is_cut_off_is_refused_whole(client: TestClient, left: int) -> None:
    content = (FORM + FORM[3:])[:-left]
    answer = client.post("/v1/tags", content=content, headers={"content-type": "multipart/form-data; boundary=B"})
    assert error_of(answer) == (400, "bad_request")
    assert "cut off" in answer.json()["error"]["message"]


# --- who may ask ---


def test_an_api_key_is_asked_for(model: Path) -> None:
    with TestClient(create_app(ServeSettings(model, workers=1, access=Access(api_key=KEY)))) as client:
        assert client.get("/healthz").status_code == 200
        assert client.get("/").status_code == 200
        refused = client.post("/v1/tags", content=TOWER, headers=RAW)
        assert error_of(refused) == (401, "unauthorized")
        assert refused.headers["www-authenticate"] == "Bearer"
        assert client.get("/v1/models", headers={"Authorization": "Bearer wrong"}).status_code == 401
        assert client.get("/metrics").status_code == 401
        for headers in ({"Authorization": f"Bearer {KEY}"}, {"X-API-Key": KEY}):
            assert client.post("/v1/tags", content=TOWER, headers=RAW | headers).status_code == 200


def test_a_prefix_before_the_addresses_opens_nothing(model: Path) -> None:
    app = create_app(ServeSettings(model, access=Access(api_key=KEY)))
    client = TestClient(app, root_path="/photos")  # as of uvicorn --root-path, or a mount
    assert client.get("/photos/v1/models").status_code == 401
    assert client.get("/photos/v1/models", headers={"X-API-Key": KEY}).status_code == 200
    refused = client.post("/photos/v1/images:annotate", headers={"X-API-Key": KEY}, content=b"{")
    assert refused.json()["error"]["status"] == "INVALID_ARGUMENT"


def test_other_host_names_and_origins_are_refused_unless_told(model: Path) -> None:
    access = Access(hosts=("localhost",), origins=("https://photos.example",))
    app = create_app(ServeSettings(model, workers=1, access=access))
    client = TestClient(app, base_url="http://localhost:8000")
    assert client.get("/v1/models").status_code == 200
    assert error_of(client.get("/v1/models", headers={"Host": "evil.example"})) == (403, "forbidden_host")
    allowed = client.get("/healthz", headers={"Origin": "https://photos.example"})
    assert allowed.headers["access-control-allow-origin"] == "https://photos.example"
    other = client.get("/healthz", headers={"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in other.headers


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ({}, 200),
        ({"origin": "http://127.0.0.1:8000"}, 200),
        ({"origin": "https://127.0.0.1:8000"}, 200),  # a proxy ends TLS
        ({"origin": "https://other.example", "sec-fetch-site": "same-origin"}, 200),  # and changes the host
        ({"origin": "https://photos.example", "sec-fetch-site": "cross-site"}, 200),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://127.0.0.1:3000", "sec-fetch-site": "same-site"}, 403),
        ({"origin": "http://127.0.0.1:8000", "sec-fetch-site": "cross-site"}, 403),
    ],
)
@pytest.mark.parametrize("key", [None, KEY])
def test_pages_of_other_sites_ask_only_with_a_key(
    model: Path, sent: dict[str, str], status: int, key: str | None
) -> None:
    access = Access(api_key=key, origins=("https://photos.example",))
    client = TestClient(create_app(ServeSettings(model, access=access)), base_url="http://127.0.0.1:8000")
    headers = sent if key is None else {**sent, "X-API-Key": key}
    assert client.get("/v1/models", headers=headers).status_code == 200
    expected = 422 if key is not None or status == 200 else 403  # 422: it was let in
    answer = client.post("/v1/xmp", json={}, headers=headers)
    assert answer.status_code == expected
    assert ("--cors" in answer.text) == (expected == 403)


def test_probes_come_by_any_name_and_everything_by_address(model: Path) -> None:
    app = create_app(ServeSettings(model, workers=1, access=Access(hosts=("photos.example",))))
    client = TestClient(app)
    for host in ("10.1.2.3:8000", "127.0.0.1", "[::1]:8000", "pod-7.cluster.local"):
        assert client.get("/healthz", headers={"Host": host}).status_code == 200
    for host in ("10.1.2.3:8000", "[::1]:8000", "photos.example"):
        assert client.get("/v1/models", headers={"Host": host}).status_code == 200


def test_answers_that_refuse_are_answers_like_any_other(model: Path) -> None:
    origin = "https://photos.example"
    access = Access(api_key=KEY, hosts=("localhost",), origins=(origin,))
    limits = Limits(max_mb=1000 / 2**20, max_request_mb=2000 / 2**20, max_files=1, queue=1)
    app = create_app(ServeSettings(model, workers=1, limits=limits, access=access))
    key = {"Authorization": f"Bearer {KEY}"}
    with TestClient(app, base_url="http://localhost:8000") as client:
        app.state.service.admission.take("somebody", 1, 0)
        sent = {"Origin": origin}
        refused = {
            401: client.post("/v1/tags", content=TOWER, headers=RAW | sent),
            403: client.post("/v1/tags", content=TOWER, headers=RAW | sent | {"Host": "evil.example"}),
            413: client.post("/v1/tags", content=b"x" * 2001, headers=RAW | sent | key),
            429: client.post("/v1/tags", content=TOWER, headers=RAW | sent | key),
            404: client.get("/none", headers=sent),
            405: client.get("/v1/tags", headers=sent | key),
        }
        for status, answer in refused.items():
            assert answer.status_code == status
            assert answer.headers["x-content-type-options"] == "nosniff", status
            assert answer.headers["cache-control"] == "no-store", status
            assert answer.headers["access-control-allow-origin"] == origin, status
            assert answer.headers["x-request-id"], status
        counted = client.get("/metrics", headers=key).text
        for status in (401, 403, 413, 429, 405):
            assert f'landmarks_requests_total{{route="/v1/tags",status="{status}"}} 1.0' in counted
        assert 'route="/none"' not in counted


def test_a_failure_of_the_service_has_the_headers_too(model: Path) -> None:
    app = create_app(ServeSettings(model, workers=1))

    def broken() -> None:
        raise KeyError("secret")

    app.state.service.landmarks = broken
    answer = TestClient(app, raise_server_exceptions=False).get("/v1/landmarks")
    assert error_of(answer) == (500, "internal")
    assert answer.headers["cache-control"] == "no-store"
    assert "secret" not in answer.text


def test_cors_is_off_and_security_headers_are_on(client: TestClient) -> None:
    for path in ("/", "/v1/models", "/nothing"):
        answer = client.get(path, headers={"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in answer.headers
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-request-id"]
    assert client.get("/v1/models").headers["cache-control"] == "no-store"


def test_a_question_of_a_browser_is_answered_in_the_usual_form(model: Path) -> None:
    client = TestClient(create_app(ServeSettings(model, access=Access(origins=("https://photos.example",)))))
    asked = {"Origin": "https://photos.example", "Access-Control-Request-Method": "POST"}
    header = {"Access-Control-Request-Headers": "X-Goog-Api-Key", "Access-Control-Request-Private-Network": "true"}
    assert client.options("/v1/jobs", headers=asked | header).status_code == 200
    traced = {"Access-Control-Request-Headers": "content-type,traceparent,tracestate"}
    assert client.options("/v1/tags", headers=asked | traced).status_code == 200
    refused = client.options("/v1/tags", headers=asked | {"Access-Control-Request-Method": "PUT"})
    assert error_of(refused) == (400, "bad_request")
    assert "method" in refused.json()["error"]["message"]
    answer = client.get("/healthz", headers={"Origin": "https://photos.example"})
    assert "Location" in answer.headers["access-control-expose-headers"]


def test_parameters_of_pages_and_probes_are_not_checked(client: TestClient) -> None:
    for path in ("/?utm_source=x", "/docs?x", "/healthz?x=1", "/metrics?x=1"):
        assert client.get(path).status_code == 200, path


def test_head_is_a_get_without_the_body(client: TestClient) -> None:
    for path in ("/healthz", "/readyz", "/metrics", "/v1/models", "/v1/landmarks", "/openapi.json"):
        asked, headed = client.get(path), client.head(path)
        assert (headed.status_code, headed.content) == (200, b""), path
        assert headed.headers["content-type"] == asked.headers["content-type"]
    assert client.head("/v1/tags").status_code == 405


def test_a_slash_at_the_end_is_another_address(client: TestClient) -> None:
    for path in ("/v1/tags/", "/v1/models/", "/healthz/"):
        answer = client.post(path, content=TOWER, headers=RAW, follow_redirects=False)
        assert error_of(answer) == (404, "not_found")


def test_request_ids_are_taken_over_when_they_are_plain(client: TestClient) -> None:
    assert client.get("/healthz", headers={"X-Request-ID": "trip-7"}).headers["x-request-id"] == "trip-7"
    odd = client.get("/healthz", headers={"X-Request-ID": 'x" injected'}).headers["x-request-id"]
    assert odd != 'x" injected'


def test_a_failure_of_one_image_ends_the_work_on_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_stub(monkeypatch)
    app = create_app(ServeSettings(make_model(tmp_path / "colours"), workers=1))
    service: Service = app.state.service
    look = service.look

    async def failing(upload: Upload, *others: Any) -> Any:
        if upload.content == b"bug":
            raise KeyError("secret")
        return await look(upload, *others)

    service.look = failing  # type: ignore[method-assign]
    with TestClient(app) as client:
        pool = service.catalog.find(None).pool
        assert isinstance(pool, StubPool)
        pool.hold.clear()
        files = [("photos", (name, content)) for name, content in (("a", TOWER), ("b", b"bug"))]
        assert error_of(client.post("/v1/tags", files=files)) == (500, "internal")
        pool.hold.set()
        assert client.post("/v1/tags", content=TOWER, headers=RAW).status_code == 200
        assert pool.answered == 1


# --- the rest ---


def test_models_and_landmarks(client: TestClient) -> None:
    body = client.get("/v1/models").json()
    (card,) = body["models"]
    assert (card["name"], card["landmarks"], card["calibrated"]) == ("colours", 4, True)
    assert (card["licence"], card["origin"]) == ("not stated", [])
    assert (card["prefer"], card["operating_points"]) == ("balanced", {})
    assert body["search"] is False
    assert body["limits"]["max_files"] == 4
    places = client.get("/v1/landmarks").json()
    assert places["type"] == "FeatureCollection"
    names = {feature["properties"]["name"]: feature for feature in places["features"]}
    assert set(names) == {"Eiffel Tower", "Casa da Música", "Clérigos Tower", "Stonehenge"}
    assert names["Eiffel Tower"]["geometry"]["coordinates"][0] == pytest.approx(2.294, abs=0.01)
    assert names["Eiffel Tower"]["properties"]["classes"] == ["07.Eiffel_Tower"]


def test_models_say_licence_origin_and_the_rates_to_expect(tmp_path: Path) -> None:
    rates = ExpectedRates(tagged_rightly=ExpectedRate(0.8, 0.7, 0.9, 100))
    points = {"balanced": OperatingPoint(0.5, 0.5, rates), "recall": OperatingPoint(0.1, 0.5)}
    folder = make_model(tmp_path / "colours", calibration=calibrated(operating_points=points))
    origin = (Origin("holiday", 12, "CC0"),)
    write_info(folder, replace(read_info(folder), licence="experiments only", origin=origin))
    service = Service(ServeSettings(folder, workers=1, tags=TagSettings(prefer="recall", min_confidence=0.3)))
    (card,) = service.models(search=False).models
    assert (card.licence, card.prefer, card.min_confidence) == ("experiments only", "recall", 0.3)
    assert card.promised_false_tag_rate == pytest.approx(0.02)  # twice that of the point balanced
    assert card.origin[0].model_dump() == {"collection": "holiday", "pictures": 12, "licence": "CC0"}
    assert card.operating_points["balanced"].expected["tagged_rightly"].count == 100
    assert card.operating_points["recall"].expected == {}
    with pytest.raises(SettingsError, match="`prefer` is precision"):
        Service(ServeSettings(folder, workers=1, tags=TagSettings(prefer="precision")))


def test_a_threshold_that_was_chosen_on_no_photos_promises_nothing(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "colours", calibration=calibrated(fitted_on={"negatives": 0}))
    (card,) = Service(ServeSettings(folder, workers=1)).models(search=False).models
    assert (card.calibrated, card.promised_false_tag_rate) == (False, None)


def test_the_client_and_the_answer_on_the_page_are_those_of_the_service(
    client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (Path(__file__).parents[2] / "docs" / "serve.md").read_text(encoding="utf-8")
    blocks = dict(
        re.findall(r"^```(json|python)[^\n]*\n(.*?)^```$", text.partition("## ")[0], re.MULTILINE | re.DOTALL)
    )
    shown = TagsResponse.model_validate_json(blocks["json"], strict=True)
    assert json.loads(blocks["json"]) == shown.model_dump(), "no field is missing"
    for name, content in (("a.jpg", TOWER), ("b.jpg", b"no picture")):
        (tmp_path / name).write_bytes(content)
    busy = [httpx.Response(429, headers={"Retry-After": "0"})]
    sent = SimpleNamespace(
        post=lambda address, files, timeout: busy.pop() if busy else client.post(address, files=files)
    )
    monkeypatch.setitem(sys.modules, "httpx", sent)
    monkeypatch.chdir(tmp_path)
    exec(compile(blocks["python"], "docs/serve.md", "exec"), {})
    first, second = capsys.readouterr().out.splitlines()
    assert first == "a.jpg ['Eiffel Tower']"
    assert second.startswith("b.jpg {'code': 'unsupported_format'")


def test_metrics_count_pictures_by_outcome(client: TestClient) -> None:
    client.post("/v1/tags", content=TOWER, headers=RAW)
    client.post("/v1/tags", content=GREY, headers=RAW)
    client.post("/v1/tags", content=b"no picture", headers=RAW)
    text = client.get("/metrics").text
    for outcome in ("tagged", "unknown", "unsupported_format"):
        assert f'landmarks_pictures_total{{outcome="{outcome}"}}' in text
    assert 'landmarks_requests_total{route="/v1/tags",status="200"}' in text
    assert "landmarks_workers_ready 1.0" in text


def test_the_page_is_served_from_memory_and_cached_by_its_tag(client: TestClient) -> None:
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    again = client.get("/", headers={"If-None-Match": page.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    tag = page.headers["etag"]
    for given, status in (
        (f"W/{tag}", 304),
        (f'"other", W/{tag}', 304),
        ("*", 304),
        ('"other"', 200),
        (tag[:9], 200),
    ):
        assert client.get("/", headers={"If-None-Match": given}).status_code == status, given
    assert client.get("/main.js").headers["content-type"].startswith("text/javascript")
    assert "http" not in page.text.replace("http-equiv", "").replace("https://www.naturalearth", "")


def test_the_page_offers_every_format_that_is_read(client: TestClient) -> None:
    offered = re.findall(r'accept="([^"]*)"', client.get("/").text)
    assert [set(one.split(",")) for one in offered] == [{"image/*", *PHOTO_SUFFIXES}]


def test_the_page_of_the_api_needs_nothing_from_elsewhere(client: TestClient) -> None:
    page = client.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "script-src 'self'" in page.headers["content-security-policy"]
    files = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert {"docs.js", "docs.css", "openapi.json"} <= set(files)
    for file in files:
        assert client.get(f"/{file.removeprefix('./')}").status_code == 200, file
    for text in (page.text, client.get("/docs.js").text):
        assert "http:" not in text
        assert "https:" not in text
        assert " style=" not in text  # the policy allows no style but that of the files
    assert client.get("/docs.html").status_code == 404


def test_openapi_has_examples_and_one_error_shape(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    tags = document["paths"]["/v1/tags"]["post"]
    assert "multipart/form-data" in tags["requestBody"]["content"]
    for status, answer in tags["responses"].items():
        if status != "200":
            assert answer["content"]["application/json"]["schema"]["$ref"].endswith("/ErrorBody")
    for name in ("TagsResponse", "Photo", "Tag", "ErrorBody", "VisionResponse"):
        assert document["components"]["schemas"][name]["examples"]
    assert "422" in document["paths"]["/v1/models"]["get"]["responses"], "it refuses parameters, as all do"
    assert "/v1/search" not in document["paths"]


def test_openapi_tells_where_the_key_is_sent(client: TestClient, model: Path) -> None:
    locked = TestClient(create_app(ServeSettings(model, access=Access(api_key=KEY))))
    for asked, free in ((client, [{}]), (locked, [])):
        document = asked.get("/openapi.json", headers={"X-API-Key": KEY}).json()
        assert set(document["components"]["securitySchemes"]) == {"bearer", "header"}
        assert document["paths"]["/v1/tags"]["post"]["security"] == [{"bearer": []}, {"header": []}, *free]
        assert "security" not in document["paths"]["/healthz"]["get"]
        assert set(document["paths"]["/readyz"]["get"]["responses"]) == {"200", "503"}


def test_openapi_fits_generators_of_clients(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    known = {"application/json", "application/octet-stream", "multipart/form-data", "text/plain"}
    names = []
    for operations in document["paths"].values():
        for operation in operations.values():
            names.append(operation["operationId"])
            for answer in operation["responses"].values():
                assert known & set(answer.get("content", {"text/plain": None})), (names[-1], answer)
            assert set(operation.get("requestBody", {}).get("content", {})) <= known
    assert len(set(names)) == len(names)
    assert "tags" in names
    # Input and Output variants, and two schemas of one title, become models of the same name.
    schemas = document["components"]["schemas"]
    assert not [name for name in schemas if "__" in name or name.endswith(("-Input", "-Output"))]
    assert len({schema["title"] for schema in schemas.values()}) == len(schemas)


# --- XMP ---


def test_kept_tags_become_the_packet_that_tag_write_writes(client: TestClient) -> None:
    tags = client.post("/v1/tags", content=TOWER, headers=RAW).json()["photos"][0]["tags"]
    answer = client.post("/v1/xmp", json={"photos": [{"file": "tower.jpg", "tags": tags}]})
    assert answer.headers["content-type"].startswith("application/rdf+xml")
    plain = {"Accept": "application/octet-stream"}
    same = client.post("/v1/xmp", json={"photos": [{"file": "tower.jpg", "tags": tags}]}, headers=plain)
    assert (same.headers["content-type"], same.content) == (plain["Accept"], answer.content)
    entries = XmpPacket(answer.content).entries()
    assert entries.keywords == ("Eiffel Tower", "Paris", "France")
    assert entries.locations[0].identifier.endswith("Q243")


def test_several_packets_come_as_a_zip_of_plain_names(client: TestClient) -> None:
    tag = {"name": "Eiffel Tower", "level": "landmark", "probability": 0.9, "place": None}
    names = ["../../etc/passwd", "a\\b.jpg", "b.jpg", "B.jpg", "...", "c:d\x00.jpg"]
    answer = client.post("/v1/xmp", json={"photos": [{"file": name, "tags": [tag]} for name in names]})
    archive = zipfile.ZipFile(io.BytesIO(answer.content))
    assert archive.namelist() == [
        "passwd.xmp",
        "b.jpg.xmp",
        "b.jpg (2).xmp",
        "B.jpg (3).xmp",
        "photo.xmp",
        "c_d_.jpg.xmp",
    ]
    assert "Eiffel Tower" in XmpPacket(archive.read("b.jpg.xmp")).entries().keywords


def test_names_in_a_zip_fit_into_file_systems(client: TestClient) -> None:
    tag = {"name": "Eiffel Tower", "level": "landmark", "probability": 0.9, "place": None}
    names = ["é" * 255, "é" * 255, "a" * 251, "a" * 255]
    answer = client.post("/v1/xmp", json={"photos": [{"file": name, "tags": [tag]} for name in names]})
    found = zipfile.ZipFile(io.BytesIO(answer.content)).namelist()
    assert found == ["é" * 125 + ".xmp", "é" * 123 + " (2).xmp", "a" * 251 + ".xmp", "a" * 247 + " (2).xmp"]


def test_tags_that_make_no_sense_are_refused(client: TestClient) -> None:
    for tag in (
        {"name": "", "level": "landmark", "probability": 1},
        {"name": "x", "level": "planet", "probability": 1},
        {"name": "x", "level": "city", "probability": 2},
        {"name": "x", "level": "city", "probability": 1, "places": None},
        {"name": "x", "level": "landmark", "probability": 1, "place": {"name": "x", "lattitude": 1.0}},
    ):
        answer = client.post("/v1/xmp", json={"photos": [{"file": "a", "tags": [tag]}]})
        assert error_of(answer) == (422, "invalid_parameter")


def test_json_of_very_many_values_is_refused_as_soon_as_it_has_them(model: Path) -> None:
    statuses: list[int] = []
    came = 0

    async def receive() -> dict[str, Any]:
        nonlocal came
        came += 1
        return {"type": "http.request", "body": b"[1," * 8000, "more_body": True}

    async def send(message: Any) -> None:
        statuses.append(message.get("status"))

    headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/v1/xmp", "query_string": b"", "headers": headers}
    app = create_app(ServeSettings(model, workers=1))
    asyncio.run(app(scope, receive, send))
    assert (statuses[0], came) == (413, 2)


# --- search ---


def test_a_searcher_brings_the_route_for_look_alikes(model: Path) -> None:
    searcher = Nearest(model, {"red": TOWER, "blue": HENGE, "grey": GREY})
    with TestClient(create_app(ServeSettings(model, workers=1), searcher)) as client:
        assert client.get("/v1/models").json()["search"] is True
        body = client.post("/v1/search?limit=2", content=picture((200, 40, 40)), headers=RAW).json()
        assert [(each["name"], each["picture"]) for each in body["neighbours"]] == [("red", None), ("grey", None)]
        assert body["neighbours"][0]["similarity"] == pytest.approx(1, abs=0.05)
        assert error_of(client.post("/v1/search", content=b"no", headers=RAW)) == (415, "unsupported_format")
        assert error_of(client.post("/v1/search?limit=0", content=TOWER, headers=RAW)) == (
            422,
            "invalid_parameter",
        )
        two = [("photos", ("a", TOWER)), ("photos", ("b", HENGE))]
        assert error_of(client.post("/v1/search", files=two)) == (400, "bad_request")


def test_a_search_that_is_refused_does_not_count_for_the_key(model: Path) -> None:
    app = create_app(ServeSettings(model, access=Access(api_key=KEY)), Nearest(model, {"red": TOWER}))
    client = TestClient(app, headers={"X-API-Key": KEY})
    client.post("/v1/search", files=[("photos", ("a", TOWER)), ("photos", ("b", HENGE))])
    assert "landmarks_key_pictures_total{" not in client.get("/metrics").text


def test_searches_wait_for_each_other_and_nothing_else_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_stub(monkeypatch)
    ended, searched = threading.Event(), []

    class Far:
        def search(self, embedding: NDArray[np.float32], limit: int) -> list[LookAlike]:
            searched.append(embedding)
            ended.wait(60)
            return []

    limits = Limits(decode_seconds=20, request_seconds=20)
    app = create_app(ServeSettings(make_model(tmp_path / "colours"), workers=1, limits=limits), Far())
    with TestClient(app) as client, ThreadPoolExecutor(40) as threads:
        asked = [threads.submit(client.post, "/v1/search", content=TOWER, headers=RAW) for _ in range(40)]
        while app.state.service.catalog.find(None).pool.answered < 40:
            time.sleep(0.01)
        answer = client.post("/v1/xmp", json={"photos": [{"file": "a", "tags": [TAG]}] * 2})
        assert (answer.status_code, len(searched)) == (200, 1)
        ended.set()
        assert {each.result().status_code for each in asked} == {200}


def test_an_index_that_is_gone_is_told(model: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Gone:
        def search(self, embedding: NDArray[np.float32], limit: int) -> list[LookAlike]:
            raise SearchError("secret/place: the index is out of reach")

    with TestClient(create_app(ServeSettings(model, workers=1), Gone())) as client:
        answer = client.post("/v1/search", content=TOWER, headers=RAW)
    assert error_of(answer) == (503, "unavailable")
    assert "secret" not in answer.text
    assert "secret/place" in str([vars(record) for record in caplog.records])


def test_a_picture_of_a_look_alike_is_sent_inside_the_answer(model: Path) -> None:
    class Shown(Nearest):
        def search(self, embedding: NDArray[np.float32], limit: int) -> list[LookAlike]:
            return [replace(one, picture=b"small") for one in super().search(embedding, limit)]

    with TestClient(create_app(ServeSettings(model, workers=1), Shown(model, {"red": TOWER}))) as client:
        [found] = client.post("/v1/search", content=TOWER, headers=RAW).json()["neighbours"]
    assert found["picture"] == f"data:image/jpeg;base64,{base64.b64encode(b'small').decode()}"


def test_a_damaged_model_is_told_before_anything_starts(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not a model folder"):
        create_app(ServeSettings(tmp_path))
    damaged = make_model(tmp_path / "colours", calibration=calibrated())
    (damaged / "model.json").write_text((damaged / "model.json").read_text().replace('"fitted_on"', '"fitted"'))
    with pytest.raises(ModelError, match=f"{damaged}/model.json: the calibration is damaged"):
        create_app(ServeSettings(damaged))
