"""`landmarks tag`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from landmarks.cli import options
from landmarks.errors import InputError, SettingsError

if TYPE_CHECKING:
    from landmarks.cli.display import Also, Display
    from landmarks.geo.gazetteer import Gazetteer
    from landmarks.imaging.photos import SkipCounter
    from landmarks.metadata.edit import WriteOptions
    from landmarks.tagging.writers import Format


def tag(
    photos: Annotated[list[Path], typer.Argument(help="Photos, or folders of them.")],
    model: options.Model = "world34",
    top: Annotated[int | None, typer.Option(min=1, help="Candidates a photo; the table then lists them.")] = None,
    min_confidence: options.MinConfidence = None,
    explain: Annotated[bool, typer.Option("--explain", help="Say why.")] = False,
    heatmap: Annotated[
        Path | None,
        typer.Option(help="With --explain: folder for a picture a photo that shows where the reasons lie."),
    ] = None,
    jsonl: Annotated[bool, typer.Option("--jsonl", help="JSON lines, one object a photo.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="CSV, one row a tag.")] = False,
    geojson: Annotated[bool, typer.Option("--geojson", help="GeoJSON, one feature a tag.")] = False,
    places: options.Places = None,
    position: options.Position = True,
    processes: Annotated[
        int | None, typer.Option(min=1, help="Processes for many photos. [default: one a core]")
    ] = None,
    engine: Annotated[
        str, typer.Option(help="What runs the network: onnxruntime, or openvino for many photos.")
    ] = "onnxruntime",
    write: Annotated[
        bool, typer.Option("--write", help="Write the tags into sidecars beside the photos.")
    ] = False,
    in_place: Annotated[bool, typer.Option("--in-place", help="With --write: into the photos.")] = False,
    sidecar: Annotated[str, typer.Option(help="New sidecars: full (photo.jpg.xmp) or stem (photo.xmp).")] = "full",
    iptc: Annotated[bool, typer.Option("--iptc", help="With --in-place: IPTC keywords too.")] = False,
    gps: Annotated[
        bool, typer.Option("--gps", help="With --in-place: the landmark's position where there is none.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be written.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="With --write: tag new photos as they arrive.")] = False,
    retry: Annotated[bool, typer.Option("--retry", help="With --write: what could not be read, too.")] = False,
    ledger: Annotated[
        Path | None, typer.Option(help="With --write: where to note what is written. [default: beside the photos]")
    ] = None,
) -> None:
    """Say which landmarks photos show: the landmark, else its city, country or kind, else nothing.

    The answer goes to standard output, everything else to standard error. The exit status is 2 where a photo
    could not be read or written.
    """
    from landmarks.tagging.workers import prepare_workers

    if len(photos) > 1 or photos[0].is_dir():
        prepare_workers("landmarks.cli", "landmarks.tagging.pipeline")

    from landmarks.imaging.photos import SkipCounter
    from landmarks.model.engines import check_engine
    from landmarks.model.folder import find_model, read_info
    from landmarks.tagging.pipeline import find_tags_parallel
    from landmarks.tagging.settings import TagSettings
    from landmarks.tagging.tagger import gazetteer_of

    only_writing = {"--in-place": in_place, "--watch": watch, "--retry": retry, "--ledger": ledger is not None}
    _check_flags(only_writing, writing=write or dry_run, heatmap=heatmap, explain=explain)
    form = _format(jsonl=jsonl, csv=csv, geojson=geojson)
    settings = TagSettings(
        top=top or 5,
        min_confidence=min_confidence,
        use_position=position,
        own_places=places,
        engine=check_engine(engine),
    )
    options = _write_options(sidecar, in_place=in_place, iptc=iptc, gps=gps)
    folder = find_model(model)
    if read_info(folder).calibration is None:
        typer.echo(
            f"{model}: not calibrated for what it does not know, so it may name landmarks wrongly", err=True
        )
    gazetteer = gazetteer_of(folder, settings)
    heatmaps = None if heatmap is None else _heatmaps(heatmap, photos, folder, gazetteer)
    display = _display(form, gazetteer, explain=explain, candidates=top is not None, also=heatmaps)
    if write or dry_run:
        from landmarks.cli.writing import WriteJob, write_tags

        job = WriteJob(folder, settings, options, ledger, processes, dry_run=dry_run, watch=watch, retry=retry)
        write_tags(photos, job, display)
    else:
        skipped = SkipCounter(display.fail)
        found = _found(photos, skipped)
        with display.over(len(found)):
            for finding in find_tags_parallel(folder, settings, found, processes=processes):
                display.show(finding)
    if display.failed:
        raise typer.Exit(2)


def _check_flags(only_writing: Mapping[str, bool], *, writing: bool, heatmap: Path | None, explain: bool) -> None:
    misplaced = [flag for flag, given in only_writing.items() if given and not writing]
    if misplaced:
        raise SettingsError(f"{misplaced[0]} is about writing: give --write too")
    if heatmap is not None and not explain:
        raise SettingsError("--heatmap shows the reasons: give --explain too")


def _heatmaps(heatmap: Path, photos: list[Path], folder: Path, gazetteer: Gazetteer) -> Also:
    from landmarks.cli.heatmaps import HeatmapFolder

    return HeatmapFolder(heatmap, photos, folder, gazetteer).add


def _display(form: Format, gazetteer: Gazetteer, *, explain: bool, candidates: bool, also: Also | None) -> Display:
    from landmarks.cli.display import Display
    from landmarks.tagging.writers import make_writer

    writer = make_writer(form, gazetteer, explain=explain, candidates=candidates)
    return Display(writer, errors=form == "table", also=also)


def _found(photos: list[Path], skipped: SkipCounter) -> list[Path]:
    from landmarks.imaging.photos import find_photos

    found = find_photos(photos, on_skip=skipped)
    if not found:
        raise InputError(f"{photos[0]}: there are no photos in it: give photos or a folder of them")
    return found


def _format(*, jsonl: bool, csv: bool, geojson: bool) -> Format:
    given: dict[Format, bool] = {"jsonl": jsonl, "csv": csv, "geojson": geojson}
    asked = [form for form, wanted in given.items() if wanted]
    if len(asked) > 1:
        raise SettingsError(f"--{asked[0]} and --{asked[1]} cannot be given together: choose one")
    return asked[0] if asked else "table"


def _write_options(sidecar: str, *, in_place: bool, iptc: bool, gps: bool) -> WriteOptions:
    from landmarks.metadata.edit import WriteOptions

    if sidecar not in {"full", "stem"}:
        raise SettingsError(f"--sidecar must be full or stem, not {sidecar!r}")
    kind: Literal["full", "stem"] = "full" if sidecar == "full" else "stem"
    return WriteOptions(sidecar=kind, in_place=in_place, iptc=iptc, gps=gps)
