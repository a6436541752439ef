"""One person's conversation with the console's HTTP side."""

from typing import Any

import httpx

from .people import Person


class Conversation:
    def __init__(self, url: str, person: Person | None, **headers: str) -> None:
        bearer = {} if person is None else {"Authorization": f"Bearer {person.token}"}
        self._http = httpx.Client(base_url=url, headers={**bearer, **headers}, timeout=30, trust_env=False)

    def __enter__(self) -> "Conversation":
        return self

    def __exit__(self, *ended: object) -> None:
        self._http.close()

    def get(self, path: str, **parameters: str) -> httpx.Response:
        return self._http.get(f"/api/{path}", params=parameters)

    def change(self, namespace: str, name: str, change: str, until: str | None = None) -> httpx.Response:
        order: dict[str, Any] = {"change": change}
        if until is not None:
            order["until"] = until
        return self._http.post(f"/api/models/{namespace}/{name}/change", json=order)

    def post(self, path: str, **more: Any) -> httpx.Response:
        return self._http.post(f"/api/{path}", **more)
