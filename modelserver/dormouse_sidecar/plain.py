"""The plain port's routes: metrics and health for Prometheus and the kubelet. Nothing here changes anything.

Liveness is the sidecar's own: restarting it can't help a model process that is down. Readiness is the
model process', which says ready while its models sleep, since a sleeping pod that left its Service would
never be woken.
"""

import logging

from dormouse_contract.printable import printable
from dormouse_contract.problems import PROBLEM_MEDIA_TYPE

from .errors import MethodNotAllowed, ModelProcessDown, NoAnswer, NotFound
from .http1 import Request, Response
from .telemetry import METRICS_MEDIA_TYPE, Telemetry
from .throttled_log import ThrottledWarning
from .upstream import Answer, ModelProcess

_log = logging.getLogger(__name__)
# Prometheus waits 10 s for a scrape by default, the kubelet 1 s for a probe.
_METRICS_SECONDS = 8.0
_METRICS_BYTES = 4 * 1024 * 1024
_READY_SECONDS = 5.0
_READY_BYTES = 16 * 1024
_MAX_QUOTED_CHARACTERS = 100


class PlainRoutes:
    """Handles requests of anyone."""

    def __init__(self, model_process: ModelProcess, telemetry: Telemetry) -> None:
        self._model_process = model_process
        self._telemetry = telemetry
        self._warn = ThrottledWarning(_log)
        self._routes = {"/metrics": self._metrics, "/healthz": self._healthz, "/readyz": self._readyz}

    async def __call__(self, request: Request) -> Response:
        """Raises SidecarError for what it refuses."""
        route = self._routes.get(request.path)
        if route is None:
            raise NotFound("This port has /metrics, /healthz and /readyz. Orders go to the control port.")
        if request.method not in ("GET", "HEAD"):
            raise MethodNotAllowed("Only GET and HEAD: nothing can be changed here. Nothing was.")
        return await route()

    async def _healthz(self) -> Response:
        return Response(200, b'{"status":"ok"}')

    async def _readyz(self) -> Response:
        answer = await self._model_process.ask("GET", "/readyz", seconds=_READY_SECONDS, max_bytes=_READY_BYTES)
        if answer.status == 200:
            return Response(200, b'{"status":"ready"}')
        if answer.status == 503 and answer.has_json("application/json", PROBLEM_MEDIA_TYPE):
            return Response(503, answer.body, answer.media_type)
        raise ModelProcessDown(
            f"The model process answered {answer.status} when asked whether it is ready, so it does not "
            "count as ready. Its log may say why."
        )

    async def _metrics(self) -> Response:
        try:
            answer = await self._model_process.ask(
                "GET", "/metrics", seconds=_METRICS_SECONDS, max_bytes=_METRICS_BYTES
            )
        except NoAnswer:
            theirs = None
        else:
            theirs = self._usable(answer)
        return Response(200, self._telemetry.exposition(theirs), METRICS_MEDIA_TYPE)

    def _usable(self, answer: Answer) -> bytes | None:
        if answer.status == 200 and answer.media_type == "text/plain":
            return answer.body
        self._warn(
            "the model process answered %d %r for its metrics, so they are left out",
            answer.status,
            printable(answer.media_type, _MAX_QUOTED_CHARACTERS),
        )
        return None
