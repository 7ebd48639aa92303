"""Who may ask the API: those who call it by a name of its own, and who have a token where tokens are asked for.

`/healthz` and `/readyz` are open: what balances load or restarts processes has neither, and they tell nothing else.
"""

from collections.abc import Callable
from typing import Final

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from flowtrail.collector.admission.tokens import Tokens

from .answers import Problem

OPEN: Final = frozenset({"/healthz", "/readyz"})


class Guard:
    """ASGI middleware. `is_own` knows the server's names; `tokens` are None where nobody needs one."""

    def __init__(self, app: ASGIApp, is_own: Callable[[str], bool], tokens: Tokens | None) -> None:
        self._app = app
        self._is_own = is_own
        self._tokens = tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in OPEN:
            refused = self._refusal(Headers(scope=scope))
            if refused is not None:
                headers = {"WWW-Authenticate": "Bearer"} if refused.status == 401 else None
                body = refused.model_dump_json()
                answer = Response(body, refused.status, headers, media_type="application/problem+json")
                await answer(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _refusal(self, headers: Headers) -> Problem | None:
        if not self._is_own(headers.get("host", "")):
            detail = f"Nothing is served here as {headers.get('host', '')[:253]!r}; api_hosts may name it."
            return Problem(status=421, title="Another host", detail=detail)
        if self._tokens is not None and self._tokens.name_of(headers.get("authorization", "")) is None:
            detail = "Send one as `Authorization: Bearer TOKEN`; commands and pages take theirs from FLOWTRAIL_TOKEN."
            return Problem(status=401, title="No token, or an unknown one", detail=detail)
        return None
