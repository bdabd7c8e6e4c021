"""The service makes captures by every method."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
import pytest
import service_photos as photos
from PIL import Image
from service_process import ServiceProcess

from tpn_engine.checkpoints.catalog import DEFAULT_MODEL
from tpn_engine.inversion.options import METHODS, Method


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_served(service: ServiceProcess, method: Method) -> None:
    id = service.submit(photos.portrait(), f"?method={method}&seconds=1")
    told = list(service.events(id))
    assert (told[-1]["state"], told[-1]["method"]) == ("done", method)
    assert told[-1]["result"]["provenance"]["method"] == method
    fractions = [status["fraction"] for status in told]
    assert fractions == sorted(fractions)
    assert service.get(f"/v1/captures/{id}/view.png?size=32").status == 200


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    running = ServiceProcess(tmp_path_factory.mktemp("embedded"), DEFAULT_MODEL)
    yield running
    running.end()


@pytest.mark.parametrize("method", METHODS)
def test_every_method_makes_a_head_with_the_model_in_the_package(embedded: ServiceProcess, method: Method) -> None:
    id = embedded.submit(photos.portrait(), f"?method={method}&seconds=1")
    ended = embedded.over(id)
    assert (ended["state"], ended["result"]["provenance"]["model"]["name"]) == ("done", "synthetic-heads")
    mesh = embedded.get(f"/v1/captures/{id}/mesh.npz?resolution=64")
    with np.load(io.BytesIO(mesh.body)) as arrays:
        assert 0.4 < np.ptp(arrays["vertices"][:, 1]) <= 1.0


def test_methods_are_kept_apart(service: ServiceProcess) -> None:
    views = set()
    for method in ("triplanenet", "psp"):
        id = service.submit(photos.portrait(), f"?method={method}")
        assert service.over(id)["state"] == "done"
        views.add(service.get(f"/v1/captures/{id}/view.png?size=32").body)
    assert len(views) == 2


def test_a_fit_can_be_watched(service: ServiceProcess) -> None:
    id = service.submit(photos.other_portrait(), "?method=latent&seconds=600")
    path = service.reached(id, lambda status: status["preview"] is not None)["preview"]
    picture = service.get(path)
    assert picture.status == 200
    with Image.open(io.BytesIO(picture.body)) as shown:
        assert shown.size == (64, 64)
    service.delete(f"/v1/captures/{id}")
    assert service.over(id)["preview"] is None
    assert service.get(path).status == 404


def test_a_fit_is_cancelled_between_its_steps(service: ServiceProcess) -> None:
    id = service.submit(photos.other_portrait(), "?method=latent&seconds=600")
    service.reached(id, lambda status: status["stage"] == "codes")
    assert service.delete(f"/v1/captures/{id}").status == 204
    assert service.over(id)["error"]["code"] == "cancelled"


@pytest.mark.parametrize("query", ["?method=latents", "?method=", "?seconds=0", "?seconds=nan", "?seconds=1e9"])
def test_wrong_methods_and_times_are_refused(service: ServiceProcess, query: str) -> None:
    answer = service.post(f"/v1/captures{query}", photos.portrait())
    assert (answer.status, answer.json["code"]) == (422, "option")


def test_the_description_lists_the_methods(service: ServiceProcess) -> None:
    operation = service.get("/v1/openapi.json").json["paths"]["/v1/captures"]["post"]
    [method] = [parameter for parameter in operation["parameters"] if parameter["name"] == "method"]
    assert method["schema"]["enum"] == list(METHODS)
