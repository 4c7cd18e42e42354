"""All served models, by name; one whose folder changes is reloaded, and no request is lost by it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from landmarks.errors import LandmarksError, ModelError, SettingsError
from landmarks.model.folder import learned_path, read_info, teachable_identity
from landmarks.serving.errors import RequestError
from landmarks.serving.models.served import ServedModel
from landmarks.serving.settings import ServeSettings

_log = logging.getLogger("landmarks.serving")

_LONGEST_PAUSE = 60.0  # seconds between two tries to load a model

Signature = frozenset[tuple[str, int, int]]
"""Name, modification time and size of each file of a folder."""


@dataclass
class _Entry:
    folder: Path
    served: ServedModel
    loaded: Signature  # of the folder when the model was loaded, or could not be
    seen: Signature  # at the last look
    pause: float = 0.0  # seconds before one more try; 0 unless the last one failed
    again: float = 0.0  # when to try once more after a failure


class Catalog:
    """The served models.

    Args:
        settings: Settings of the service; its `model` is the default one.
        pinned: Keep the network of the default model until a restart: an index goes with it.
        replaced: Called with the reason each time a worker is replaced.
        reloaded: Called with `done` or `failed` each time a model has been reloaded.

    Raises:
        ModelError: A model folder is damaged.
        PlacesError: A table of places is broken.
        SettingsError: Two models have the same name, or one has no such operating point.
    """

    def __init__(
        self,
        settings: ServeSettings,
        *,
        pinned: bool = False,
        replaced: Callable[[str], None],
        reloaded: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._pinned = pinned
        self._replaced = replaced
        self._reloaded = reloaded
        self._entries: dict[str, _Entry] = {}
        for folder in (settings.model, *settings.more_models):
            signature = _signature(folder, settings)
            served = ServedModel(folder, settings, replaced)
            if served.info.name in self._entries:
                raise SettingsError(
                    f"`more_models`: two models are called {served.info.name}: give one of them another name"
                )
            self._entries[served.info.name] = _Entry(folder, served, signature, signature)
        self._watching: asyncio.Task[None] | None = None
        self._retiring: set[asyncio.Task[None]] = set()

    @property
    def all(self) -> list[ServedModel]:
        """The models, the default one first."""
        return [entry.served for entry in self._entries.values()]

    @property
    def waiting(self) -> int:
        """Number of images waiting for a worker."""
        return sum(served.pool.waiting for served in self.all)

    @property
    def workers(self) -> int:
        """Number of workers that are ready."""
        return sum(served.pool.ready for served in self.all)

    @property
    def ready(self) -> bool:
        """Whether each model has a worker that is ready."""
        return all(served.pool.ready > 0 for served in self.all)

    def find(self, name: str | None) -> ServedModel:
        """Return a model by name, or the default one.

        Raises:
            RequestError: There is no such model.
        """
        if name is None:
            return self.all[0]
        if name not in self._entries:
            known = ", ".join(self._entries)
            raise RequestError("invalid_parameter", f"model: there is no {name[:60]!r} here, only {known}")
        return self._entries[name].served

    @contextmanager
    def use(self, name: str | None) -> Iterator[ServedModel]:
        """Keep a model for a request; raises like `find`."""
        with self.find(name).use() as served:
            yield served

    async def open(self) -> None:
        """Start the workers of all models, and watch their folders.

        Raises:
            ModelError: A model cannot be loaded.
        """
        try:
            for served in self.all:
                await served.open()
        except LandmarksError:
            await self.close()
            raise
        if self._settings.reload_seconds > 0:
            self._watching = asyncio.create_task(self._watch())

    async def close(self) -> None:
        """Stop all workers at once."""
        tasks = [*self._retiring, *([] if self._watching is None else [self._watching])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(served.close() for served in self.all))

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._settings.reload_seconds)
            try:
                await self.look()
            except Exception:  # noqa: BLE001 - the task must not end unseen
                _log.exception("the models could not be looked at")

    async def look(self) -> None:
        """Look at the folders once; reload a model whose folder has changed, but not since the last look.

        So is one whose copy is gone.
        A reload that failed is tried again after a while: until it succeeds, no worker that dies can be replaced,
        because the version that it served is gone.
        """
        for name, entry in self._entries.items():
            signature = await asyncio.to_thread(_signature, entry.folder, self._settings)
            settled, entry.seen = signature == entry.seen, signature
            if not settled or not signature:
                continue
            if signature != entry.loaded:
                entry.loaded, entry.pause = signature, 0.0
            elif time.monotonic() < entry.again or not (
                entry.pause or await asyncio.to_thread(entry.served.is_lost)
            ):
                continue
            if await self._reload(name, entry):
                entry.pause = 0.0
            else:
                entry.pause = min(_LONGEST_PAUSE, 2 * entry.pause or 2.0)
                entry.again = time.monotonic() + entry.pause

    async def _reload(self, name: str, entry: _Entry) -> bool:
        """Replace a model and return True; if the new one cannot be loaded, the old one stays."""
        fresh: ServedModel | None = None
        try:
            fresh = await asyncio.to_thread(ServedModel, entry.folder, self._settings, self._replaced)
            same = fresh.version == entry.served.version
            if same and not entry.served.is_lost():
                return True
            if self._pinned and entry.served is self.find(None) and not _share_space(fresh, entry.served):
                raise ModelError("the index was made with the network before: index again and restart")
            if fresh.info.name != name:
                raise ModelError(f"the model is now called {fresh.info.name}: restart to serve it under that name")
            await fresh.open()
        except (LandmarksError, OSError, ValueError) as error:
            _log.error("a model could not be reloaded", extra={"model": name, "reason": str(error)})
            self._reloaded("failed")
            return False
        except asyncio.CancelledError:
            if fresh is not None:
                await fresh.close()
            raise
        old, entry.served = entry.served, fresh
        _log.info("a model was reloaded", extra={"model": name, "version": fresh.version})
        self._reloaded("done")
        task = asyncio.create_task(old.retire())
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)
        return True


def _share_space(one: ServedModel, other: ServedModel) -> bool:
    """Return whether embeddings of two versions can be compared, whatever else they tag by."""
    return teachable_identity(one.info) == teachable_identity(other.info)


def _signature(folder: Path, settings: ServeSettings) -> Signature:
    """Return what tells whether a model, what it was taught or the own places changed; empty while one is away."""
    own = settings.tags.own_places
    try:
        taught = learned_path(folder, read_info(folder))  # of a bundled model, it is elsewhere
        others = [taught] if taught.is_file() else []
    except ModelError:  # the reload says what is wrong with it
        others = []
    try:
        files = [(file.name, file.stat()) for file in folder.iterdir() if file.is_file()]
        files += [(str(file), file.stat()) for file in (*others, *([] if own is None else [own]))]
    except OSError:
        return frozenset()
    return frozenset((name, stat.st_mtime_ns, stat.st_size) for name, stat in files)
