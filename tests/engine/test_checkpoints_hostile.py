"""Hostile and damaged files are refused in a sentence; nothing in them runs, nothing of them stays."""

from __future__ import annotations

import io
import json
import pickle
import random
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import official_files
import pytest
import torch
from official_files import filled_network, save, save_nvidia, tiny_official
from safetensors.torch import load_file, save_file
from tiny_model import tiny_weights

from tpn_engine.checkpoints.add import addition
from tpn_engine.checkpoints.load import file_sha256
from tpn_engine.errors import ModelError
from tpn_engine.nets.triplanenet import TriPlaneNet
from tpn_engine.progress import SILENT

Make = Callable[[Path, Path], None]  # writes a file whose running would create the canary


@pytest.fixture(autouse=True)
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "models"
    monkeypatch.setenv("TPN_MODELS", str(folder))
    return folder


@pytest.fixture(scope="module")
def network() -> TriPlaneNet:
    return filled_network(tiny_official(2, False))


@pytest.fixture(scope="module")
def average(network: TriPlaneNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generator's file in order, so that a missing latent_avg is never the reason."""
    return save(official_files.generator_checkpoint(network), tmp_path_factory.mktemp("good") / "ffhq512-128.pth")


def refused(models: Path, *files: Path) -> str:
    """What is told of files that must not be installed."""
    with pytest.raises(ModelError) as caught, addition(files, preset_of=tiny_official) as prepared:
        prepared.write(SILENT)
    told = str(caught.value)
    assert told.endswith(".")
    assert len(told) < 600
    assert not [path for path in models.rglob("*") if path.is_file()]
    return told


# ---- hostile pickles -----------------------------------------------------------------------------


class Call:
    """Pickles as a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.called = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.called


def touching(canary: Path) -> str:
    return f"open({str(canary)!r}, 'w').close()"


def text(value: str) -> bytes:
    encoded = value.encode()
    return b"X" + struct.pack("<I", len(encoded)) + encoded


def reduced(file: Path, canary: Path) -> None:
    file.write_bytes(pickle.dumps({"G_ema": Call(exec, touching(canary))}, protocol=4))


def reduced_in_the_old_way(file: Path, canary: Path) -> None:
    file.write_bytes(b"\x80\x02cos\nsystem\n" + text(f"touch {canary}") + b"\x85R.")


def eval_by_stack(file: Path, canary: Path) -> None:
    file.write_bytes(b"\x80\x04" + text("builtins") + text("eval") + b"\x93" + text(touching(canary)) + b"\x85R.")


def dotted_name(file: Path, canary: Path) -> None:
    """A name that leads from an allowed module to another."""
    start = b"\x80\x04" + text("torch_utils.persistence") + text("sys.modules")
    file.write_bytes(start + b"\x93" + text(touching(canary)) + b"\x85R.")


def inherited_import(file: Path, canary: Path) -> None:
    file.write_bytes(b"\x80\x02ctorch.storage\nio.open\n" + text(str(canary)) + text("w") + b"\x86R.")


def inst_opcode(file: Path, canary: Path) -> None:
    file.write_bytes(b"\x80\x02(" + text(f"touch {canary}") + b"ios\nsystem\n.")


def obj_opcode(file: Path, canary: Path) -> None:
    file.write_bytes(b"\x80\x02(cos\nsystem\n" + text(f"touch {canary}") + b"o.")


def protocol_0(file: Path, canary: Path) -> None:
    file.write_bytes(pickle.dumps(Call(exec, touching(canary)), protocol=0))


def extension(file: Path, canary: Path) -> None:
    file.write_bytes(b"\x80\x02\x82\x01" + text(touching(canary)) + b"\x85R.")


def state_for_a_function(file: Path, canary: Path) -> None:
    """Would change what an allowed name does, for whoever calls it next."""
    code = b"}" + text("__code__") + text(touching(canary)) + b"s"
    file.write_bytes(b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n" + code + b"b.")


def call_of_a_result(file: Path, canary: Path) -> None:
    held = b"cargparse\nNamespace\n)\x81"
    file.write_bytes(b"\x80\x02" + held + text(touching(canary)) + b"\x85R.")


def in_a_zip(file: Path, canary: Path) -> None:
    torch.save({"state_dict": Call(exec, touching(canary))}, file)


def in_a_stream(file: Path, canary: Path) -> None:
    torch.save({"state_dict": Call(exec, touching(canary))}, file, _use_new_zipfile_serialization=False)


def in_the_stream_s_header(file: Path, canary: Path) -> None:
    start = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)
    file.write_bytes(start + pickle.dumps(Call(exec, touching(canary)), protocol=2))


def nested(file: Path, canary: Path, *, archive: bool = False, twice: bool = False) -> None:
    """A storage in a plain pickle is a torch file; this one holds a call."""
    inner = io.BytesIO()
    torch.save(Call(exec, touching(canary)), inner, _use_new_zipfile_serialization=archive)
    content = inner.getvalue()
    for _ in range(2 if twice else 1):
        content = pickle.dumps(Call(torch.storage._load_from_bytes, content), protocol=4)
    file.write_bytes(content)


def nested_archive(file: Path, canary: Path) -> None:
    nested(file, canary, archive=True)


def nested_twice(file: Path, canary: Path) -> None:
    nested(file, canary, twice=True)


def persistent_source(file: Path, canary: Path) -> None:
    """NVIDIA's own kind of object: its loader runs the source in it."""
    with official_files.nvidia_modules():
        module = official_files.persistent_module("TriPlaneGenerator", touching(canary))
        file.write_bytes(pickle.dumps({"G_ema": module}, protocol=4))


def in_the_options(file: Path, canary: Path) -> None:
    """A good checkpoint with one bad thing beside its weights."""
    content = official_files.triplanenet_checkpoint(filled_network(tiny_official(2, False)))
    torch.save({**content, "opts": Call(exec, touching(canary))}, file)


def module_by_name(file: Path, canary: Path) -> None:
    """A class whose name looks like NVIDIA's, from a module on the path."""
    (file.parent / "training.py").write_text(touching(canary))
    file.write_bytes(b"\x80\x02}" + text("G_ema") + b"ctraining.networks\nGenerator\n)\x81s.")


HOSTILE: list[Make] = [
    reduced,
    reduced_in_the_old_way,
    eval_by_stack,
    dotted_name,
    inherited_import,
    inst_opcode,
    obj_opcode,
    protocol_0,
    extension,
    state_for_a_function,
    call_of_a_result,
    in_a_zip,
    in_a_stream,
    in_the_stream_s_header,
    nested,
    nested_archive,
    nested_twice,
    persistent_source,
    in_the_options,
    module_by_name,
]


@pytest.mark.parametrize("make", HOSTILE, ids=lambda make: make.__name__)
def test_hostile_files_are_refused_and_not_run(
    make: Make, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    file, canary = tmp_path / "model.pkl", tmp_path / "canary"
    make(file, canary)
    assert not canary.exists()
    told = refused(models, file)
    assert not canary.exists(), told
    assert "model.pkl" in told


@pytest.mark.parametrize("make", [reduced, reduced_in_the_old_way, eval_by_stack, inst_opcode, obj_opcode, nested])
def test_the_canary_would_sing(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With Python's own reader these files do run."""
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    file, canary = tmp_path / "model.pkl", tmp_path / "canary"
    make(file, canary)
    pickle.loads(file.read_bytes())
    assert canary.exists()


@pytest.mark.parametrize("make", [reduced, reduced_in_the_old_way, in_a_zip, nested], ids=lambda make: make.__name__)
def test_what_a_hostile_file_asked_for_is_named(make: Make, models: Path, tmp_path: Path) -> None:
    make(tmp_path / "model.pth", tmp_path / "canary")
    told = refused(models, tmp_path / "model.pth")
    assert "asks for os.system" in told or "asks for builtins.exec" in told or "__builtin__.exec" in told
    assert "nothing of it was run" in told


# ---- files that claim too much -------------------------------------------------------------------


def written_archive(file: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def storage(kind: bytes, size: bytes, key: str = "0") -> bytes:
    return b"(" + text("storage") + b"ctorch\n" + kind + b"\n" + text(key) + text("cpu") + size + b"tQ"


def tensor(storage: bytes, shape: bytes, strides: bytes) -> bytes:
    parts = storage + b"K\x00" + shape + strides + b"\x89ccollections\nOrderedDict\n)R"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + parts + b"tR"


def state_of(value: bytes) -> bytes:
    return b"\x80\x02}" + text("state_dict") + b"}" + text("triplanenet_encoder.x") + value + b"ss."


ONE = storage(b"FloatStorage", b"K\x01")
LARGE = b"J\xff\xff\xff\x7f"


def compressed_bomb(file: Path) -> None:
    written_archive(file, {"a/data.pkl": state_of(b"N"), "a/data/0": bytes(10**8)}, zipfile.ZIP_DEFLATED)


def overlapping_bomb(file: Path) -> None:
    """Many names for the same bytes: a few kilobytes that claim to be many."""
    written_archive(file, {f"a/data/{index}": bytes(1000 if index == 0 else 0) for index in range(300)})
    content = bytearray(file.read_bytes())
    place = content.find(b"PK\x01\x02")
    while place >= 0:
        content[place + 20 : place + 28] = struct.pack("<II", 1000, 1000)
        content[place + 42 : place + 46] = struct.pack("<I", 0)
        place = content.find(b"PK\x01\x02", place + 4)
    file.write_bytes(content)


def path_traversal(file: Path) -> None:
    written_archive(file, {"a/data.pkl": state_of(b"N"), "../../evil": b"x"})


def absolute_path(file: Path) -> None:
    written_archive(file, {"a/data.pkl": state_of(b"N"), "/tmp/evil": b"x"})


def windows_path(file: Path) -> None:
    written_archive(file, {"a/data.pkl": state_of(b"N"), "C:\\evil": b"x"})


def storage_outside(file: Path) -> None:
    """A storage's name that leads elsewhere: it is only ever looked up among the members."""
    outside = storage(b"FloatStorage", b"K\x01", "../../../etc/passwd")
    written_archive(file, {"a/data.pkl": state_of(tensor(outside, b"K\x01\x85", b"K\x01\x85"))})


def expanded_tensor(file: Path) -> None:
    """One number, repeated four billion times without a byte."""
    value = tensor(ONE, LARGE + b"K\x02\x86", b"K\x00K\x00\x86")
    written_archive(file, {"a/data.pkl": state_of(value), "a/data/0": bytes(4)})


def tensor_beyond_its_storage(file: Path) -> None:
    written_archive(file, {"a/data.pkl": state_of(tensor(ONE, b"K\x09\x85", b"K\x01\x85")), "a/data/0": bytes(4)})


def negative_strides(file: Path) -> None:
    value = tensor(ONE, b"K\x01\x85", b"J\xff\xff\xff\xff\x85")
    written_archive(file, {"a/data.pkl": state_of(value), "a/data/0": bytes(4)})


def giant_storage(file: Path) -> None:
    size = b"\x8a\x20" + b"\xff" * 31 + b"\x7f"
    written_archive(file, {"a/data.pkl": state_of(tensor(storage(b"FloatStorage", size), b")", b")"))})


def complex_numbers(file: Path) -> None:
    value = tensor(storage(b"ComplexFloatStorage", b"K\x01"), b")", b")")
    written_archive(file, {"a/data.pkl": state_of(value), "a/data/0": bytes(8)})


def deep_tuple_as_key(file: Path) -> None:
    """Hashing it would overflow the stack of the process."""
    file.write_bytes(b"\x80\x02}" + b")" + b"\x85" * 200_000 + b"Ns.")


def deep_lists(file: Path) -> None:
    file.write_bytes(b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".")


def many_objects(file: Path) -> None:
    file.write_bytes(b"\x80\x02(" + b"N" * 2_100_000 + b"t.")


def huge_text(file: Path) -> None:
    file.write_bytes(b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b"x" * 100)


def module_within_itself(file: Path) -> None:
    """A generator that is its own part, so that its tree never ends."""
    parts = b"}" + text("_parameters") + b"}s" + text("_buffers") + b"}s"
    start = b"\x80\x02}" + text("G_ema") + b"ctraining.x\nG\n)\x81q\x00"
    file.write_bytes(start + parts + text("_modules") + b"}" + text("a") + b"h\x00ssbs.")


def billion_modules(file: Path) -> None:
    """Thirty levels, each the next one twice: a billion paths in a kilobyte."""
    made = b"\x80\x02}" + text("G_ema")
    leaf = b"}" + text("_parameters") + b"}s" + text("_buffers") + b"}s" + text("_modules") + b"}"
    body = b"N"
    for _ in range(30):
        body = b"ctraining.x\nG\n)\x81" + leaf + text("a") + body + b"q\x05s" + text("b") + b"h\x05ssb"
    file.write_bytes(made + body + b"s.")


def torch_script(file: Path) -> None:
    module = torch.jit.script(torch.nn.Linear(1, 1))
    torch.jit.save(module, str(file))


def tar_archive(file: Path) -> None:
    with tarfile.open(file, "w") as archive:
        archive.add(__file__, "pickle")


def some_archive(file: Path) -> None:
    written_archive(file, {"readme.txt": b"hello"})


def web_page(file: Path) -> None:
    file.write_bytes(b"<!DOCTYPE html><html>Sorry, too many users have viewed this file.</html>")


def other_checkpoint(file: Path) -> None:
    torch.save({"epoch": 3, "model": {"a": torch.ones(1)}}, file)


def not_a_dict(file: Path) -> None:
    torch.save([torch.ones(1)], file)


CLAIMING = [
    compressed_bomb,
    overlapping_bomb,
    path_traversal,
    absolute_path,
    windows_path,
    storage_outside,
    expanded_tensor,
    tensor_beyond_its_storage,
    negative_strides,
    giant_storage,
    complex_numbers,
    deep_tuple_as_key,
    deep_lists,
    many_objects,
    huge_text,
    module_within_itself,
    billion_modules,
    torch_script,
    tar_archive,
    some_archive,
    web_page,
    other_checkpoint,
    not_a_dict,
]


@pytest.mark.filterwarnings("ignore:.torch.jit")
@pytest.mark.parametrize("make", CLAIMING, ids=lambda make: make.__name__)
def test_files_that_claim_what_they_are_not_are_refused(
    make: Callable[[Path], None], models: Path, tmp_path: Path
) -> None:
    file = tmp_path / "model.pth"
    make(file)
    assert "model.pth" in refused(models, file)


@pytest.mark.parametrize("content", [b"", b"x", b"\x80", b"PK\x03\x04", b"PK\x05\x06" + bytes(18), b"\x80\x04."])
def test_scraps_are_refused(content: bytes, models: Path, tmp_path: Path) -> None:
    file = tmp_path / "model.pth"
    file.write_bytes(content)
    refused(models, file)


def test_files_that_are_not_there_are_named(models: Path, tmp_path: Path) -> None:
    for file in (tmp_path / "nowhere.pth", tmp_path / "nowhere.safetensors", tmp_path):
        assert str(file) in refused(models, file)
    refused(models)


# ---- damaged and unfitting weights ---------------------------------------------------------------


def drop_a_key(state: dict[str, Any]) -> None:
    del state["psp_encoder.input_layer.0.weight"]


def add_a_key(state: dict[str, Any]) -> None:
    state["stranger"] = torch.zeros(1)


def change_a_shape(state: dict[str, Any]) -> None:
    state["decoder.backbone.mapping.w_avg"] = torch.zeros(7)


def change_the_head(state: dict[str, Any]) -> None:
    state["triplanenet_encoder.final_head_two.0.weight"] = torch.zeros(24, 31, 3, 3)


def drop_the_head(state: dict[str, Any]) -> None:
    for key in [key for key in state if ".final_head_two." in key]:
        del state[key]


def change_the_numbers(state: dict[str, Any]) -> None:
    state["decoder.backbone.mapping.w_avg"] = torch.zeros(32, dtype=torch.int64)


def spoil_a_number(state: dict[str, Any]) -> None:
    state["decoder.backbone.mapping.w_avg"] = torch.full((32,), torch.nan)


def no_tensor(state: dict[str, Any]) -> None:
    state["decoder.backbone.mapping.w_avg"] = "none"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (drop_a_key, "psp_encoder.input_layer.0.weight is missing"),
        (add_a_key, "stranger is not part of it"),
        (change_a_shape, "decoder.backbone.mapping.w_avg is (7,) instead of (32,)"),
        (change_the_head, "its second number must be 30 or 40"),
        (drop_the_head, "no final_head"),
        (change_the_numbers, "holds int64 instead of float32"),
        (spoil_a_number, "values that are no numbers"),
        (no_tensor, "something other than a tensor"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
@pytest.mark.parametrize("stream", [False, True], ids=["zip", "stream"])
def test_weights_that_do_not_fit_are_named(
    change: Callable[[dict[str, Any]], None],
    told: str,
    stream: bool,
    network: TriPlaneNet,
    average: Path,
    models: Path,
    tmp_path: Path,
) -> None:
    content = official_files.triplanenet_checkpoint(network)
    content["state_dict"] = dict(content["state_dict"])
    change(content["state_dict"])
    file = save(content, tmp_path / "triplanenet_v2_final.pth", stream=stream)
    assert told in refused(models, file, average)


@pytest.mark.parametrize("value", [torch.zeros(3), torch.zeros(32, dtype=torch.int64), torch.full((32,), torch.inf)])
def test_average_codes_that_do_not_fit_are_refused(
    value: torch.Tensor, network: TriPlaneNet, models: Path, tmp_path: Path
) -> None:
    file = save(official_files.triplanenet_checkpoint(network), tmp_path / "triplanenet_v2_final.pth")
    content = {**official_files.generator_checkpoint(network), "latent_avg": value}
    assert "latent_avg" in refused(models, file, save(content, tmp_path / "ffhq512-128.pth"))


@pytest.mark.parametrize("kind", ["zip", "stream", "nvidia"])
def test_files_cut_short_are_refused(
    kind: str, network: TriPlaneNet, average: Path, models: Path, tmp_path: Path
) -> None:
    file = tmp_path / "model.pth"
    others = [average]
    if kind == "nvidia":
        others = []
        save_nvidia(network, file)
    else:
        save(official_files.triplanenet_checkpoint(network), file, stream=kind == "stream")
    whole = file.read_bytes()
    for part in (0.0005, 0.01, 0.3, 0.9, 0.999):
        file.write_bytes(whole[: int(len(whole) * part)])
        refused(models, file, *others)


def test_a_flipped_bit_is_found(network: TriPlaneNet, average: Path, models: Path, tmp_path: Path) -> None:
    file = save(official_files.triplanenet_checkpoint(network), tmp_path / "model.pth")
    content = bytearray(file.read_bytes())
    key = network.decoder.backbone.mapping.w_avg.numpy().tobytes()
    content[content.find(key) + 5] ^= 64
    file.write_bytes(content)
    assert "checksum" in refused(models, file, average)


def test_random_damage_never_escapes(network: TriPlaneNet, tmp_path: Path) -> None:
    """Whatever bytes change, a file is read or refused; nothing else comes out."""
    good = [
        save(official_files.triplanenet_checkpoint(network), tmp_path / "a"),
        save(official_files.triplanenet_checkpoint(network), tmp_path / "b", stream=True),
        save_nvidia(network, tmp_path / "c"),
    ]
    chance = random.Random(0)
    file = tmp_path / "damaged.pth"
    for content in [path.read_bytes() for path in good]:
        for _ in range(25):
            damaged = bytearray(content)
            # Most of a file is numbers: damage its description.
            edge = chance.choice((0, max(0, len(content) - 60_000)))
            for _ in range(chance.randint(1, 8)):
                damaged[edge + chance.randrange(min(60_000, len(content)))] = chance.randrange(256)
            file.write_bytes(damaged)
            try:
                with addition([file], preset_of=tiny_official):
                    pass
            except ModelError:
                pass


# ---- our own format ------------------------------------------------------------------------------


def described(weights: Path, **changes: Any) -> None:
    path = weights.with_suffix(".json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "sha256": file_sha256(weights), **changes}))


@pytest.mark.parametrize(
    "name", ["../../evil", "/evil", "a/b", "..", "synthetic-heads", "", "a" * 300, "x\n", "C:evil"]
)
def test_names_that_lead_elsewhere_are_refused(name: str, models: Path, tmp_path: Path) -> None:
    weights = tiny_weights(tmp_path)
    described(weights, name=name)
    assert "model's name" in refused(models, weights)


def test_damaged_files_of_our_own_are_refused(models: Path, tmp_path: Path) -> None:
    weights = tiny_weights(tmp_path)
    whole = weights.read_bytes()
    header = struct.pack("<Q", 2**60) + b"{}"
    for content in (b"", header, whole[:-1], whole[:100], b"x" * 1000, whole + b"more"):
        weights.write_bytes(content)
        described(weights)
        refused(models, weights)
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert "SHA-256" in refused(models, weights)


def test_numbers_of_our_own_that_are_none_are_refused(models: Path, tmp_path: Path) -> None:
    weights = tiny_weights(tmp_path)
    tensors = load_file(weights)
    save_file({**tensors, "latent_avg": torch.full_like(tensors["latent_avg"], torch.nan)}, weights)
    described(weights)
    assert "no numbers" in refused(models, weights)


def test_presets_beyond_all_measure_are_refused(models: Path, tmp_path: Path) -> None:
    weights = tiny_weights(tmp_path)
    preset = json.loads(weights.with_suffix(".json").read_text())["preset"]
    for value in (60_000, 10**9, -1):
        generator = {**preset["generator"], "channel_base": value, "channel_max": value}
        described(weights, preset={**preset, "generator": generator})
        refused(models, weights)


def test_two_models_at_once_are_refused(average: Path, models: Path, tmp_path: Path) -> None:
    assert "of one kind" in refused(models, average, average)
    assert "alone" in refused(models, average, tiny_weights(tmp_path))
