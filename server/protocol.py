"""Contract version 1: what travels over HTTP."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from tpn_engine.errors import HeadCaptureError
from tpn_engine.inversion.options import DEFAULT_METHOD, Method
from tpn_engine.nets.presets import MeshColors

CONTRACT = 1

State = Literal["queued", "running", "done", "failed", "cancelled"]
MeshFormat = Literal["npz", "glb", "obj", "ply", "stl"]
WorkerState = Literal["starting", "idle", "busy", "failing"]

UPLOAD_LIMIT = 64 * 2**20  # bytes of a photo
BODY_LIMIT = 64 * 2**10  # bytes of any other request, none of which needs a body

# Status codes of the stable error codes, for requests and for results asked of a job that failed.
STATUS = {
    "unauthorized": 401,
    "forbidden": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "timeout": 408,
    "not_done": 409,
    "cancelled": 409,
    "busy": 409,
    "model": 409,
    "gone": 410,
    "capture_file": 410,
    "too_large": 413,
    "image_too_large": 413,
    "not_an_image": 415,
    "option": 422,
    "no_face": 422,
    "face_too_small": 422,
    "queue_full": 429,
    "internal": 500,
    "device": 503,
    "worker": 503,
    "stopping": 503,
    "deadline": 504,
    "file": 507,
}


class ServiceError(HeadCaptureError):
    """A failure on the way between a request and the engine; `code` is one of `STATUS`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Problem(BaseModel):
    """Every answer that is not a success: a stable code and a sentence that says what to do."""

    code: str
    message: str


class Notice(BaseModel):
    """Something the user should know about the photo."""

    code: str
    message: str


class Result(BaseModel):
    """What a finished capture says about itself.

    `camera`: the 25 numbers of the source camera's label; `iso_level`: of the head mesh;
    `provenance`: photo, model, method, versions, warnings and seconds.
    """

    camera: list[float] = Field(min_length=25, max_length=25)
    iso_level: float
    provenance: dict[str, Any]


class CaptureStatus(BaseModel):
    """A job. `stage` is for people; `fraction` is of the whole job, in [0, 1], and never falls.

    `preview` is where a small picture of the head so far is, while an optimisation that has one runs.
    """

    id: str
    state: State
    stage: str
    fraction: float = Field(ge=0, le=1)
    name: str
    model: str
    method: Method
    created: float = Field(description="Seconds since 1970.")
    warnings: list[Notice]
    preview: str | None
    error: Problem | None
    result: Result | None


class Accepted(BaseModel):
    """The photo was taken in; its job is asked for by `id`."""

    id: str


class CaptureOptions(BaseModel):
    """How a photo becomes a capture. `name` is shown again in the job's status and used for nothing else."""

    model_config = ConfigDict(extra="forbid")

    model: str | None = Field(None, max_length=100, description="One of /v1/models; the default if left out.")
    method: Method = Field(DEFAULT_METHOD, description="How the head is found.")
    seconds: float | None = Field(
        None,
        ge=1,
        le=600,
        allow_inf_nan=False,
        description="Time for an optimisation, if the method has one.",
    )
    face: int | None = Field(None, ge=0, le=31, description="Which face, 0 the largest.")
    level: bool = Field(False, description="Turn a tilted head upright first.")
    name: str = Field("portrait", min_length=1, max_length=255)


class MeshQuery(BaseModel):
    """How a capture becomes a head mesh."""

    model_config = ConfigDict(extra="forbid")

    resolution: int = Field(256, ge=16, le=1024, description="Lattice points along each edge.")
    triangles: int | None = Field(None, ge=100, le=100_000_000, description="Reduce to at most so many.")
    smooth: int = Field(0, ge=0, le=1000, description="Iterations of smoothing.")
    solid: bool = Field(False, description="Close every hole, for printing.")
    colors: MeshColors | None = Field(
        None, description="The photo's or the model's alone; the model's choice if not given."
    )


class ViewQuery(BaseModel):
    """Where a picture is taken from, in degrees; the source camera if no angle is given."""

    model_config = ConfigDict(extra="forbid")

    yaw: float | None = Field(None, ge=-360, le=360, allow_inf_nan=False, description="Toward the subject's left.")
    pitch: float | None = Field(None, ge=-89, le=89, allow_inf_nan=False, description="Up.")
    size: int = Field(512, ge=16, le=2048, description="Pixels along each edge.")


class TurntableQuery(BaseModel):
    """How a turntable is filmed; `size` must be even."""

    model_config = ConfigDict(extra="forbid")

    frames: int = Field(120, ge=1, le=1000)
    size: int = Field(512, ge=16, le=1024, multiple_of=2, description="Pixels along each edge.")
    pitch: float = Field(0.0, ge=-89, le=89, allow_inf_nan=False, description="Degrees up.")


class ModelInfo(BaseModel):
    """One model of the catalogue; `size` in bytes, `sha256` of its weights; both null where it is not here."""

    name: str
    summary: str
    licence: str
    present: bool
    default: bool
    size: int | None
    sha256: str | None
    problem: str | None


class WorkerHealth(BaseModel):
    """The process that computes; `restarts` counts those after the first."""

    state: WorkerState
    pid: int | None
    restarts: int


class Health(BaseModel):
    """How the service is; `problem` is a sentence where something needs the user.

    `device` is null until the worker has told it; `memory_free` is in bytes, of the device, and as old as
    the worker's last task.
    """

    contract: int
    version: str
    pid: int
    device: str | None
    memory_free: int | None
    model: str
    worker: WorkerHealth
    queued: int
    running: int
    problem: str | None


class Released(BaseModel):
    """The worker gives back its device memory."""

    released: bool


class Stopping(BaseModel):
    """The service ends."""

    stopping: bool
