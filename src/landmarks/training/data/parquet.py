"""Tables of pictures in Parquet files, as the `datasets` library writes them.

A column has the pictures, as bytes, as paths or as a struct of both; another has the labels, as text or as numbers
whose names are in the schema. Training reads a picture many times, so those of a file are unpacked once, into the
cache folder, and from there on they are files like any others.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from landmarks.errors import DataError, MissingExtraError, StorageError
from landmarks.files.atomic import write_json
from landmarks.files.locks import locked
from landmarks.files.state import user_cache
from landmarks.files.temporary import new_folder
from landmarks.imaging.photos import Split, split_named
from landmarks.training.data.listing import ClassPictures, folder_names, photo_suffix
from landmarks.training.data.tables import COLUMNS, Row, columns_of, group_rows, text_of
from landmarks.training.runs.pictures import UNPACKED

SUFFIX = ".parquet"

PICTURES = ("image", "img", "picture", "photo", "bytes", "content")
"""Names of the column of pictures, in lower case; the first that a file has counts, else one of paths."""

_COLUMNS = {**COLUMNS, "path": (*PICTURES, *COLUMNS["path"])}

_DATA = "data"  # the subfolder in which `datasets` stores them
_FORMAT = 2
_ROWS = "rows.json"
_BATCH = 64
_WAIT = 24 * 3600.0  # seconds, for another process that unpacks the same

_Stored = tuple[str, str, str, str]  # name, label, split and source of a row


def is_parquet(root: Path) -> bool:
    """Return whether a data set is a Parquet file, or a folder of them, perhaps in its subfolder `data`."""
    return bool(_files(root))


def list_parquet(root: Path, cache: Path | None = None) -> dict[Split, ClassPictures]:
    """List the pictures of Parquet files by split, unpacking them if the cache does not have them yet.

    The split is that of a column `split`, else the first word of the file name: `test-00000-of-00001.parquet`.

    Args:
        root: A Parquet file, or a folder of them.
        cache: Folder in which they are unpacked, or None for the user's cache folder.

    Raises:
        DataError: A file is damaged, lacks a column, or no row can be used.
        MissingExtraError: pyarrow is not installed.
        StorageError: The cache cannot be written.
    """
    rows: list[Row] = []
    for file in _files(root):
        folder = (cache or user_cache()) / f"{UNPACKED}{_digest(file)}"
        for number, (name, label, split, source) in enumerate(_unpacked(file, folder)):
            path = folder / file.name / name if name else None  # a name that is an absolute path stays it
            rows.append(Row(f"row {number + 1} of {file.name}", path, label, split, source))
    found = group_rows(root, rows)
    beside = _unread_folders(root, rows)
    if beside:
        note = f"{root}: its Parquet files are read, and not the folders beside them: {', '.join(beside)}"
        split, first = next(iter(found.items()))
        found[split] = replace(first, notes=(note, *first.notes))
    return found


def _unread_folders(root: Path, rows: Sequence[Row]) -> list[str]:
    """Return the folders beside Parquet files of which no row has a picture: they may be folders of classes."""
    if not root.is_dir():
        return []
    whole = root.absolute()
    read = {row.path.relative_to(whole).parts[0] for row in rows if row.path and row.path.is_relative_to(whole)}
    return [name for name in folder_names(root) if name not in read | {_DATA}]


def _files(root: Path) -> list[Path]:
    try:
        if root.suffix.lower() == SUFFIX and root.is_file():
            return [root]
        # Not those of macOS, `._NAME`, beside its files on other disks.
        return sorted(root.glob(f"[!.]*{SUFFIX}")) or sorted(root.glob(f"{_DATA}/[!.]*{SUFFIX}"))
    except OSError:
        return []  # listing it as a folder tells what is wrong


def _digest(file: Path) -> str:
    status = file.stat()
    state = f"{_FORMAT}\0{file.resolve()}\0{status.st_size}\0{status.st_mtime_ns}"
    return hashlib.sha256(state.encode("utf-8", "surrogateescape")).hexdigest()[:20]


def _unpacked(file: Path, folder: Path) -> Sequence[_Stored]:
    """Return the rows of a file, whose pictures are then in the subfolder of `folder` with its name."""
    stored = _stored(file, folder)
    if stored is not None:
        return stored
    busy = StorageError(f"{folder}: another process has been unpacking {file} for a day: end it")
    with locked(folder.with_suffix(".lock"), wait=_WAIT, busy=busy):
        stored = _stored(file, folder)  # another process may just have unpacked them
        return _unpack_all(file, folder, busy) if stored is None else stored


def _stored(file: Path, folder: Path) -> Sequence[_Stored] | None:
    """Return the rows if they are unpacked, None if they are not there yet or something is missing."""
    with suppress(OSError, ValueError, TypeError):
        rows: list[_Stored] = json.loads((folder / _ROWS).read_text(encoding="utf-8"))
        names = {name for name, *_ in rows if name and not Path(name).is_absolute()}
        return rows if names <= {path.name for path in (folder / file.name).iterdir()} else None
    return None


def _unpack_all(file: Path, folder: Path, busy: StorageError) -> Sequence[_Stored]:
    shutil.rmtree(folder, ignore_errors=True)  # something is missing in it
    with new_folder(folder, taken=busy) as made:
        pictures = made / file.name  # by which a picture is known wherever the cache is
        pictures.mkdir()
        rows = [_unpack(row, number, file, pictures) for number, row in enumerate(_read(file))]
        write_json(made / _ROWS, rows)
    return rows


def _read(file: Path) -> Iterator[tuple[Any, str, str, str]]:
    """Yield picture, label, split and source of each row."""
    try:
        pa, pq = import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError as error:
        raise MissingExtraError("pyarrow", "parquet") from error
    try:
        with pq.ParquetFile(file) as table:
            schema = table.schema_arrow
            columns = columns_of(file, schema.names, _COLUMNS)
            names = _label_names(schema.metadata or {}, columns["label"])
            own = file.name.split("-")[0].split(".")[0]
            usual = split_named(own) or ""
            for batch in table.iter_batches(batch_size=_BATCH, columns=list(columns.values())):
                values = {column: batch.column(name).to_pylist() for column, name in columns.items()}
                for place, picture in enumerate(values["path"]):
                    label = _label(values["label"][place], names)
                    split = text_of(values["split"][place]) if "split" in values else usual
                    yield picture, label, split, text_of(values["source"][place]) if "source" in values else ""
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise DataError(f"{file}: cannot be read ({(error.strerror or '').lower()}): check it") from error
        raise DataError(f"{file}: not a Parquet file, or damaged ({str(error)[:80]}): write it again") from error


def _label_names(metadata: Mapping[bytes, bytes], column: str) -> Sequence[str]:
    """Return the names of numbered labels from the metadata of the `datasets` library; empty without them."""
    with suppress(ValueError, KeyError, TypeError):
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        return [str(name) for name in features[column]["names"]]
    return ()


def _label(value: object, names: Sequence[str]) -> str:
    if isinstance(value, int) and names:
        return names[value] if 0 <= value < len(names) else ""
    return text_of(value)


def _unpack(row: tuple[Any, str, str, str], number: int, file: Path, folder: Path) -> _Stored:
    """Write the picture of a row; returns its name, or the path given instead, and the other values."""
    picture, label, split, source = row
    key = "path" if isinstance(picture, str) else "bytes"
    given = picture if isinstance(picture, Mapping) else {key: picture}
    content, path = given.get("bytes"), given.get("path")
    if not isinstance(content, bytes):
        return (str((file.parent / str(path)).absolute()) if path else ""), label, split, source
    name = f"{number:08d}{photo_suffix(str(path or ''), content)}"
    (folder / name).write_bytes(content)
    return name, label, split, source
