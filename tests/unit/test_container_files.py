"""Dockerfile, compose file and Kubernetes example: they parse, and what they name exists in the service."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from commands import landmarks
from stub_pool import use_stub
from tiny_model import make_model

from landmarks.serving.app import create_app
from landmarks.serving.middleware.intake import STOP_SECONDS
from landmarks.serving.middleware.keys import read_keys
from landmarks.serving.settings import LOOPBACK, Limits, ServeSettings

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "examples" / "kubernetes" / "landmarks.yaml"


def objects() -> dict[str, Any]:
    return {each["kind"]: each for each in yaml.safe_load_all(KUBERNETES.read_text(encoding="utf-8"))}


def container() -> Any:
    (only,) = objects()["Deployment"]["spec"]["template"]["spec"]["containers"]
    return only


def settings_of(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> ServeSettings:
    """The settings with which `landmarks serve` would start."""
    given: list[ServeSettings] = []
    monkeypatch.setattr("landmarks.serving.server.run", lambda settings, *_, **__: given.append(settings))
    monkeypatch.delenv("LANDMARKS_API_KEY", raising=False)
    outcome = landmarks("serve", "--host", "0.0.0.0", *arguments)
    assert outcome.status == 0, outcome.err
    return given[0]


def test_every_package_of_the_image_is_pinned_with_hashes() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {"serve", "search", "otel"}
    needed = [
        *extras["dependencies"],
        *(each for name in wanted for each in extras["optional-dependencies"][name]),
    ]
    entries = re.split(r"\n(?=\S)", (ROOT / "container" / "requirements.txt").read_text().strip())
    pinned = dict(re.match(r"([a-z0-9-]+)==([^ ;]+)", entry).groups() for entry in entries)  # type: ignore[union-attr]
    assert all("--hash=sha256:" in entry for entry in entries)
    for requirement in needed:
        name, least = re.match(r"([A-Za-z0-9_-]+)>=([0-9.]+)", requirement).groups()  # type: ignore[union-attr]
        version = pinned[name.lower().replace("_", "-")]
        assert [int(part) for part in version.split(".")[:2]] >= [int(part) for part in least.split(".")[:2]], name


def test_the_image_has_what_its_files_need() -> None:
    lines = (ROOT / "Dockerfile").read_text()
    kept = (ROOT / ".dockerignore").read_text()
    for source in re.findall(r"^COPY (?!--from)(.+) \S+$", lines, re.MULTILINE):
        for name in source.split():
            assert (ROOT / name).exists(), name
            assert f"!{name}" in kept.splitlines(), name
    assert "--require-hashes" in lines
    assert re.findall(r"^USER (.+)$", lines, re.MULTILINE) == ["10001"]
    assert "/readyz" in lines


def test_compose_answers_no_foreign_host_without_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    service = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["landmarks"]
    settings = settings_of(service["command"], monkeypatch)
    assert settings.access.api_key is None
    assert settings.access.hosts == LOOPBACK
    with_key = [*service["command"], "--api-keys", "keys.toml", "--host", "127.0.0.1"]
    assert settings_of(with_key, monkeypatch).access.hosts == ()  # a proxy on the machine may ask by any name
    (volume,) = service["volumes"]
    assert settings.jobs.path is not None
    assert volume.split(":")[1] == str(settings.jobs.path.parent)
    assert str(settings.jobs.path.parent) in (ROOT / "Dockerfile").read_text()
    assert service["ports"] == ["127.0.0.1:8000:8000"]
    assert service["read_only"] is True
    assert "--workers=2" in service["command"]  # one per core of a large machine would not fit into its mem_limit
    assert int(service["stop_grace_period"].rstrip("s")) > Limits().request_seconds + STOP_SECONDS


def test_probes_and_metrics_of_the_example_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_stub(monkeypatch)
    app = create_app(ServeSettings(make_model(tmp_path / "colours"), workers=1))
    paths = app.openapi()["paths"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        asked = container()[probe]["httpGet"]
        assert asked["path"] in paths
        assert asked["port"] in {port["name"] for port in container()["ports"]}
    (metric,) = objects()["HorizontalPodAutoscaler"]["spec"]["metrics"]
    name = metric["pods"]["metric"]["name"]
    assert f"\n{name} " in app.state.service.metrics.text().decode()
    assert name in (KUBERNETES.parent / "README.md").read_text()


def test_the_example_starts_the_service_and_ends_it_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(container()["args"], monkeypatch)
    pod = objects()["Deployment"]["spec"]["template"]["spec"]
    assert settings.workers == int(container()["resources"]["requests"]["cpu"])
    _sleep, pause = container()["lifecycle"]["preStop"]["exec"]["command"]  # or a rollout would lose requests
    ending = int(pause) + settings.limits.request_seconds + STOP_SECONDS
    assert pod["terminationGracePeriodSeconds"] > ending
    mount, _ = container()["volumeMounts"]
    assert settings.access.keys_file is not None
    assert str(settings.access.keys_file.parent) == mount["mountPath"]
    ((name, text),) = objects()["Secret"]["stringData"].items()
    assert name == settings.access.keys_file.name
    (tmp_path / name).write_text(text)
    assert {key.name for key in read_keys(tmp_path / name)} == {"prometheus", "phone-app"}


def test_the_objects_of_the_example_belong_together() -> None:
    found = objects()
    labels = found["Deployment"]["spec"]["template"]["metadata"]["labels"]
    for selector in (
        found["Deployment"]["spec"]["selector"]["matchLabels"],
        found["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        found["Service"]["spec"]["selector"],
    ):
        assert selector.items() <= labels.items()
    assert (
        found["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"]
        == found["Deployment"]["metadata"]["name"]
    )
    volumes = found["Deployment"]["spec"]["template"]["spec"]["volumes"]
    assert volumes[0]["secret"]["secretName"] == found["Secret"]["metadata"]["name"]
    port = found["Service"]["spec"]["ports"][0]["targetPort"]
    assert port in {each["name"] for each in container()["ports"]}
