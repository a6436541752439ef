"""A stand-in for the model process: a real server on a real unix socket, which counts what reaches it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn
from dormouse_contract import Residency
from dormouse_contract.wire import ModelList, ModelSnapshot, PolicyLoan, ResidencyOrder
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.waiting import auntil

JSON = "application/json"


def snapshot(residency: Residency = Residency.GPU) -> ModelSnapshot:
    return ModelSnapshot(
        name="tts",
        residency=residency,
        in_flight=0,
        waiting=0,
        idle_seconds=12.5,
        last_request_end=1.7e9,
        gpu_memory_bytes=1024,
        host_memory_bytes=1024,
        gpu_memory_released_bytes=0,
        released_method=None,
        device="sim",
        dirty=False,
        pinned=False,
        restore_estimate_seconds=None,
        transition=None,
        last_transition=None,
    )


@dataclass
class ModelProcess:
    """`orders` and `questions` are what reached the control routes. A test may set the answers."""

    socket: Path
    orders: list[ResidencyOrder | PolicyLoan] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)
    answer: Callable[[], Response] | None = None
    ready: Callable[[], Response] = lambda: Response("ready")
    exposition: Callable[[], Response] = lambda: Response(
        'dormouse_build_info{version="9.9.9"} 1\ndormouse_model_in_flight_requests{model="tts"} 0\n',
        media_type="text/plain",
    )
    hold: asyncio.Event | None = None

    @property
    def reached(self) -> int:
        return len(self.orders) + len(self.questions)

    def app(self) -> Starlette:
        def order(kind: type[ResidencyOrder] | type[PolicyLoan]) -> Callable[[Request], Awaitable[Response]]:
            async def handle(request: Request) -> Response:
                self.orders.append(kind.model_validate_json(await request.body()))
                if self.hold is not None:
                    await self.hold.wait()
                if self.answer is not None:
                    return self.answer()
                return Response(snapshot(Residency.CPU).to_json(), 202, media_type=JSON)

            return handle

        async def question(request: Request) -> Response:
            self.questions.append(request.url.path)
            if self.answer is not None:
                return self.answer()
            if request.url.path.endswith("/models"):
                return Response(ModelList(models=[snapshot()]).to_json(), media_type=JSON)
            return Response(snapshot().to_json(), media_type=JSON)

        async def ready(_: Request) -> Response:
            return self.ready()

        async def exposition(_: Request) -> Response:
            return self.exposition()

        prefix = "/dormouse/v1/models"
        return Starlette(
            routes=[
                Route(prefix, question),
                Route(prefix + "/{model}", question),
                Route(prefix + "/{model}/residency", order(ResidencyOrder), methods=["PUT"]),
                Route(prefix + "/{model}/policy", order(PolicyLoan), methods=["PUT"]),
                Route("/readyz", ready),
                Route("/metrics", exposition),
            ]
        )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """On a new socket under the same path, gone afterwards."""
        self.socket.unlink(missing_ok=True)
        server = uvicorn.Server(
            uvicorn.Config(self.app(), uds=str(self.socket), lifespan="off", log_config=None, ws="none")
        )
        serving = asyncio.create_task(server.serve())
        await auntil(lambda: server.started)
        try:
            yield
        finally:
            server.should_exit = True
            await serving
            self.socket.unlink(missing_ok=True)
