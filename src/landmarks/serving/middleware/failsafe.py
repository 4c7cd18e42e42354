"""A response whatever goes wrong, which the outer middleware sees like any other."""

from __future__ import annotations

from collections.abc import Callable

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from landmarks.serving.errors import RequestError, error_response


class Failsafe:
    """Turns any error of the inner application into a response.

    Args:
        app: The next application.
        problem: Returns what a client is told of an error, and logs what is no fault of the client.
    """

    def __init__(self, app: ASGIApp, problem: Callable[[Exception, Scope], RequestError]) -> None:
        self._app = app
        self._problem = problem

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def seen(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, seen)
        except ClientDisconnect:
            raise  # nobody waits for a response
        except Exception as error:
            problem = self._problem(error, scope)
            if started:
                raise  # part of the response is sent: the server can only close the connection
            await error_response(problem, path=scope["path"])(scope, receive, send)
