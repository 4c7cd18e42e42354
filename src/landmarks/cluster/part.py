"""One part of a job: tags its photos and writes one Parquet file of results atomically."""

from __future__ import annotations

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from landmarks.cluster.plan import Plan
from landmarks.cluster.source import INPUTS, PartReader
from landmarks.errors import InputError
from landmarks.files.storage import Storage
from landmarks.tagging.pipeline import Model
from landmarks.tagging.workers import BATCH
from landmarks.tagging.writers import candidate_object, json_text, tag_object

SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("tags", pa.string()),
        ("candidates", pa.string()),
        ("embedding", pa.list_(pa.float16())),
        ("model", pa.string()),
        ("error", pa.string()),
    ]
)
"""One row per photo: `tags` and `candidates` are JSON lists as in `landmarks tag --jsonl`; for an unreadable
photo, `error` has the reason and the others are null."""


ATTEMPTS = 3
"""Attempts per part each time a job is started."""


def attempts_name(part: int) -> str:
    """Return the name of the file that counts unfinished attempts at a part."""
    return f"attempts/part-{part:06d}.json"


def part_name(part: int) -> str:
    """Return the name of the result file of a part."""
    return f"part-{part:06d}.parquet"


def outcome_of(plan: Plan, part: int) -> tuple[int, int]:
    """Return the numbers of photos and of unreadable ones of a finished part.

    Raises:
        InputError: Its result file is damaged or cannot be read.
    """
    name = part_name(part)
    with Storage.at(plan.out).opened(name) as file:
        try:
            errors = pq.ParquetFile(file).read(["error"])["error"]
        except pa.ArrowException as error:
            raise InputError(f"{plan.out}: {name} is damaged: remove it and run the command again") from error
    return len(errors), len(errors) - errors.null_count


class PartTagger:
    """Tags parts, one after another; created once per process, so the model is loaded once.

    Args:
        plan: Plan of the job.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._model = Model(Path(plan.model), plan.settings)
        self._out = Storage.at(plan.out)
        inputs = self._out.system.cat_file(self._out.inside(INPUTS))
        self._reader = PartReader(
            Storage.at(plan.source), pa.BufferReader(inputs), plan.columns, plan.settings.limits.max_bytes
        )

    def work(self, part: int) -> tuple[int, int]:
        """Tag the photos of one part and write its results; return the numbers of photos and of failures.

        A part on which the process has died `ATTEMPTS` times is left out, so that one photo cannot stop the
        others.
        """
        attempts = self._out.read_json(attempts_name(part)) if self._out.has(attempts_name(part)) else 0
        if attempts >= ATTEMPTS:
            return 0, 0
        self._out.write_json(attempts_name(part), attempts + 1)
        rows = [row for batch in self._batches(part) for row in self._rows(batch)]
        content = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), content, compression="zstd")
        self._out.write(part_name(part), content.getvalue())
        self._out.remove(attempts_name(part))
        return len(rows), sum(row["error"] is not None for row in rows)

    def _batches(self, part: int) -> Iterator[list[tuple[str, bytes | str]]]:
        """Yield the photos in batches; only the next one is read ahead while one is processed."""
        photos = self._reader.photos(part)
        with ThreadPoolExecutor(1) as pool:
            coming = pool.submit(lambda: list(islice(photos, BATCH)))
            while batch := coming.result():
                coming = pool.submit(lambda: list(islice(photos, BATCH)))
                yield batch

    def _rows(self, batch: list[tuple[str, bytes | str]]) -> Iterator[dict[str, Any]]:
        contents = [content for _, content in batch if isinstance(content, bytes)]
        findings = self._model.find(contents, embeddings=self._plan.embeddings)
        for name, content in batch:
            row: dict[str, Any] = {**dict.fromkeys(SCHEMA.names), "path": name}
            finding = next(findings) if isinstance(content, bytes) else None
            error = content if finding is None else finding.photo.error
            if finding is None or error is not None:
                yield {**row, "error": str(error)}
                continue
            photo = finding.photo
            row["tags"] = json_text([tag_object(tag) for tag in photo.tags])
            row["candidates"] = json_text(
                [candidate_object(one, self._model.gazetteer) for one in photo.candidates]
            )
            row["model"] = photo.model
            if finding.embedding is not None:
                row["embedding"] = finding.embedding.astype(np.float16)
            yield row
