"""Models are pushed to a server that speaks the protocol of the Hugging Face Hub, and added from it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from commands import landmarks
from hub_server import TOKEN, HubServer, Stored
from huggingface_hub import ModelCard, constants
from PIL import Image
from tiny_model import calibrated, make_model

from landmarks.files.checksums import sha256_file
from landmarks.model.folder import models_folder, read_info, write_info
from landmarks.training.export.formats.hub import write_hub_card

# Of huggingface_hub itself, where it uploads without Xet.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content:DeprecationWarning")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    made = HubServer()
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", made.address)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # the server speaks the plain protocol
    # Whoever runs the tests may be logged in.
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no token"))
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = make_model(tmp_path / "colours", calibration=calibrated())
    (made / "README.md").write_text("# Colours")
    info = read_info(made)
    write_info(made, replace(info, files={**info.files, "README.md": sha256_file(made / "README.md")}))
    return made


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "red.png"
    Image.new("RGB", (64, 64), (230, 30, 30)).save(path)
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_pushed_model_can_be_added_by_somebody_else(hub: HubServer, folder: Path, photo: Path) -> None:
    pushed = landmarks("models", "push", folder, "user/towers")
    assert pushed.status == 0, pushed.err
    assert pushed.out == f"licence: not stated\nmodel: {hub.address}/user/towers\n"
    stored = hub.repositories["user/towers"]
    assert (stored.files, stored.private, stored.commits) == (contents(folder), False, 1)

    added = landmarks("models", "add", "hf://user/towers", "--photo", photo)
    assert added.status == 0, added.err
    assert "07.Eiffel_Tower" in added.out
    copy = models_folder() / "towers"
    assert read_info(copy).name == "towers"
    assert (copy / "model.onnx").read_bytes() == (folder / "model.onnx").read_bytes()
    assert not list(models_folder().glob(".*.new"))
    told = [landmarks("predict", photo, "--model", one, "--jsonl").rows["red"] for one in ("towers", folder)]
    assert told[0]["candidates"] == told[1]["candidates"]


def test_a_commit_can_be_named(hub: HubServer, folder: Path) -> None:
    landmarks("models", "push", folder, "user/towers")
    sha = hub.repositories["user/towers"].sha
    assert landmarks("models", "add", f"hf://user/towers@{sha}", "--name", "old").status == 0
    outcome = landmarks("models", "add", "hf://user/towers@9.9", "--name", "new")
    assert (outcome.status, outcome.complaint) == (
        2,
        "user/towers: it has no revision 9.9: check the branch, tag or commit after the @",
    )
    assert [path.name for path in models_folder().glob("[!.]*")] == ["old"]


def test_a_repository_with_files_is_left_alone_unless_asked(hub: HubServer, folder: Path) -> None:
    hub.repositories["user/towers"] = Stored({".gitattributes": b""})  # created by hand, still empty
    assert landmarks("models", "push", folder, "user/towers").status == 0
    outcome = landmarks("models", "push", folder, "user/towers")
    assert (outcome.status, outcome.complaint) == (
        2,
        "user/towers: the repository has files already: choose another name, or give --update",
    )
    assert landmarks("models", "push", folder, "user/towers", "--update").status == 0
    hidden = landmarks("models", "push", folder, "user/towers", "--update", "--private")
    assert "exists and is public" in hidden.complaint
    assert hub.repositories["user/towers"].commits == 2


def test_a_private_repository_needs_the_token(
    hub: HubServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert landmarks("models", "push", folder, "user/secret", "--private").status == 0
    assert hub.repositories["user/secret"].private
    monkeypatch.delenv("HF_TOKEN")
    outcome = landmarks("models", "add", "hf://user/secret")
    assert (outcome.status, outcome.complaint) == (
        2,
        "user/secret: there is no such repository, or it is private: check the name, or log in with hf auth login "
        "or HF_TOKEN",
    )


@pytest.mark.parametrize(
    ("token", "sentence"),
    [
        (None, "user/towers: you are not logged in: run hf auth login, or set HF_TOKEN"),
        (
            "hf_wrong",
            "user/towers: the Hub does not know your token: run hf auth login again, or correct HF_TOKEN",
        ),
    ],
)
def test_a_missing_or_wrong_token_is_told_and_never_shown(
    hub: HubServer, folder: Path, monkeypatch: pytest.MonkeyPatch, token: str | None, sentence: str
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    if token is not None:
        monkeypatch.setenv("HF_TOKEN", token)
    outcome = landmarks("models", "push", folder, "user/towers")
    assert (outcome.status, outcome.complaint) == (2, sentence)
    assert hub.repositories == {}
    assert "hf_wrong" not in outcome.err + outcome.out


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/api/repos/create", 403, "your token may not write there"),
        ("/commit/", 403, "your token may not write there"),
        ("/commit/", 418, "the Hub refused it (418"),
        ("/validate-yaml", 400, "the Hub does not take it (Invalid metadata in README.md. - refused): correct"),
    ],
)
def test_what_the_hub_refuses_is_told(hub: HubServer, folder: Path, path: str, status: int, said: str) -> None:
    hub.refused[path] = status
    outcome = landmarks("models", "push", folder, "user/towers")
    assert outcome.status == 2
    assert said in outcome.complaint
    hub.refused.clear()
    assert landmarks("models", "push", folder, "user/towers").status == 0  # an empty repository is no obstacle


@pytest.mark.parametrize(
    ("licence", "named"),
    [
        ("not stated", (None, None)),
        ("CC BY-NC 4.0", ("cc-by-nc-4.0", None)),
        ("CC0", ("cc0-1.0", None)),
        ("Ask us (2026)", ("other", "ask-us-2026")),
    ],
)
def test_the_card_names_the_licence_as_the_hub_does(
    folder: Path, licence: str, named: tuple[str | None, str | None]
) -> None:
    for name in ("model.safetensors", "config.json"):
        (folder / name).touch()
    write_info(folder, replace(read_info(folder), licence=licence))
    write_hub_card(folder)
    data = ModelCard.load(folder / "README.md").data
    assert (data.get("license"), data.get("license_name")) == named


def test_without_a_network_it_is_told(hub: HubServer, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for command in (("push", folder, "user/towers"), ("add", "hf://user/towers")):
        outcome = landmarks("models", *command)
        assert outcome.status == 2
        assert "user/towers: HF_HUB_OFFLINE forbids the connection: unset it" in outcome.complaint
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    for command in (("push", folder, "user/towers"), ("add", "hf://user/towers")):
        outcome = landmarks("models", *command)
        assert outcome.status == 2
        assert "user/towers: the Hub cannot be reached (ConnectError)" in outcome.complaint


@pytest.mark.parametrize("name", ["towers", "user/towers/more", "user/../towers", "a/.b", "/"])
def test_a_wrong_name_is_refused_before_any_request(hub: HubServer, folder: Path, name: str) -> None:
    outcome = landmarks("models", "push", folder, name)
    assert outcome.status == 2
    assert "must be a repository of the Hub, such as USER/NAME" in outcome.complaint
    assert hub.asked == []


def test_a_repository_without_a_model_is_refused(hub: HubServer) -> None:
    hub.repositories["user/text"] = Stored({"README.md": b"", "config.json": b"{}"})
    outcome = landmarks("models", "add", "hf://user/text")
    assert outcome.status == 2
    assert "no model that landmarks can use" in outcome.complaint
    assert not models_folder().exists()


def test_a_damaged_model_is_not_added(hub: HubServer, folder: Path) -> None:
    landmarks("models", "push", folder, "user/towers")
    hub.repositories["user/towers"].files["model.onnx"] += b"x"
    outcome = landmarks("models", "add", "hf://user/towers")
    assert outcome.status == 2
    assert "SHA-256" in outcome.complaint
    assert not list(models_folder().glob("[!.]*"))


def test_files_that_model_json_names_elsewhere_are_never_touched(
    hub: HubServer, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("mine")
    landmarks("models", "push", folder, "user/towers")
    stored = hub.repositories["user/towers"]
    values = json.loads(stored.files["model.json"])
    values["files"]["../secret"] = "0" * 64
    stored.files["model.json"] = json.dumps(values).encode()
    assert landmarks("models", "add", "hf://user/towers").status == 0
    assert set(read_info(models_folder() / "towers").files) == {"README.md", "model.onnx"}


def test_a_local_model_folder_is_added_by_its_name(folder: Path) -> None:
    outcome = landmarks("models", "add", folder)
    assert outcome.status == 0, outcome.err
    assert read_info(models_folder() / "colours").classes == read_info(folder).classes
    again = landmarks("models", "add", folder)
    assert "this model is there already" in again.complaint
    refused = landmarks("models", "add", folder, "--name", "other", "--preprocessing", "imagenet")
    assert "--preprocessing is for models of others" in refused.complaint
