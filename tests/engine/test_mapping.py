"""Random draws have the spread of the codes that the mapping was fitted to."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_model import tiny_model, tiny_network

from tpn_engine.training.draws import draw, main
from tpn_engine.training.mapping import fit_mapping


def test_draws_have_the_mean_and_the_spread_of_the_codes() -> None:
    network = tiny_network()
    random = torch.Generator().manual_seed(1)
    directions = torch.linalg.qr(torch.randn(32, 5, generator=random))[0].T
    codes = 2 + torch.randn(400, 5, generator=random) @ (directions * torch.tensor([3.0, 2.0, 1.0, 0.5, 0.5])[:, None])
    labels = torch.randn(10, 25, generator=random)
    error = fit_mapping(network, codes, labels, seed=0)
    assert error < 0.4
    mapping = network.decoder.backbone.mapping
    torch.testing.assert_close(mapping.w_avg, codes.mean(0))
    with torch.no_grad():
        drawn = mapping(torch.randn(2000, 16, generator=random), labels[:1].expand(2000, -1))
    torch.testing.assert_close(drawn.mean(0), codes.mean(0), atol=0.25, rtol=0)
    along = [(part - part.mean(0)) @ directions.T for part in (drawn, codes)]
    ratio = along[0].std(0) / along[1].std(0)
    assert ratio[:3].min() > 0.75
    assert ratio[:3].max() < 1.25


def test_a_draw_belongs_to_its_seed(tmp_path: Path) -> None:
    model = tiny_model(tmp_path)
    first, again, other = draw(model, 3), draw(model, 3), draw(model, 4)
    assert torch.equal(first.planes, again.planes)
    assert not torch.equal(first.planes, other.planes)
    average = draw(model, 3, truncation=0.0)
    assert average.planes.shape == first.planes.shape
    assert torch.equal(average.planes, draw(model, 4, truncation=0.0).planes)


def test_an_unknown_model_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["draws", "nothing-of-the-kind", str(tmp_path / "sheet.png")])
    assert main() == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert not list(tmp_path.iterdir())
