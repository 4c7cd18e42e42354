"""Several models in one service, and models whose folder changes while they are served."""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2 as httpx
import pytest
from fastapi import FastAPI
from stub_pool import StubPool, use_stub
from tiny_model import COLOURS, add_reference, calibrated, make_model, save_colour
from waiting import until_in_loop

from landmarks.errors import ModelError, PlacesError, SettingsError
from landmarks.fewshot.enrollment import Teacher
from landmarks.model.folder import ONNX_FILE, learned_path, read_info
from landmarks.serving.app import create_app
from landmarks.serving.models.catalog import Catalog
from landmarks.serving.pool.worker import Answerer
from landmarks.serving.settings import ServeSettings
from landmarks.tagging.settings import TagSettings

FEW = {name: COLOURS[name] for name in ("31.Stonehenge", "background")}


@pytest.fixture(autouse=True)
def _stub(monkeypatch: pytest.MonkeyPatch) -> None:
    use_stub(monkeypatch)


@asynccontextmanager
async def asking(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client,
    ):
        yield client


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(work(), 30))


def tag(client: httpx.AsyncClient, query: str = "") -> Coroutine[Any, Any, httpx.Response]:
    return client.post(f"/v1/tags{query}", content=b"picture", headers={"content-type": "image/png"})


def change(folder: Path, **made: Any) -> None:
    """Give a model folder another model of the same name, as a copy over it does."""
    fresh = make_model(folder.parent / "fresh" / folder.name, **made)
    for file in fresh.iterdir():
        file.replace(folder / file.name)
    fresh.rmdir()


async def look(catalog: Catalog, times: int = 2) -> None:
    for _ in range(times):
        await catalog.look()


def test_requests_choose_a_model_by_name(tmp_path: Path) -> None:
    first, second = make_model(tmp_path / "colours"), make_model(tmp_path / "few", colours=FEW)

    async def work() -> None:
        app = create_app(ServeSettings(first, workers=1, more_models=(second,)))
        async with asking(app) as client:
            cards = (await client.get("/v1/models")).json()["models"]
            assert [card["name"] for card in cards] == ["colours", "few"]
            for query, version in (("", cards[0]), ("?model=colours", cards[0]), ("?model=few", cards[1])):
                assert (await tag(client, query)).json()["model"] == version["version"]
            assert len((await client.get("/v1/landmarks?model=few")).json()["features"]) == 1
            other = await tag(client, "?model=other")
            assert other.status_code == 422
            assert "colours, few" in other.json()["error"]["message"]

    run(work)


def test_the_card_says_that_rates_are_estimates(tmp_path: Path) -> None:
    model = make_model(tmp_path / "colours", calibration=calibrated(fitted_on={"carried_over_on": 40}))

    async def work() -> None:
        async with asking(create_app(ServeSettings(model, workers=1))) as client:
            (card,) = (await client.get("/v1/models")).json()["models"]
            assert "estimates" in card["rates_note"]
            assert "on 40 photos" in card["rates_note"]
            assert card["rate_labels"]["tagged_rightly"] == "tagged rightly"

    run(work)


def test_two_models_of_one_name_are_refused(tmp_path: Path) -> None:
    models = make_model(tmp_path / "a" / "colours"), make_model(tmp_path / "b" / "colours")
    with pytest.raises(SettingsError, match="`more_models`: two models are called colours"):
        create_app(ServeSettings(models[0], more_models=models[1:]))


def test_a_changed_folder_is_served_and_no_request_is_lost(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "colours")

    async def work() -> None:
        app = create_app(ServeSettings(folder, workers=1, reload_seconds=0))
        catalog: Catalog = app.state.service.catalog
        async with asking(app) as client:
            old = catalog.find(None)
            pool = old.pool
            assert isinstance(pool, StubPool)
            pool.hold.clear()  # a request is in flight while the model changes
            late = asyncio.create_task(tag(client))
            await until_in_loop(lambda: pool.asked, seconds=30)
            change(folder, calibration=calibrated())
            await catalog.look()
            assert catalog.find(None) is old  # perhaps the files are still being copied
            await catalog.look()
            fresh = catalog.find(None)
            assert fresh.version != old.version
            assert (await tag(client)).json()["model"] == fresh.version
            assert not pool.closed
            pool.hold.set()
            answer = await late
            assert (answer.status_code, answer.json()["model"]) == (200, old.version)
            await until_in_loop(lambda: pool.closed, seconds=30)
            assert 'landmarks_model_reloads_total{outcome="done"} 1.0' in (await client.get("/metrics")).text

    run(work)


@pytest.mark.parametrize("what", ["broken", "renamed", "gone", "touched"])
def test_what_cannot_be_loaded_leaves_the_model_before(tmp_path: Path, what: str) -> None:
    folder = make_model(tmp_path / "colours")

    async def work() -> None:
        app = create_app(ServeSettings(folder, workers=1, reload_seconds=0))
        catalog: Catalog = app.state.service.catalog
        async with asking(app) as client:
            before = catalog.find(None)
            if what == "broken":
                (folder / ONNX_FILE).write_bytes(b"no network")
            elif what == "renamed":
                for file in make_model(tmp_path / "other", colours=FEW).iterdir():
                    file.replace(folder / file.name)
            elif what == "gone":
                folder.rename(tmp_path / "elsewhere")
            else:
                (folder / "README.md").write_text("another text")
            await look(catalog, 4)
            assert catalog.find(None) is before
            assert (await tag(client)).status_code == 200
            failed = 'landmarks_model_reloads_total{outcome="failed"} 1.0' in (await client.get("/metrics")).text
            assert failed == (what in {"broken", "renamed"})

    run(work)


def test_a_reload_that_failed_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_model(tmp_path / "colours")

    async def work() -> None:
        app = create_app(ServeSettings(folder, workers=1, reload_seconds=0))
        catalog: Catalog = app.state.service.catalog
        async with asking(app):
            before = catalog.find(None)
            change(folder, calibration=calibrated())

            async def killed(_: StubPool) -> None:
                raise ModelError("the process that loads it was killed")

            with monkeypatch.context() as patch:
                patch.setattr(StubPool, "open", killed)
                await look(catalog)
            await look(catalog)
            assert catalog.find(None) is before  # not at once
            now = time.monotonic()
            monkeypatch.setattr(
                "landmarks.serving.models.catalog.time", SimpleNamespace(monotonic=lambda: now + 3)
            )
            await look(catalog, 1)
            assert catalog.find(None) is not before

    run(work)


def test_a_model_that_stays_broken_is_tried_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ModelError("it is broken")

    async def work() -> None:
        app = create_app(ServeSettings(make_model(tmp_path / "colours"), workers=1, reload_seconds=0))
        catalog: Catalog = app.state.service.catalog
        changed = frozenset({(ONNX_FILE, 1, 1)})  # looking at the folder itself a thousand times takes a second
        monkeypatch.setattr("landmarks.serving.models.catalog._signature", lambda *_: changed)
        times = itertools.count(100, 100)
        monkeypatch.setattr("landmarks.serving.models.catalog.ServedModel", broken)
        monkeypatch.setattr(
            "landmarks.serving.models.catalog.time", SimpleNamespace(monotonic=lambda: next(times))
        )
        await look(catalog, 1030)
        assert 'outcome="failed"} 1029.0' in app.state.service.metrics.text().decode()

    run(work)


def test_the_network_of_an_index_stays_until_the_restart(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "colours")

    class Nothing:
        def search(self, embedding: object, limit: int) -> list[Any]:
            return []

    async def work() -> None:
        app = create_app(ServeSettings(folder, workers=1, reload_seconds=0), Nothing())
        async with asking(app):
            catalog: Catalog = app.state.service.catalog
            before = catalog.find(None)
            change(folder, calibration=calibrated())
            await look(catalog)
            assert (taught := catalog.find(None)) is not before
            change(folder, sharpness=30.0)
            await look(catalog)
            assert catalog.find(None) is taught

    run(work)


def test_workers_of_the_version_before_can_still_be_replaced(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "colours")

    async def work() -> None:
        app = create_app(ServeSettings(folder, workers=1, reload_seconds=60))
        async with asking(app):
            served = app.state.service.catalog.find(None)
            pool = served.pool
            assert isinstance(pool, StubPool)
            change(folder, calibration=calibrated())
            Answerer(pool.settings)  # what a worker does at its start
            await served.retire()
            assert not pool.settings.model.exists()

    run(work)


def test_own_places_that_change_are_served_and_workers_can_still_be_replaced(tmp_path: Path) -> None:
    own = tmp_path / "own.csv"
    own.write_text("key,name\neiffel_tower,Our tower\n")

    async def work() -> None:
        settings = ServeSettings(make_model(tmp_path / "colours"), TagSettings(own_places=own), workers=1)
        app = create_app(replace(settings, reload_seconds=60))
        async with asking(app) as client:
            catalog: Catalog = app.state.service.catalog
            before = catalog.find(None).pool
            own.write_text("key,name\neiffel_tower,Your tower\n")
            assert isinstance(before, StubPool)
            Answerer(before.settings)  # what a worker does at its start
            await look(catalog)
            assert "Your tower" in (await client.get("/v1/landmarks")).text
            own.write_text("key\n")
            await look(catalog)
            assert "Your tower" in (await client.get("/v1/landmarks")).text
        with pytest.raises(PlacesError, match=re.escape(str(own))):
            create_app(settings)

    run(work)


def test_what_a_bundled_model_was_taught_is_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = add_reference(make_model(tmp_path / "colours", calibration=calibrated()))
    monkeypatch.setattr("landmarks.model.folder.bundled_models", lambda: {"colours": folder})
    photo, taught = save_colour(tmp_path / "yellow.png", (225, 215, 30)), learned_path(folder, read_info(folder))
    assert not taught.is_relative_to(folder)

    def names(catalog: Catalog) -> list[str]:
        """What a worker that starts now answers."""
        pool = catalog.find(None).pool
        assert isinstance(pool, StubPool)
        return [tag["name"] for tag in Answerer(pool.settings).answer(photo.read_bytes())["tags"]]

    async def load(pool: StubPool) -> None:
        Answerer(pool.settings)

    async def work() -> None:
        settings = ServeSettings(folder, workers=1, reload_seconds=60)
        app = create_app(settings)
        async with asking(app):
            Teacher(folder).learn("Atomium", [photo])
            await look(app.state.service.catalog)
            assert names(app.state.service.catalog) == ["Atomium"]
        app = create_app(settings)
        async with asking(app):
            assert names(app.state.service.catalog) == ["Atomium"]
        taught.write_bytes(b"no landmarks")
        monkeypatch.setattr(StubPool, "open", load)
        with pytest.raises(ModelError, match=re.escape(str(taught))):
            async with asking(create_app(settings)):
                pass

    run(work)


def test_the_current_folder_is_copied_like_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(make_model(tmp_path / "colours"))

    async def work() -> None:
        app = create_app(ServeSettings(Path(), workers=1, reload_seconds=60))
        async with asking(app):
            pool = app.state.service.catalog.find(None).pool
            assert isinstance(pool, StubPool)
            assert not (tmp_path / "colours").samefile(pool.settings.model)

    run(work)
    assert "could not be copied" not in caplog.text


def test_a_copy_that_vanishes_is_replaced(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "colours")

    class Nothing:
        def search(self, embedding: object, limit: int) -> list[Any]:
            return []

    async def work() -> None:
        app = create_app(ServeSettings(folder, workers=1, reload_seconds=60), Nothing())
        catalog: Catalog = app.state.service.catalog
        async with asking(app) as client:
            before = catalog.find(None)
            assert isinstance(before.pool, StubPool)
            (before.pool.settings.model / ONNX_FILE).unlink()  # as a service that tidies /tmp does
            await catalog.look()
            fresh = catalog.find(None)
            assert (fresh is before, fresh.version) == (False, before.version)
            assert isinstance(fresh.pool, StubPool)
            Answerer(fresh.pool.settings)
            assert (await tag(client)).status_code == 200
            await catalog.look()
            assert catalog.find(None) is fresh

    run(work)


def test_requests_do_not_wait_for_workers_that_cannot_start(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "colours")

    async def work() -> None:
        app = create_app(ServeSettings(folder, workers=1, reload_seconds=60))
        catalog: Catalog = app.state.service.catalog
        async with asking(app) as client:
            pool = catalog.find(None).pool
            assert isinstance(pool, StubPool)
            pool.hold.clear()
            late = asyncio.create_task(tag(client))
            await until_in_loop(lambda: pool.asked, seconds=30)
            (pool.settings.model / ONNX_FILE).unlink()
            await catalog.look()
            await asyncio.sleep(0.05)
            assert not pool.closed  # its worker has the model in memory
            pool.ready = 0
            await until_in_loop(lambda: pool.closed, seconds=30)
            late.cancel()

    run(work)


def test_a_copy_that_is_interrupted_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(source: Path, target: Path, **_: bool) -> None:
        (target / source.name).touch()
        raise KeyboardInterrupt

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("shutil.copytree", interrupted)
    with pytest.raises(KeyboardInterrupt):
        create_app(ServeSettings(make_model(tmp_path / "colours")))
    assert not list((tmp_path / "temporary").iterdir())


def test_folders_are_watched_without_being_asked(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "colours")

    async def work() -> None:
        app = create_app(ServeSettings(folder, workers=1, reload_seconds=0.01))
        async with asking(app):
            before = app.state.service.catalog.find(None)
            change(folder, calibration=calibrated())
            await until_in_loop(lambda: app.state.service.catalog.find(None) is not before, seconds=30)

    run(work)


def test_watching_goes_on_after_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    twice = asyncio.Event()

    looks = itertools.count()

    async def look(_: Catalog) -> None:
        if next(looks):
            twice.set()
        raise RuntimeError("nobody has thought of it")

    monkeypatch.setattr(Catalog, "look", look)

    async def work() -> None:
        async with asking(create_app(ServeSettings(make_model(tmp_path / "colours"), reload_seconds=0.001))):
            await twice.wait()

    run(work)
