"""The whole life of a capture, as a client sees it."""

from __future__ import annotations

import io
import json
from concurrent.futures import ThreadPoolExecutor

import av
import numpy as np
import pytest
import service_photos as photos
from PIL import Image
from service_process import ServiceProcess


@pytest.fixture(scope="module")
def done(service: ServiceProcess) -> str:
    """The id of a finished capture."""
    id = service.submit(photos.portrait(), "?name=Eileen.jpg")
    assert service.over(id)["state"] == "done"
    return id


def test_a_photo_becomes_a_capture(service: ServiceProcess) -> None:
    id = service.submit(photos.other_portrait(), "?name=Eileen%20%26%20Co.jpg")
    told = list(service.events(id))
    assert told[0]["state"] in ("queued", "running")
    assert told[-1]["state"] == "done"
    assert told[-1]["fraction"] == 1.0
    fractions = [status["fraction"] for status in told]
    assert fractions == sorted(fractions)
    assert all(status["result"] is None for status in told[:-1])
    assert service.status(id) == told[-1]
    last = told[-1]
    assert (last["name"], last["model"], last["method"]) == ("Eileen & Co.jpg", "tiny", "triplanenet")
    assert len(last["result"]["camera"]) == 25
    assert last["result"]["provenance"]["model"]["name"] == "tiny"
    assert last["error"] is None
    assert all(set(warning) == {"code", "message"} for warning in last["warnings"])


def test_the_same_photo_again_is_there_at_once(service: ServiceProcess, done: str) -> None:
    again = service.submit(photos.portrait(), "?name=again")
    status = service.status(again)
    assert (again != done, status["state"], status["name"]) == (True, "done", "again")
    assert status["result"] == service.status(done)["result"]


def test_meshes_come_in_every_format(service: ServiceProcess, done: str) -> None:
    answer = service.get(f"/v1/captures/{done}/mesh.npz?resolution=32")
    assert answer.status == 200
    with np.load(io.BytesIO(answer.body)) as mesh:
        assert set(mesh.files) == {"vertices", "triangles", "normals", "colors"}
        assert mesh["vertices"].shape == mesh["colors"].shape
        assert mesh["triangles"].max() == len(mesh["vertices"]) - 1
    beginnings = {"glb": b"glTF", "obj": b"# tpn", "ply": b"ply\n", "stl": b"tpn-e"}
    for suffix, beginning in beginnings.items():
        answer = service.get(f"/v1/captures/{done}/mesh.{suffix}?resolution=32")
        assert (answer.status, answer.body[: len(beginning)]) == (200, beginning)
        assert int(answer.headers["content-length"]) == len(answer.body)
    colored = [service.get(f"/v1/captures/{done}/mesh.npz?resolution=32&colors={name}") for name in ("photo", "model")]
    own = service.get(f"/v1/captures/{done}/mesh.npz?resolution=32")
    assert [answer.status for answer in colored] == [200, 200]
    assert colored[1].body == own.body  # the tiny model's own choice
    reduced = service.get(f"/v1/captures/{done}/mesh.npz?resolution=32&triangles=200&smooth=2")
    with np.load(io.BytesIO(reduced.body)) as mesh:
        assert len(mesh["triangles"]) <= 200


def test_pictures_are_those_of_the_capture(service: ServiceProcess, done: str) -> None:
    view = service.get(f"/v1/captures/{done}/view.png?yaw=20&pitch=-5&size=32")
    source = service.get(f"/v1/captures/{done}/view.png?size=32")
    crop = service.get(f"/v1/captures/{done}/crop.png")
    sizes = [Image.open(io.BytesIO(answer.body)).size for answer in (view, source, crop)]
    assert sizes == [(32, 32), (32, 32), (512, 512)]
    assert view.body != source.body
    film = service.get(f"/v1/captures/{done}/turntable.mp4?frames=3&size=32")
    assert film.headers["content-type"] == "video/mp4"
    with av.open(io.BytesIO(film.body), "r") as container:
        assert len(list(container.decode(video=0))) == 3


def test_what_was_made_once_is_not_made_again(service: ServiceProcess, done: str) -> None:
    path = f"/v1/captures/{done}/mesh.ply?resolution=48"
    with ThreadPoolExecutor(4) as pool:
        bodies = [answer.body for answer in pool.map(service.get, [path] * 4)]
    assert len(set(bodies)) == 1
    assert len(list((service.cache_folder / "captures").glob("*.mesh-48.ply"))) == 1


@pytest.mark.parametrize(
    "request_",
    [
        "mesh.npz?resolution=8",
        "mesh.npz?colors=pink",
        "mesh.npz?resolution=1e9",
        "mesh.npz?resolution=-1",
        "mesh.npz?resolution=256&path=/etc/passwd",
        "mesh.exe",
        "view.png?yaw=nan",
        "view.png?pitch=inf",
        "view.png?size=100000",
        "turntable.mp4?size=33",
        "turntable.mp4?frames=0",
    ],
)
def test_options_that_can_not_be_are_refused(service: ServiceProcess, done: str, request_: str) -> None:
    answer = service.get(f"/v1/captures/{done}/{request_}")
    assert (answer.status, answer.json["code"]) == (422, "option")


@pytest.mark.parametrize(
    "query", ["?model=nobody", "?model=/etc/passwd", "?method=magic", "?face=-1", "?x=1", "?name="]
)
def test_photos_with_wrong_options_are_refused(service: ServiceProcess, query: str) -> None:
    answer = service.post(f"/v1/captures{query}", photos.portrait())
    assert (answer.status, answer.json["code"]) == (422, "option")


def test_a_model_that_is_not_here_is_named(service: ServiceProcess) -> None:
    answer = service.post("/v1/captures?model=triplanenet-v1", photos.portrait())
    if answer.status == 409:  # unless whoever runs this test has it
        assert answer.json["code"] == "model"
        assert "triplanenet-v1" in answer.json["message"]


@pytest.mark.parametrize("body", [None, b"", b"x", b"hello, I am no picture", b"%PDF-1.7 and so on", bytes(5000)])
def test_what_is_no_picture_is_refused_at_the_door(service: ServiceProcess, body: bytes | None) -> None:
    answer = service.post("/v1/captures", body)
    assert (answer.status, answer.json["code"]) == (415, "not_an_image")


@pytest.mark.parametrize(
    ("photo", "code", "status"),
    [
        (photos.without_a_face(), "no_face", 422),
        (photos.tiny(), "face_too_small", 422),
        (photos.bomb(), "image_too_large", 413),
        (photos.portrait()[:2000], "not_an_image", 415),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "not_an_image", 415),
    ],
)
def test_bad_photos_fail_with_the_reason(service: ServiceProcess, photo: bytes, code: str, status: int) -> None:
    id = service.submit(photo)
    last = service.over(id)
    assert (last["state"], last["error"]["code"]) == ("failed", code)
    assert last["error"]["message"].endswith(".")
    answer = service.get(f"/v1/captures/{id}/mesh.npz")
    assert (answer.status, answer.json) == (status, last["error"])
    assert not list((service.cache_folder / "service-0" / "jobs").glob("*.photo"))


def test_a_face_that_is_not_there(service: ServiceProcess) -> None:
    last = service.over(service.submit(photos.portrait(), "?face=7"))
    assert (last["state"], last["error"]["code"]) == ("failed", "option")


def test_running_work_is_cancelled(service: ServiceProcess) -> None:
    running, waiting, after = (
        service.submit(photos.slow()),
        service.submit(photos.slow()),
        service.submit(photos.tiny()),
    )
    service.reached(running, lambda status: status["stage"] == "finding the face")
    assert service.get(f"/v1/captures/{running}/crop.png").status == 409
    assert service.delete(f"/v1/captures/{waiting}").status == 204
    assert service.status(waiting)["state"] == "cancelled"
    assert service.delete(f"/v1/captures/{running}").status == 204
    assert service.over(running)["error"]["code"] == "cancelled"
    assert service.over(after)["error"]["code"] == "face_too_small"
    assert service.get(f"/v1/captures/{running}/crop.png").json["code"] == "cancelled"


def test_a_finished_capture_is_forgotten_but_kept(service: ServiceProcess, done: str) -> None:
    again = service.submit(photos.portrait())
    assert service.delete(f"/v1/captures/{again}").status == 204
    for path in ("", "/events", "/mesh.npz", "/crop.png"):
        assert service.get(f"/v1/captures/{again}{path}").status == 404
    assert service.delete(f"/v1/captures/{again}").status == 404
    assert service.get(f"/v1/captures/{done}/crop.png").status == 200


def test_many_clients_at_once(service: ServiceProcess) -> None:
    def client(number: int) -> str:
        photo = (photos.portrait(), photos.tiny(), photos.bomb())[number % 3]
        return service.over(service.submit(photo, f"?name=client-{number}"))["state"]

    with ThreadPoolExecutor(12) as pool:
        states = list(pool.map(client, range(24)))
    assert states == ["done", "failed", "failed"] * 8
    health = service.health()
    assert (health["queued"], health["running"]) == (0, 0)


def test_health_and_models_tell_what_is_here(service: ServiceProcess, done: str) -> None:
    health = service.health()
    assert (health["contract"], health["device"], health["model"]) == (1, "cpu", "tiny")
    assert (health["worker"]["state"], health["problem"]) == ("idle", None)
    assert health["pid"] == service.connection["pid"] == service.process.pid
    listed = {model["name"]: model for model in service.get("/v1/models").json}
    assert {"tiny", "synthetic-heads", "triplanenet-v2", "triplanenet-v1"} <= set(listed)
    assert (listed["tiny"]["present"], listed["tiny"]["default"], listed["tiny"]["licence"]) == (True, True, "CC0-1.0")
    assert service.status(done)["result"]["provenance"]["model"]["sha256"] == listed["tiny"]["sha256"]


def test_the_description_is_of_the_contract(service: ServiceProcess) -> None:
    description = service.get("/v1/openapi.json").json
    assert description["info"]["version"] == "1.0"
    requests = {(method.upper(), path) for path, methods in description["paths"].items() for method in methods}
    assert requests == {
        ("GET", "/v1/health"),
        ("GET", "/v1/models"),
        ("POST", "/v1/captures"),
        ("GET", "/v1/captures/{id}"),
        ("DELETE", "/v1/captures/{id}"),
        ("GET", "/v1/captures/{id}/events"),
        ("GET", "/v1/captures/{id}/mesh.{format}"),
        ("GET", "/v1/captures/{id}/view.png"),
        ("GET", "/v1/captures/{id}/crop.png"),
        ("GET", "/v1/captures/{id}/preview.png"),
        ("GET", "/v1/captures/{id}/turntable.mp4"),
        ("POST", "/v1/release"),
        ("POST", "/v1/shutdown"),
    }
    for methods in description["paths"].values():
        for operation in methods.values():
            for status, response in operation["responses"].items():
                if int(status) >= 400:
                    assert "Problem" in json.dumps(response["content"])


def test_unknown_paths_and_methods(service: ServiceProcess) -> None:
    for path in ("/", "/v1", "/docs", "/openapi.json", "/v1/captures", "/v1/captures/nobody", "/v2/health"):
        answer = service.get(path)
        assert answer.status in (404, 405)
        assert set(answer.json) == {"code", "message"}
    answer = service.ask("PUT", "/v1/captures/nobody")
    assert (answer.status, answer.headers["allow"]) == (405, "DELETE, GET")
