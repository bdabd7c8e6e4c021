"""`python -m server`, and `tpn serve`: starts a service on this machine."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
from platformdirs import user_cache_path

from server.logs import begin_log, default_log_folder, log_file

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def serve(
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 lets the system choose.")] = 0,
    model: Annotated[str, typer.Option(help="A model's name, or the path of its .safetensors.")] = "synthetic-heads",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    cache_folder: Annotated[
        Path | None, typer.Option(help="Where captures are kept.", show_default="the system's cache folder")
    ] = None,
    cache_size: Annotated[float, typer.Option(min=0, help="GB that captures may take.")] = 4.0,
    log_folder: Annotated[
        Path | None, typer.Option(help="Where the log is written.", show_default="the system's log folder")
    ] = None,
    parent_pid: Annotated[
        int | None, typer.Option(min=1, help="End when this process ends.", show_default=False)
    ] = None,
    idle_minutes: Annotated[
        float | None, typer.Option(min=0, help="End after so long without a request; never if left out.")
    ] = None,
) -> None:
    """Serve captures to programs on this machine; prints one line of JSON that says how to reach it."""
    try:
        from server.service import Settings
    except ImportError as error:
        typer.echo(f"tpn: {error.name} is missing: pip install 'tpn-engine[server]'.", err=True)
        raise typer.Exit(1) from error
    settings = Settings(
        cache_folder=(cache_folder or user_cache_path("tpn-engine", appauthor=False)).absolute(),
        cache_size=int(cache_size * 1e9),
        log_folder=(log_folder or default_log_folder()).absolute(),
        model=model,
        device=device,
        port=port,
        parent_pid=parent_pid,
        idle_minutes=idle_minutes,
    )
    raise typer.Exit(run(settings))


def run(settings: Any) -> int:
    """Serve until told to end; the exit code."""
    import uvicorn

    from server.front import create_app
    from server.guard import Guard
    from server.parent import watch_parent
    from server.protocol import CONTRACT
    from server.service import Service
    from server.slot import Slot

    try:
        listener = _listen(settings.port)
    except OSError as error:
        typer.echo(f"tpn: The port {settings.port} can't be used ({error.strerror}): choose another one.", err=True)
        return 1
    port = listener.getsockname()[1]
    slot = Slot.take(settings.cache_folder)
    log = log_file(settings.log_folder, slot.number)
    worker_output = log.with_name(f"worker-{slot.number}.txt") if begin_log(log) else None
    service = Service(settings, slot, worker_output)
    connection = {
        "url": f"http://127.0.0.1:{port}",
        "token": secrets.token_urlsafe(32),
        "contract": CONTRACT,
        "pid": os.getpid(),
    }

    class Server(uvicorn.Server):
        """Ends its streams before it waits for them."""

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            super().handle_exit(sig, frame)
            service.stop(f"signal {sig}")

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        await service.start(when_stopping=lambda: setattr(server, "should_exit", True))
        if settings.parent_pid is not None:
            watch_parent(settings.parent_pid, lambda: service.stop("its parent has ended"))
        slot.publish(connection)
        with suppress(OSError):  # whoever started us may be gone already
            print(json.dumps(connection), flush=True)
        logging.getLogger("tpn.server").info("Serving on port %d, log in %s", port, log.parent)
        yield
        await service.finish()

    guarded = Guard(create_app(service, lifespan), token=connection["token"], port=port, activity=service.activity)
    server = Server(
        uvicorn.Config(
            guarded,
            http="h11",
            ws="none",
            loop="asyncio",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=3,
        )
    )
    with suppress(KeyboardInterrupt):
        asyncio.run(server.serve(sockets=[listener]))
    return 0


def _listen(port: int) -> socket.socket:
    """A socket on this machine's own address only; requests wait in it until the service is up."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        if sys.platform == "win32":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(128)
    except OSError:
        listener.close()
        raise
    return listener


if __name__ == "__main__":
    app(prog_name="python -m server")
