"""A Prometheus that is reached through the API server: `kubectl get --raw …/services/NAME:PORT/proxy/…`.

So nothing needs to be forwarded, and whoever may not reach the service through the API server doesn't.
"""

import asyncio
import re

import httpx

from ..errors import SettingsError
from .kubectl import Kubectl, KubectlSaidNo

_SERVICE = re.compile(r"([a-z0-9-]+)/((?:https?:)?[a-z0-9-]+:[a-z0-9-]+)")
URL = "http://prometheus.through-the-api-server"


class ThroughService(httpx.AsyncBaseTransport):
    """`service` is NAMESPACE/NAME:PORT."""

    def __init__(self, kubectl: Kubectl, service: str) -> None:
        found = _SERVICE.fullmatch(service)
        if found is None:
            raise SettingsError(
                f"--prometheus-service is {service!r}; write NAMESPACE/NAME:PORT, for example "
                "monitoring/prometheus-operated:9090"
            )
        self._kubectl = kubectl
        self._path = f"/api/v1/namespaces/{found[1]}/services/{found[2]}/proxy"

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        path = self._path + request.url.raw_path.decode()
        if request.method == "POST":
            # A form, which Prometheus takes in the address as well.
            path += f"?{request.content.decode()}"
        try:
            said = await asyncio.to_thread(self._kubectl.raw, path)
        except KubectlSaidNo as error:
            raise httpx.ConnectError(str(error)) from error
        except UnicodeDecodeError as error:
            raise httpx.DecodingError(str(error)) from error
        return httpx.Response(200, headers={"Content-Type": "application/json"}, text=said)
