"""The front process's HTTP face: takes requests in, hands out what is there, and never computes."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Annotated, Any, BinaryIO

from fastapi import APIRouter, Depends, FastAPI, Query, Request
from fastapi import Path as PathParameter
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from server.guard import limited_body
from server.messages import MakeCrop, MakeMesh, MakeTurntable, MakeView, Work
from server.protocol import (
    CONTRACT,
    STATUS,
    UPLOAD_LIMIT,
    Accepted,
    CaptureOptions,
    CaptureStatus,
    Health,
    MeshFormat,
    MeshQuery,
    ModelInfo,
    Problem,
    Released,
    ServiceError,
    Stopping,
    TurntableQuery,
    ViewQuery,
)
from server.service import Service
from tpn_engine.errors import FileError, HeadCaptureError, NotAnImageError
from tpn_engine.version import __version__

BLOCK = 2**20  # bytes read or written at once
MESH_SECONDS, VIEW_SECONDS, CROP_SECONDS, TURNTABLE_SECONDS = 600.0, 300.0, 60.0, 3600.0
SILENCE_SECONDS = 10.0  # between signs of life in a stream of events

MEDIA_TYPES: dict[str, str] = {
    "npz": "application/octet-stream",
    "glb": "model/gltf-binary",
    "obj": "model/obj",
    "ply": "application/octet-stream",
    "stl": "model/stl",
    "png": "image/png",
    "mp4": "video/mp4",
}

# How the formats that the engine reads begin: whatever does not is refused before it is stored.
_BEGINNINGS: tuple[tuple[int, bytes], ...] = (
    (0, b"\xff\xd8\xff"),  # JPEG
    (0, b"\x89PNG\r\n\x1a\n"),
    (8, b"WEBP"),
    (0, b"II*\0"),  # TIFF
    (0, b"MM\0*"),
    (0, b"II+\0"),
    (0, b"MM\0+"),
    (0, b"BM"),
    (0, b"GIF8"),
    (4, b"ftyp"),  # HEIC, AVIF
)
_BEGINNING_BYTES = 12


def create_app(service: Service, lifespan: Any) -> FastAPI:
    """The application of one service, without its guard."""
    app = FastAPI(
        title="Head Capture engine",
        version=f"{CONTRACT}.0",
        summary=f"Contract version {CONTRACT}, served by tpn-engine {__version__}.",
        openapi_url="/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
    )
    app.state.service = service
    app.include_router(router)
    app.add_exception_handler(HeadCaptureError, _problem)
    app.add_exception_handler(RequestValidationError, _wrong_option)
    app.add_exception_handler(HTTPException, _no_such_request)
    app.add_exception_handler(Exception, _unexpected)
    return app


def _service(request: Request) -> Service:
    return request.app.state.service


def _problems(*codes: str) -> dict[int | str, dict[str, Any]]:
    """The failures a request can be answered with, for the description."""
    always = ("unauthorized", "forbidden", "timeout", "too_large", "option", "internal")
    return {STATUS[code]: {"model": Problem} for code in (*always, *codes)}


def _file(*suffixes: str) -> dict[int | str, dict[str, Any]]:
    content = {MEDIA_TYPES[suffix]: {"schema": {"type": "string", "format": "binary"}} for suffix in suffixes}
    return {200: {"description": "The file.", "content": content}}


_MADE = ("not_found", "not_done", "gone", "not_an_image", "device", "deadline", "file")
_PHOTO_BODY = {
    "requestBody": {
        "required": True,
        "description": "The bytes of a JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF or HEIC file, at most 64 MB.",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}

ServiceParameter = Annotated[Service, Depends(_service)]
IdParameter = Annotated[str, PathParameter(description="As given when the photo was sent.", max_length=100)]

router = APIRouter(prefix="/v1")


@router.get("/health", responses=_problems())
async def health(service: ServiceParameter) -> Health:
    """How the service is."""
    return service.health()


@router.get("/models", responses=_problems())
async def models(service: ServiceParameter) -> list[ModelInfo]:
    """The models there are."""
    return await asyncio.to_thread(service.models.describe)


@router.post(
    "/captures",
    status_code=202,
    responses=_problems("not_an_image", "model", "queue_full", "stopping", "file"),
    openapi_extra=_PHOTO_BODY,
)
async def add_capture(
    request: Request, service: ServiceParameter, options: Annotated[CaptureOptions, Query()]
) -> Accepted:
    """Take a photo in; it becomes a capture when its turn comes.

    What the photo holds is found out by the worker: a photo without a face is accepted, and its job fails.
    """
    if service.stopping.is_set():
        raise ServiceError("stopping", "The service is ending.")
    id, path = service.jobs.new_photo()
    try:
        sha256 = await _store_photo(request, path)
        job = service.jobs.submit(id, sha256, options)
    except BaseException:
        service.jobs.discard_photo(id)
        raise
    return Accepted(id=job.id)


@router.get("/captures/{id}", responses=_problems("not_found"))
async def capture(id: IdParameter, service: ServiceParameter) -> CaptureStatus:
    """How far a capture is."""
    return service.jobs.find(id).status()


@router.get(
    "/captures/{id}/events",
    responses={
        200: {"description": "A status at once and after each change.", "content": {"text/event-stream": {}}},
        **_problems("not_found"),
    },
    response_class=StreamingResponse,
)
async def events(id: IdParameter, service: ServiceParameter) -> StreamingResponse:
    """The status as server-sent events, until the job is over."""
    job = service.jobs.find(id)

    async def stream() -> AsyncIterator[str]:
        async for status in service.jobs.watch(job, SILENCE_SECONDS):
            yield ": still here\n\n" if status is None else f"data: {status.model_dump_json()}\n\n"

    return StreamingResponse(stream(), media_type="text/event-stream")


@router.delete("/captures/{id}", status_code=204, responses=_problems("not_found"), response_class=Response)
async def remove_capture(id: IdParameter, service: ServiceParameter) -> None:
    """Cancel a capture that waits or runs, forget one that is over."""
    service.jobs.cancel_or_forget(service.jobs.find(id))


@router.get(
    "/captures/{id}/mesh.{format}",
    responses={**_problems(*_MADE), **_file("npz", "glb", "obj", "ply", "stl")},
    response_class=Response,
)
async def mesh(
    request: Request,
    id: IdParameter,
    format: MeshFormat,
    service: ServiceParameter,
    query: Annotated[MeshQuery, Query()],
) -> Response:
    """The head mesh: .npz in EG3D units for programs, the others in metres."""
    parts = [f"mesh-{query.resolution}", f"t{query.triangles}" if query.triangles else ""]
    parts += [f"s{query.smooth}" if query.smooth else "", "solid" if query.solid else "", query.colors or ""]
    what = "-".join(part for part in parts if part) + f".{format}"

    def work(capture: Path, target: Path) -> Work:
        return MakeMesh(capture, target, query.resolution, query.triangles, query.smooth, query.solid, query.colors)

    return await _made(request, service, id, what, work, MESH_SECONDS)


@router.get("/captures/{id}/view.png", responses={**_problems(*_MADE), **_file("png")}, response_class=Response)
async def view(
    request: Request, id: IdParameter, service: ServiceParameter, query: Annotated[ViewQuery, Query()]
) -> Response:
    """A picture over black, from the source camera unless an angle is given."""

    def work(capture: Path, target: Path) -> Work:
        return MakeView(capture, target, query.yaw, query.pitch, query.size)

    what = f"view-{query.yaw}-{query.pitch}-{query.size}.png"
    return await _made(request, service, id, what, work, VIEW_SECONDS)


@router.get("/captures/{id}/preview.png", responses={**_problems("not_found"), **_file("png")}, response_class=Response)
async def preview(id: IdParameter, service: ServiceParameter) -> Response:
    """A small picture of the head so far; the status says when there is one."""
    return _file_answer(await service.preview(id), "png")


@router.get("/captures/{id}/crop.png", responses={**_problems(*_MADE), **_file("png")}, response_class=Response)
async def crop(request: Request, id: IdParameter, service: ServiceParameter) -> Response:
    """The aligned crop of the portrait."""
    return await _made(request, service, id, "crop.png", MakeCrop, CROP_SECONDS)


@router.get("/captures/{id}/turntable.mp4", responses={**_problems(*_MADE), **_file("mp4")}, response_class=Response)
async def turntable(
    request: Request, id: IdParameter, service: ServiceParameter, query: Annotated[TurntableQuery, Query()]
) -> Response:
    """A video that goes once around the head, its loop exact."""

    def work(capture: Path, target: Path) -> Work:
        return MakeTurntable(capture, target, query.frames, query.size, query.pitch)

    what = f"turntable-{query.frames}-{query.size}-{query.pitch}.mp4"
    return await _made(request, service, id, what, work, TURNTABLE_SECONDS)


@router.post("/release", responses=_problems("busy"))
async def release(service: ServiceParameter) -> Released:
    """Give back all memory of the device; refused while something is computed."""
    if service.worker.state == "busy":
        raise ServiceError("busy", "A capture is being made: wait for it or cancel it first.")
    service.worker.restart()
    return Released(released=True)


@router.post("/shutdown", status_code=202, responses=_problems())
async def shutdown(service: ServiceParameter) -> Stopping:
    """End the service; what waits in its queue is done by the next one."""
    asyncio.get_running_loop().call_later(0.05, service.stop, "it was asked to")
    return Stopping(stopping=True)


async def _store_photo(request: Request, path: Path) -> str:
    """Write the body to `path` as it comes; its SHA-256. Raises ServiceError, NotAnImageError and FileError."""
    digest, waiting = hashlib.sha256(), bytearray()
    file: BinaryIO | None = None
    try:
        async for piece in limited_body(request.receive, UPLOAD_LIMIT):
            waiting += piece
            if file is None and len(waiting) >= _BEGINNING_BYTES:
                _check_beginning(waiting)
                file = await asyncio.to_thread(_create, path)
            if file is not None and len(waiting) >= BLOCK:
                await asyncio.to_thread(_write, file, digest, bytes(waiting))
                waiting.clear()
        if file is None:
            raise _not_an_image()
        await asyncio.to_thread(_write, file, digest, bytes(waiting))
        await asyncio.to_thread(file.flush)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise FileError(f"The photo could not be kept in {path.parent} ({reason}): is the disk full?") from error
    finally:
        if file is not None:
            file.close()
    return digest.hexdigest()


def _create(path: Path) -> BinaryIO:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600), "wb")


def _write(file: BinaryIO, digest: Any, data: bytes) -> None:
    digest.update(data)
    file.write(data)


def _check_beginning(data: bytearray) -> None:
    if not any(data[start : start + len(mark)] == mark for start, mark in _BEGINNINGS):
        raise _not_an_image()


def _not_an_image() -> NotAnImageError:
    return NotAnImageError("This is not a picture that can be read; use a JPEG, PNG, WebP, TIFF, BMP or HEIC file.")


async def _made(
    request: Request,
    service: Service,
    id: str,
    what: str,
    work: Callable[[Path, Path], Work],
    deadline: float,
) -> Response:
    key = service.capture_key(id)
    file = await service.unless_gone(service.made(key, what, work, deadline), _until_gone(request))
    return _file_answer(file, what.rpartition(".")[2])


def _file_answer(file: BinaryIO, suffix: str) -> StreamingResponse:
    size = os.fstat(file.fileno()).st_size
    headers = {"content-length": str(size), "content-disposition": f'attachment; filename="head.{suffix}"'}
    return StreamingResponse(_blocks(file), media_type=MEDIA_TYPES[suffix], headers=headers)


async def _blocks(file: BinaryIO) -> AsyncIterator[bytes]:
    with file:
        while block := await asyncio.to_thread(file.read, BLOCK):
            yield block


async def _until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _answer(code: str, message: str, status: int | None = None) -> JSONResponse:
    return JSONResponse({"code": code, "message": message}, status or STATUS.get(code, 500))


async def _problem(request: Request, error: Exception) -> JSONResponse:
    return _answer(getattr(error, "code", "internal"), " ".join(str(error).split()))


async def _wrong_option(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    return _answer("option", f"{first['loc'][-1]}: {first['msg']}."[:500])


async def _no_such_request(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "option")
    response = _answer(code, f"{error.detail}: see /v1/openapi.json.", error.status_code)
    if error.status_code == STATUS["method_not_allowed"]:
        path = request.url.path
        routes = [route for route in router.routes if isinstance(route, APIRoute) and route.path_regex.match(path)]
        response.headers["allow"] = ", ".join(sorted({method for route in routes for method in route.methods or ()}))
    return response


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    return _answer("internal", f"Unexpected {type(error).__name__}: the log has more; please report it.")
