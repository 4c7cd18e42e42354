"""`landmarks completion`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import click

from landmarks.cli.declare import Argument, Option
from landmarks.files.state import home

Shell = Literal["bash", "zsh", "fish"]


def completion(
    shell: Annotated[Shell, Argument("The shell.")],
    install: Annotated[bool, Option("Write it to where the shell looks for it.")] = False,
) -> None:
    """Print the completion script of a shell, or install it for this user.

    Without --install: eval "$(landmarks completion bash)".
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"no completion for {shell}")
    script = found(click.Group("landmarks"), {}, "landmarks", "_LANDMARKS_COMPLETE").source()
    if not install:
        click.echo(script)
        return
    path = _place(shell)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(script, encoding="utf-8")
    click.echo(f"{path}: installed; open a new shell")
    if shell == "zsh":
        click.echo(f"add to ~/.zshrc, before compinit: fpath=({path.parent} $fpath)")


def _place(shell: Shell) -> Path:
    data = Path(os.environ.get("XDG_DATA_HOME") or home() / ".local" / "share")
    config = Path(os.environ.get("XDG_CONFIG_HOME") or home() / ".config")
    return {
        "bash": data / "bash-completion" / "completions" / "landmarks",
        "zsh": data / "zsh" / "site-functions" / "_landmarks",
        "fish": config / "fish" / "completions" / "landmarks.fish",
    }[shell]
