"""The options of the commands: from settings, files and environment; errors name the flags."""

from __future__ import annotations

import dataclasses
import inspect
import io
import json
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

import click
import pytest
from commands import landmarks
from tiny_model import make_model

from landmarks.cli.app import COMMANDS
from landmarks.cli.binding import Bound, Command
from landmarks.cli.declare import Argument, Fields, Option, Verbosity
from landmarks.cli.inputs import PhotoPaths
from landmarks.cli.progress import RunProgress
from landmarks.cli.serve import serve
from landmarks.cli.summary import Summary
from landmarks.errors import InputError, SettingsError
from landmarks.files.walker import Skipped
from landmarks.serving.settings import LOOPBACK, Access, Limits, ServeSettings
from landmarks.training.runs.folder import EpochRow


@dataclasses.dataclass(frozen=True)
class Settings:
    """Made for the test.

    Attributes:
        size: Side in pixels,
            of the image.
        kind: Which one; see `size`.
        names: Several.
        smooth: Blur it.
    """

    size: int = 8
    kind: Literal["round", "square"] = "round"
    names: tuple[str, ...] = ("a", "b")
    smooth: bool = True

    def __post_init__(self) -> None:
        if self.size < 1:
            raise SettingsError(f"`size` must be at least 1, not {self.size}, see `elsewhere`")


def shape(
    photo: Annotated[Path, Argument("A photo.")],
    top: Annotated[int | None, Option("How many.", default="all", minimum=1)] = None,
    *,
    settings: Annotated[Settings, Fields(flags={"kind": "--form"})],
) -> None:
    """Take what is given; `size` is told."""
    GIVEN.append((photo, top, settings))


def change(*, settings: Annotated[dict[str, Any], Fields(Settings, title="Settings")]) -> None:
    """Take the settings that were given."""
    GIVEN.append(settings)


GIVEN: list[Any] = []


def run(command: Command, *words: str) -> Any:
    GIVEN.clear()
    command.main(list(words), standalone_mode=False)
    return GIVEN.pop()


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def help_of(command: Command) -> str:
    with click.Context(command, terminal_width=100) as context:
        return command.get_help(context)


def test_a_field_is_an_option_with_the_help_of_its_docstring() -> None:
    command = Command("shape", shape)
    text = help_of(command)
    assert "Side in pixels, of the image. [default: 8]" in text
    assert "Which one; see --size." in text
    assert "[round|square]" in text
    assert "--smooth / --no-smooth" in text
    assert "Take what is given; --size is told." in text
    assert run(command, "p.jpg") == (Path("p.jpg"), None, Settings())
    given = run(command, "p.jpg", "--size", "3", "--form", "square", "--names", "x, y", "--no-smooth", "-k", "2")
    assert given == (Path("p.jpg"), 2, Settings(3, "square", ("x", "y"), smooth=False))


def test_a_partial_parameter_takes_only_what_was_given() -> None:
    command = Command("change", change)
    assert run(command) == {}
    assert run(command, "--size", "8", "--no-smooth") == {"size": 8, "smooth": False}


def test_an_error_names_the_flag_and_not_the_argument() -> None:
    command = Command("shape", shape)
    with pytest.raises(SettingsError) as refused:
        run(command, "p.jpg", "--size", "0")
    assert command.translate(str(refused.value)) == "--size must be at least 1, not 0, see elsewhere"
    assert command.translate("give `photo`, or `settings.kind`") == "give PHOTO, or --form"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_required_option_is_enforced(name: str) -> None:
    import importlib

    module = importlib.import_module(f"landmarks.cli.{name}")
    inner = {f"{name} {word}": work for word, work in getattr(module, "COMMANDS", {}).items()}
    for path, function in {name: getattr(module, name), **inner}.items():
        required = [one for one in Command(path, function).params if one.required]
        words = {
            one: [*one.opts[-1:], value] if isinstance(one, click.Option) else [value]
            for one in required
            for value in [one.type.choices[0] if isinstance(one.type, click.Choice) else "x"]
        }
        for missing in required:
            later = required[required.index(missing) :] if isinstance(missing, click.Argument) else [missing]
            given = [word for one in required if one not in later for word in words[one]]
            outcome = landmarks(*path.split(), *given)
            shown = f"'{missing.opts[-1]}'" if isinstance(missing, click.Option) else f"'{missing.metavar}"
            assert (outcome.status, "Missing" in outcome.complaint) == (2, True), (path, missing, outcome)
            assert shown in outcome.complaint, (path, missing, outcome)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_names_its_arguments_by_its_flags(name: str) -> None:
    import importlib

    module = importlib.import_module(f"landmarks.cli.{name}")
    command: Bound = Command(name, getattr(module, name))
    options = {option for parameter in command.params for option in parameter.opts}
    for argument, flag in command.flags.items():
        assert command.translate(f"`{argument}` is wrong") == f"{flag} is wrong"
        assert not flag.startswith("--") or flag in options, f"{flag} is no option of landmarks {name}"
    for parameter in command.params:
        assert parameter.help, f"{parameter.name} of landmarks {name} has no help"  # type: ignore[attr-defined]
        assert "`" not in parameter.help  # type: ignore[attr-defined]


def test_every_command_takes_the_same_name_for_the_same_thing() -> None:
    import importlib

    for name in COMMANDS:
        module = importlib.import_module(f"landmarks.cli.{name}")
        flags = {flag for parameter in Command(name, getattr(module, name)).params for flag in parameter.opts}
        assert not flags & {"--json", "--sure", "--threshold"}, name


def test_python_and_the_command_line_train_in_the_same_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import landmarks as api

    asked: list[Any] = []

    class AskedError(Exception):
        pass

    def train(settings: Any, *_: object, **__: object) -> None:
        asked.append(settings)
        raise AskedError

    monkeypatch.setattr("landmarks.training.engine.pipeline.train_run", train)
    for call in (lambda: api.train(tmp_path), lambda: landmarks("train", tmp_path)):
        with pytest.raises(AskedError):
            call()
    assert asked[0] == asked[1]
    assert asked[0].model.kind == "transfer"


def test_options_may_follow_the_arguments_also_where_a_command_has_commands() -> None:
    from landmarks.model.folder import bundled_models

    folder = bundled_models()["world"]
    assert landmarks("models", folder, "--jsonl").out == landmarks("models", "--jsonl", folder).out
    assert landmarks("models", "add", "-h").out.startswith("Usage: landmarks models add")


# --- configuration files and environment ---


def config(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "landmarks.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_flag_then_environment_then_folder_then_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = Command("tag", change)
    config(tmp_path / "config" / "landmarks", '[tag]\nsize = 1\nkind = "square"\nnames = ["u"]\nsmooth = false\n')
    assert run(command) == {"size": 1, "kind": "square", "names": ("u",), "smooth": False}
    config(tmp_path, "[tag]\nsize = 2\n[train]\nanything = 3\n")
    assert run(command)["size"] == 2
    monkeypatch.setenv("LANDMARKS_TAG_SIZE", "3")
    assert run(command)["size"] == 3
    assert run(command, "--size", "4")["size"] == 4


def test_a_shared_key_stands_above_the_sections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(model: Annotated[str, Option("A model.")] = "world") -> None:
        GIVEN.append(model)

    config(tmp_path, 'model = "mine"\nworkers = 2\n')
    assert run(Command("tag", ask)) == "mine"
    monkeypatch.setenv("LANDMARKS_MODEL", "theirs")
    assert run(Command("tag", ask)) == "theirs"
    monkeypatch.setenv("LANDMARKS_TAG_MODEL", "ours")
    assert run(Command("tag", ask)) == "ours"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[tag]\nsise = 3\n", "'sise'"),
        ("[tagg]\nsize = 3\n", "[tagg]"),
        ("size = 3\n", "'size'"),
        ('[tag]\nsize = "many"\n', "size"),
        ("[tag]\nsmooth = 3\n", "smooth"),
        ('[tag]\nkind = "oval"\n', "kind"),
        ("[tag\n", "not a TOML file"),
    ],
)
def test_a_wrong_configuration_names_file_and_key(tmp_path: Path, text: str, told: str) -> None:
    config(tmp_path, text)
    with pytest.raises(SettingsError) as refused:
        run(Command("tag", change))
    assert str(refused.value).startswith("landmarks.toml: ")
    assert told in str(refused.value)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("train", "--resume", "nowhere"), "nowhere: not a run folder"),
        (("train", "nowhere", "--preset", "quick"), "nowhere: no such folder or table"),
        (("evaluate", "nowhere"), "nowhere: not a run folder"),
        (("doctor", "nowhere", "--undo"), "there is nothing to put back"),
    ],
)
def test_what_a_configuration_file_sets_for_other_runs_is_no_mistake(
    tmp_path: Path, words: tuple[str, ...], told: str
) -> None:
    config(
        tmp_path,
        'cache = "c"\nworkers = 2\n[train]\nthreads = 1\nmethod = "scratch"\n'
        '[evaluate]\nout = "o"\n[doctor]\nmin-side = 9\n',
    )
    outcome = landmarks(*words)
    assert outcome.status == 2
    assert told in outcome.complaint


# --- photos, closing line, progress ---


class _Stdin:
    def __init__(self, content: bytes) -> None:
        self.buffer = io.BytesIO(content)


def test_paths_come_from_arguments_a_file_and_standard_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = tmp_path / "list.txt"
    listed.write_bytes("\ufeffa b.jpg\r\nü.jpg\n\n".encode())  # as Notepad saves it
    assert PhotoPaths((Path("x.jpg"),), listed).paths() == [Path("x.jpg"), Path("a b.jpg"), Path("ü.jpg")]
    monkeypatch.setattr(sys, "stdin", _Stdin(b"one\ntwo.jpg\0three.jpg\0"))
    assert PhotoPaths((Path("-"),), null=True).paths() == [Path("one\ntwo.jpg"), Path("three.jpg")]
    Path("nulls.txt").write_bytes(b"a.jpg\0b.jpg\0")
    with pytest.raises(InputError, match=r"nulls\.txt: .*give `null` too"):
        PhotoPaths((), Path("nulls.txt")).paths()
    assert PhotoPaths((), Path("nulls.txt"), null=True).paths() == [Path("a.jpg"), Path("b.jpg")]
    with pytest.raises(SettingsError, match="once"):
        PhotoPaths((Path("-"),), Path("-")).paths()
    with pytest.raises(SettingsError, match="`from_file`"):
        PhotoPaths().paths()
    with pytest.raises(InputError, match=r"none\.txt"):
        PhotoPaths((), Path("none.txt")).paths()


def test_the_closing_line_counts_everything_also_after_ctrl_c(capsys: pytest.CaptureFixture[str]) -> None:
    summary = Summary(Verbosity())
    summary.counts.update(unreadable=1, tagged=3)
    summary.skip(Skipped(Path(".x"), "hidden", "hidden"))
    with suppress(KeyboardInterrupt), summary.reported():
        raise KeyboardInterrupt
    assert capsys.readouterr().err.startswith("4 photos: 3 tagged, 1 unreadable; skipped 1 (1 hidden); 0.0 s, ")
    assert not summary.problems
    summary.skip(Skipped(Path("gone"), "missing", "no such file or folder"))
    assert summary.problems
    assert capsys.readouterr().err == "gone: no such file or folder\n"


def test_quiet_shows_errors_alone_and_verbose_lists_what_is_skipped(capsys: pytest.CaptureFixture[str]) -> None:
    quiet = Summary(Verbosity(quiet=True))
    with quiet.reported():
        quiet.skip(Skipped(Path("gone"), "missing", "no such file or folder"))
    assert capsys.readouterr().err == "gone: no such file or folder\n"
    loud = Summary(Verbosity(verbose=True))
    loud.skip(Skipped(Path("a.txt"), "unsupported", "not a supported format"))
    assert capsys.readouterr().err == "a.txt: skipped: not a supported format\n"


def test_a_file_gets_one_line_of_progress_every_ten_seconds(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with RunProgress(unit="photos", total=100) as shown:
        for _ in range(50):
            now[0] += 0.5
            shown.advance()
    assert capsys.readouterr().err.splitlines() == [
        "20 of 100 photos, 2.0 per second",
        "40 of 100 photos, 2.0 per second",
    ]
    with RunProgress(Verbosity(quiet=True), unit="photos") as shown:
        now[0] += 60
        shown.advance()
    assert capsys.readouterr().err == ""


def test_the_speed_of_an_epoch_is_its_own(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with RunProgress() as shown:
        shown.stage("training")
        for epoch in range(2):
            for step in range(20):
                now[0] += 1.0
                shown.step(epoch, step + 1, 20)
            shown.epoch(EpochRow(epoch, 96, 0.1, 1.0, 0.5, 1.0, 0.5, 20.0, 64.0, saved=False))
    lines = [line for line in capsys.readouterr().err.splitlines() if "per second" in line]
    assert lines == [f"epoch {epoch}: {done} of 20, 1.0 per second" for epoch in (1, 2) for done in (10, 20)]


# --- the program ---


def test_help_version_and_unknown_words() -> None:
    assert landmarks("-h").out == landmarks("--help").out
    assert "tag " in landmarks("--help").out
    assert landmarks("tag", "-h").out == landmarks("tag", "--help").out
    assert landmarks("--version").out.strip()
    assert landmarks("tga").status == 2
    assert landmarks("tag", "--tpo", "3", "x.jpg").status == 2
    assert landmarks("train", "DATA", "--method", "magic").status == 2


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_printed_and_installed(shell: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    printed = landmarks("completion", shell)
    assert printed.status == 0
    assert "_LANDMARKS_COMPLETE" in printed.out
    done = landmarks("completion", shell, "--install")
    path = Path(done.out.partition(": installed")[0])
    assert path.is_relative_to(tmp_path)
    assert path.read_text(encoding="utf-8").strip() == printed.out.strip()


def test_completion_gives_commands_without_importing_them(monkeypatch: pytest.MonkeyPatch) -> None:
    from commands import start

    monkeypatch.setenv("_LANDMARKS_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "landmarks tr")
    monkeypatch.setenv("COMP_CWORD", "1")
    assert "plain,train" in start().out


def test_the_cache_is_shown_and_cleared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "landmarks").mkdir()
    (tmp_path / "landmarks" / "one").write_bytes(bytes(2_000_000))
    assert landmarks("cache").out == f"{tmp_path / 'landmarks'}: 2.0 MB\n"
    assert landmarks("cache", "--clear").out == f"{tmp_path / 'landmarks'}: 2.0 MB removed\n"
    assert not (tmp_path / "landmarks").exists()


def test_schemas_are_valid_themselves() -> None:
    import jsonschema

    schemas = sorted((Path(__file__).parents[2] / "docs" / "schemas").glob("*.json"))
    assert len(schemas) >= 10
    for path in schemas:
        jsonschema.Draft202012Validator.check_schema(json.loads(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("--port", 70000), "--port must be from 0 to 65535, not 70000"),
        (("--max-mb", "inf"), "--max-mb must be above 0 and at most 1e+09, not inf"),
        (("--max-megapixels", "inf"), "--max-megapixels must be above 0 and at most 1e+09, not inf"),
        (("--request-seconds", "nan"), "--request-seconds must be above 0 and at most 1e+09, not nan"),
        (("--allow-host", "photos.example:8000"), "--allow-host must be a host name such as photos.example"),
        (("--jobs", "/none/jobs"), "--jobs /none/jobs: there is no folder /none: make it first"),
    ],
)
def test_serve_refuses_values_out_of_range_in_a_sentence(
    tmp_path: Path, given: tuple[object, object], told: str
) -> None:
    done = landmarks("serve", "--model", make_model(tmp_path / "colours"), *given)
    assert (done.status, done.complaint.startswith(told)) == (2, True), done.complaint


def test_serve_declares_no_default_that_the_settings_have(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[ServeSettings] = []
    monkeypatch.setattr("landmarks.serving.server.run", lambda settings, *_, **__: given.append(settings))
    monkeypatch.delenv("LANDMARKS_API_KEY", raising=False)
    assert landmarks("serve").status == 0
    assert landmarks("serve", "--max-mb", 10, "--queue", 40, "--cors", "https://a.example").status == 0
    assert landmarks("serve", "--allow-host", "Photos.example").status == 0
    assert landmarks("serve", "--host", "Photos.local").status == 0
    plain, asked, named, own = given
    assert plain == ServeSettings(plain.model, access=Access(hosts=LOOPBACK))
    assert named.access.hosts == (*LOOPBACK, "photos.example")
    assert own.access.hosts == (*LOOPBACK, "photos.local"), "the address that is printed must be answered"
    limits = Limits(max_mb=10, queue=40)
    assert asked == dataclasses.replace(
        plain, limits=limits, access=Access(hosts=LOOPBACK, origins=("https://a.example",))
    )
    assert (limits.max_file_bytes, limits.max_request_bytes) == (10 * 2**20, 20 * 2**20)
    fields = {item.name for one in (ServeSettings, Limits, Access) for item in dataclasses.fields(one)}
    declared = set(inspect.signature(serve).parameters) & fields
    assert declared == {"model", "more_models", "workers", "limits", "access", "connections", "jobs", "tags"}
