"""The documentation site builds without a warning and fetches nothing; its generated page is current."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import landmarks
from landmarks.model.folder import find_model, read_info

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built with warnings as errors."""
    pytest.importorskip("mkdocs")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_site_has_the_pages_from_elsewhere_in_the_project(site: Path) -> None:
    card = (site / "model-card.html").read_text(encoding="utf-8")
    assert "33.Taj_Mahal" in card
    for result in (ROOT / "benchmarks" / "results").glob("*.md"):
        assert (site / "results" / f"{result.stem}.html").is_file()
        assert f"results/{result.stem}.html" in card, "it is in the navigation"


def test_pages_read_the_same_in_the_repository(site: Path) -> None:
    for page in (ROOT / "docs").glob("*.md"):
        text = page.read_text(encoding="utf-8")
        assert "--8<--" not in text, f"{page.name}: only the site would replace this line"
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", re.sub(r"```.*?```", "", text, flags=re.DOTALL)):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
    assert "resizeTo" in (site / "javascript.html").read_text(encoding="utf-8"), "and the site shows the example"


def test_every_link_of_the_site_leads_somewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        if page.name == "404.html":
            continue  # its links are absolute: it is shown for any address
        for address in re.findall(r'(?:href|src)="([^"#]+)', page.read_text(encoding="utf-8")):
            if "://" not in address and not address.startswith(("data:", "mailto:")):
                assert (page.parent / address).exists(), f"{page.name}: {address}"


def test_site_fetches_nothing_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        loaded = re.findall(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=\"https?://[^\"]+", page.read_text())
        assert loaded == [], page.name


def test_page_of_the_command_line_is_current() -> None:
    path = [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    code = "import cli_page; print(cli_page.page(), end='')"
    made = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT / "docs",
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert made == (ROOT / "docs" / "cli.md").read_text(encoding="utf-8"), "run: python docs/cli_page.py"


def test_expected_rates_are_those_of_the_bundled_model() -> None:
    points = (read_info(find_model("world")).calibration or {})["operating_points"]
    readme, page = ((ROOT / path).read_text() for path in ("README.md", "docs/unknown.md"))
    for key in ("false_tags_ordinary", "false_tags_unknown"):
        rate = points["balanced"]["expected"][key]
        shown = "{value:.1f} % ({low:.1f} - {high:.1f})".format(
            **{name: 100 * rate[name] for name in ("value", "low", "high")}
        )
        assert f"{rate['count']:,}" in readme
        assert shown in readme
        assert f"{rate['count']:,} | {shown}" in page
        assert f"{100 * points['precision']['expected'][key]['value']:.1f}" in readme


def test_rates_of_kinds_new_to_the_network_are_those_of_the_bundled_model() -> None:
    rates = (read_info(find_model("world")).calibration or {})["fitted_on"]["rates"]
    readme, page = ((ROOT / path).read_text() for path in ("README.md", "docs/unknown.md"))
    new = "building_highrise", "football_stadium", "garden_park", "house_bungalow", "mountain", "sea"
    kinds = [rates[f"kind negatives_wide/{name}"] for name in new]
    photos, tags = sum(one["count"] for one in kinds), sum(one["value"] * one["count"] for one in kinds)
    assert f"of kinds new to that network ({photos}) {100 * tags / photos:.1f} %" in readme
    assert f"{100 * tags / photos:.1f} % ({tags:.0f} of {photos}) of the six kinds" in page


def test_the_reference_has_the_whole_public_api() -> None:
    reference = "".join((ROOT / "docs" / f"api-{part}.md").read_text() for part in ("use", "training"))
    for module in {"landmarks.errors", *landmarks._HOMES.values()}:
        assert f"::: {module}\n" in reference


def test_intervals_over_landmarks_and_kinds_are_those_of_the_bundled_model() -> None:
    fitted = (read_info(find_model("world")).calibration or {})["fitted_on"]
    page, rng = " ".join((ROOT / "docs" / "unknown.md").read_text().split()), np.random.default_rng(0)
    asked = ((True, 26, "{:.1f} to {:.1f} % of their"), (False, 24, "kinds on {:.1f} to {:.1f} %"))
    for is_landmark, count, shown in asked:
        groups = [one for name, one in fitted["rates"].items() if name.startswith("landmark ") == is_landmark]
        tags, photos = np.array([(one["value"] * one["count"], one["count"]) for one in groups]).T
        drawn = rng.integers(0, len(groups), (20_000, len(groups)))
        rates = 100 * tags[drawn].sum(axis=1) / photos[drawn].sum(axis=1)
        assert len(groups) == count
        assert shown.format(*np.quantile(rates, (0.025, 0.975))) in page
