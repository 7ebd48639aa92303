"""Asks an ASGI application in this process, without a socket."""

import asyncio
from typing import Any

import httpx
from starlette.applications import Starlette


def ask(app: Starlette, path: str, headers: dict[str, str] | None = None, method: str = "GET") -> httpx.Response:
    """One request, one response; an exception of the application is answered as a server would."""

    async def once() -> httpx.Response:
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://collector") as client:
            return await client.request(method, path, headers=headers)

    return asyncio.run(once())


def told(app: Starlette, path: str) -> Any:
    """The JSON that a path answers with; anything but 200 fails."""
    response = ask(app, path)
    assert response.status_code == 200, f"{path}: {response.status_code} {response.text}"
    return response.json()
