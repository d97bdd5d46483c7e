"""Files at an address: which of them it is, where they are kept, and what is said of them."""

import shutil
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from models.saying import names
from models.saying import published as by_name
from reprolens.config import Channels, Expected, Model
from reprolens.errors import WeightsError
from reprolens.files import sha256
from reprolens.models import build
from reprolens.models.preprocessing import IMAGENET, Preprocessing
from reprolens.models.weights import fetch, published_weights

DEFAULT = "fcos_mobilenet_v2"
FILE = "mobilenet_v2-b0353104.pth"


def test_published_weights_in_the_cache_are_used_as_they_are(hub: Path, packaged: Path) -> None:
    hub.mkdir(parents=True)
    shutil.copyfile(packaged, hub / FILE)
    before = (hub / FILE).stat()
    assert fetch(f"http://127.0.0.1:9/{FILE}") == hub / FILE
    assert (hub / FILE).stat().st_mtime_ns == before.st_mtime_ns


def test_without_network_the_file_and_its_folder_are_named(hub: Path) -> None:
    with pytest.raises(WeightsError) as caught:
        fetch("http://127.0.0.1:9/mobilenet_v3_large-8738ca79.pth")  # nothing listens on port 9
    names(str(caught.value), "mobilenet_v3_large-8738ca79.pth", f"put the file into {hub}")
    assert list(hub.iterdir()) == []


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Return the address of a web server, and the folder that it shows."""
    folder = tmp_path / "site"
    folder.mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", folder
    server.shutdown()
    thread.join()
    server.server_close()


def test_weights_at_an_address_are_fetched_once_and_read_as_a_file(
    hub: Path, site: tuple[str, Path], options: Callable[..., Model]
) -> None:
    address, folder = site
    state = build(options(DEFAULT), 2).state_dict()
    torch.save({"state_dict": state}, folder / "my-model.pth")
    config = by_name(f"{address.replace('http://', 'http://me:secret@')}/my-model.pth?token=secret")
    with pytest.raises(WeightsError, match=r"my-model\.pth: cannot be downloaded"):
        published_weights(config, options(DEFAULT))  # urllib knows no passwords in addresses
    weights = published_weights(by_name(f"{address}/my-model.pth?token=secret"), options(DEFAULT))
    assert all(torch.equal(value, state[key]) for key, value in weights.state.items())
    assert weights.origin["url"] == weights.origin["name"] == f"{address}/my-model.pth"
    [kept] = hub.glob("*/my-model.pth")
    assert weights.origin["sha256"] == sha256(kept)
    (folder / "my-model.pth").unlink()
    assert set(published_weights(config, options(DEFAULT)).state) == set(state)


def test_files_of_the_same_name_at_two_addresses_are_two_files(hub: Path, site: tuple[str, Path]) -> None:
    address, folder = site
    for name in ("a", "b"):
        (folder / name).mkdir()
        (folder / name / "model.pth").write_text(name)
    for _ in range(2):
        assert [fetch(f"{address}/{name}/model.pth").read_text() for name in ("a", "b")] == ["a", "b"]
    (hub / "model.pth").write_text("somebody's")
    assert fetch(f"{address}/a/model.pth").read_text() == "a"


def test_a_file_that_is_put_where_the_message_says_is_found(hub: Path) -> None:
    with pytest.raises(WeightsError, match="put the file into") as caught:
        fetch("http://127.0.0.1:9/model.pth")
    folder = Path(str(caught.value).partition("put the file into ")[2].partition(",")[0])
    (folder / "model.pth").write_text("by hand")
    assert fetch("http://127.0.0.1:9/model.pth").read_text() == "by hand"


def test_the_user_says_what_the_file_at_an_address_expects(
    hub: Path, site: tuple[str, Path], options: Callable[..., Model]
) -> None:
    address, folder = site
    torch.save(build(options(DEFAULT), 2).state_dict(), folder / "my-model.pth")
    name = f"{address}/my-model.pth"
    assert published_weights(by_name(name), options(DEFAULT)).preprocessing is None
    expects = Expected([1, 2, 3], [4, 5, 6], 255, Channels.BGR)
    found = published_weights(by_name(name, expects), options(DEFAULT)).preprocessing
    assert found == Preprocessing((1, 2, 3), (4, 5, 6), 255, "BGR")


def test_yolox_weights_of_before_release_0_1_1_enter_with_what_they_expected(
    hub: Path, site: tuple[str, Path], options: Callable[..., Model]
) -> None:
    address, folder = site
    state = build(options("yolox_nano"), 80).state_dict()
    names_there = {key: key.replace("backbone.body.", "backbone.backbone.") for key in state}
    names_there = {key: name.replace("backbone.neck.", "backbone.") for key, name in names_there.items()}
    torch.save({"model": {names_there[key]: value for key, value in state.items()}}, folder / "yolox_nano.pth")
    expects = Expected(list(IMAGENET.mean), list(IMAGENET.std), 1.0, Channels.RGB)
    weights = published_weights(by_name(f"{address}/yolox_nano.pth", expects), options("yolox_nano"))
    assert weights.preprocessing == IMAGENET
    assert weights.origin["classes"] == "COCO's 80, assumed: the file names none"


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("ftp://127.0.0.1/a.pth", ("ftp://127.0.0.1/a.pth", "only https:// and http://")),
        ("https://", ("https://", "not the address of a file")),
        ("http://127.0.0.1:9/folder/", ("http://127.0.0.1:9/folder/", "not the address of a file")),
        ("http://127.0.0.1:9/yolox_s.pth", ("yolox_s.pth", "cannot be downloaded", "put the file into")),
    ],
)
def test_an_address_of_which_nothing_comes_is_refused_in_one_line(
    address: str, parts: tuple[str, ...], hub: Path, options: Callable[..., Model]
) -> None:
    with pytest.raises(WeightsError) as caught:
        published_weights(by_name(address), options(DEFAULT))
    names(str(caught.value), *parts)
