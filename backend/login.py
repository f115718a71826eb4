"""How a browser gets in: a one-time address that ``sweepkit serve`` prints, or the key pasted into a form.

Both end in a cookie that is HttpOnly and SameSite=Strict. The answer is a page that moves on by itself and not a
redirect: after a redirect that another page caused, the browser would hold a Strict cookie back.
"""

from __future__ import annotations

import html
import sqlite3
from urllib.parse import parse_qs

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from . import limits
from .storage import users
from .tokens import SESSION_SECONDS, Signer

PAGE_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>sweepkit</title>{head}
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:36rem;margin:12vh auto;padding:0 1rem}}
input,button{{font:inherit;padding:.3rem .5rem}}input{{width:24rem;max-width:100%}}
code{{background:#8882;padding:.1rem .3rem}}
</style></head><body>{body}</body></html>"""


def welcome(address: str, problem: str = "") -> str:
    """The page for a browser without the cookie. ``address`` is where it wanted to go, quoted as in the request."""
    escaped = html.escape(own_address(address), quote=True)
    said = f'<p role="alert"><strong>{html.escape(problem)}</strong></p>' if problem else ""
    return _PAGE.format(
        head="",
        body=f"""<h1>This is a sweepkit backend</h1>{said}
<p>Its pages open for the person who started it, and for its users. Run <code>sweepkit serve</code> and
follow the address that it prints: it logs this browser in.</p>
<form method="post" action="/login"><input type="hidden" name="next" value="{escaped}">
<p><label>Or paste your key (the owner's is in <code>server.json</code>):<br>
<input name="key" type="password" autocomplete="off" required autofocus></label> <button>Log in</button></p></form>
<p>Logged in already, and came here from another site? <a href="{escaped}">Open the page</a></p>""",
    )


async def by_token(request: Request) -> Response:
    """``GET /login?token=...&next=...``: the one-time address. Without a token, the form."""
    address = own_address(request.query_params.get("next", "/"))
    token = request.query_params.get("token")
    if not token:
        return _html(welcome(address), 200)
    name = request.app.state.signer.use_login_token(token)
    database = request.app.state.database
    found = name and await run_in_threadpool(lambda: users.by_name(database.read(), name))
    if not found:
        return _html(welcome(address, "This address was used already, or is too old."), 403)
    return _let_in(request.app.state.signer, found, address)


async def by_key(request: Request) -> Response:
    """``POST /login``: the form with the key."""
    form = parse_qs((await limits.body(request, 64 * 1024)).decode("utf-8", "replace"))
    address = own_address(form.get("next", ["/"])[0])
    key = form.get("key", [""])[0].strip()
    database = request.app.state.database
    found = await run_in_threadpool(lambda: users.by_key(database.read(), key))
    if found is None:
        return _html(welcome(address, "That is no key of this backend."), 403)
    return _let_in(request.app.state.signer, found, address)


def own_address(address: str) -> str:
    """``address`` if it is one of this server, else its start page: no log-in leads to another site."""
    plain = address.startswith("/") and not address.startswith("//") and "\\" not in address
    return address if plain and address.isprintable() else "/"


def _let_in(signer: Signer, user: sqlite3.Row, address: str) -> Response:
    escaped = html.escape(address, quote=True)
    head = f'<meta http-equiv="refresh" content="0;url={escaped}">'
    answer = _html(_PAGE.format(head=head, body=f'<p>Logged in. <a href="{escaped}">Continue</a></p>'), 200)
    session = signer.session(user["name"], user["key_digest"])
    answer.set_cookie(signer.cookie, session, max_age=SESSION_SECONDS, path="/", httponly=True, samesite="strict")
    return answer


def _html(text: str, status: int) -> HTMLResponse:
    return HTMLResponse(text, status_code=status, headers={"content-security-policy": PAGE_POLICY})


routes = [Route("/login", by_token, methods=["GET"]), Route("/login", by_key, methods=["POST"])]
