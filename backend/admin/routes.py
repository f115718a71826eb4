"""The routes below ``/admin``: each is an administrator's, and the guard stands here once for all of them."""

from __future__ import annotations

from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Mount
from starlette.types import ASGIApp, Receive, Scope, Send

from . import backup, gc, users


class AdministratorsOnly:
    """The middleware: 403 for everyone whose key, or log-in, is not an administrator's."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        user = Request(scope).state.user
        if user.admin:
            await self._app(scope, receive, send)
        else:
            refusal = JSONResponse({"error": f"{user.name or 'this address'} is no administrator"}, status_code=403)
            await refusal(scope, receive, send)


_ROUTES: list[BaseRoute] = [*backup.routes, *gc.routes, *users.routes]

routes = [Mount("/admin", routes=_ROUTES, middleware=[Middleware(AdministratorsOnly)])]
