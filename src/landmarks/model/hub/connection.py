"""The Hugging Face Hub, or a server that speaks its protocol and that the environment variable HF_ENDPOINT names.

huggingface_hub finds the token by itself, in HF_TOKEN or where `hf auth login` has stored it. It is no argument
here, so it cannot reach a log, a settings file or an error message.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus

from huggingface_hub import HfApi, constants
from huggingface_hub.errors import (  # type: ignore[attr-defined]  # HTTPError: of whichever client it uses
    GatedRepoError,
    HfHubHTTPError,
    HTTPError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

from landmarks.errors import HubError, SettingsError

SCHEME = "hf://"
"""A model given as `hf://USER/NAME` is fetched from the Hub."""

_PART = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
_NAME = re.compile(rf"({_PART})/({_PART})(?:@([^\s@]+))?")


@dataclass(frozen=True)
class Repository:
    """A repository of models.

    Attributes:
        name: `USER/NAME`.
        revision: Branch, tag or commit; None for the newest.
    """

    name: str
    revision: str | None = None


def parse_repository(text: str, argument: str) -> Repository:
    """Parse `USER/NAME` or `hf://USER/NAME@REVISION`.

    Args:
        text: The text.
        argument: Name of the argument, for the error.

    Raises:
        SettingsError: It is not the name of a repository.
    """
    found = _NAME.fullmatch(text.removeprefix(SCHEME))
    if found is None or ".." in text or "--" in text:
        raise SettingsError(f"`{argument}` must be a repository of the Hub, such as USER/NAME, not {text!r}")
    return Repository(f"{found[1]}/{found[2]}", found[3])


@contextmanager
def connected(repository: Repository) -> Iterator[HfApi]:
    """Yield a client of the Hub, without progress bars, whose errors become a `HubError` of one sentence.

    Args:
        repository: The repository that the errors name.

    Raises:
        HubError: The Hub cannot be reached, or refuses what is asked.
    """
    bars = not are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield HfApi(endpoint=os.environ.get("HF_ENDPOINT") or constants.ENDPOINT)
    except HubError:
        raise
    except (HTTPError, OSError, RuntimeError) as error:  # of the Hub, the network, a missing token, or an upload
        raise HubError(f"{repository.name}: {_sentence(error, repository)}") from error
    except ValueError as error:  # its client has no error of its own for a card that the Hub rejects
        what = " ".join(str(error).split())
        raise HubError(
            f"{repository.name}: the Hub does not take it ({what}): correct that and try again"
        ) from error
    finally:
        if bars:
            enable_progress_bars()


def _sentence(error: Exception, repository: Repository) -> str:
    # An error that is neither of the Hub nor known hides one: a file that is not cached, that the network is down.
    told = isinstance(error, (HfHubHTTPError, *_SENTENCES)) or error.__cause__ is None
    cause = error if told else error.__cause__
    known = next((text for kind, text in _SENTENCES.items() if isinstance(cause, kind)), None)
    if known is not None:
        return known.format(revision=repository.revision)
    if isinstance(cause, HfHubHTTPError):
        return _refused(cause)
    return f"the Hub cannot be reached ({type(cause).__name__}): check the connection, HTTPS_PROXY and HF_ENDPOINT"


_SENTENCES: dict[type[Exception], str] = {
    LocalTokenNotFoundError: "you are not logged in: run hf auth login, or set HF_TOKEN",
    GatedRepoError: "its owner grants access one by one: ask for it on the page of the repository",
    RepositoryNotFoundError: (
        "there is no such repository, or it is private: check the name, or log in with hf auth login or HF_TOKEN"
    ),
    OfflineModeIsEnabled: "HF_HUB_OFFLINE forbids the connection: unset it",
    RevisionNotFoundError: "it has no revision {revision}: check the branch, tag or commit after the @",
}
"""A special kind of error comes before the general one that it is derived from."""


def _refused(error: HfHubHTTPError) -> str:
    code = error.response.status_code
    if code == HTTPStatus.UNAUTHORIZED:
        return "the Hub does not know your token: run hf auth login again, or correct HF_TOKEN"
    if code == HTTPStatus.FORBIDDEN:
        return "your token may not write there: check the user name, or use a token with the permission to write"
    return f"the Hub refused it ({code} {HTTPStatus(code).phrase}): try again later"
