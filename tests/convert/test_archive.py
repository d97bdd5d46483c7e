"""Data sets in archives: unpacked, named and removed again; hostile ones are refused."""

import io
import stat
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reprolens.convert import archive
from reprolens.convert.archive import displayed, unpacked
from reprolens.errors import DataError

OMNIGLOT = Path(__file__).parents[2].parent / "shared" / "data" / "omniglot"
FILES = {"train/a.txt": b"one", "train/deep/b.txt": b"two" * 1000}


def make_zip(path: Path, files: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in files.items():
            file.writestr(name, data)
    return path


def make_tar(path: Path, files: Mapping[str, bytes]) -> Path:
    kind = {".gz": "w:gz", ".tgz": "w:gz", ".bz2": "w:bz2", ".xz": "w:xz"}.get(path.suffix, "w")
    with tarfile.open(path, kind) as file:  # type: ignore[call-overload]
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            file.addfile(entry, io.BytesIO(data))
    return path


def content(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["d.zip", "d.ZIP", "d.tar", "d.tar.gz", "d.tgz", "d.tar.bz2", "d.tar.xz"])
def test_archive_of_every_kind_is_a_folder_while_it_is_read(tmp_path: Path, name: str) -> None:
    path = (make_zip if name.lower().endswith(".zip") else make_tar)(tmp_path / name, FILES)
    with unpacked(path) as root:
        assert content(root) == FILES
    assert not root.exists()
    assert content(tmp_path).keys() == {name}


def test_what_is_no_archive_is_left_where_it_is(tmp_path: Path) -> None:
    make_zip(tmp_path / "extra.zip", FILES)
    (tmp_path / "labels.csv").write_text("a,b")
    for path in (tmp_path, tmp_path / "labels.csv", tmp_path / "missing"):
        with unpacked(path) as root:
            assert root == path
            assert displayed(str(root)) == str(path)


def test_archives_beside_a_licence_become_a_folder_each_and_none_is_doubled(tmp_path: Path) -> None:
    make_zip(tmp_path / "one.zip", {f"one/{name}": data for name, data in FILES.items()} | {"__MACOSX/._x": b""})
    make_tar(tmp_path / "two.tar.gz", FILES)
    (tmp_path / "LICENSE").write_text("free")
    (tmp_path / "SOURCE.txt").write_text("there")
    with unpacked(tmp_path) as root:
        assert content(root) == {f"{top}/{name}": data for top in ("one", "two") for name, data in FILES.items()}
        assert displayed(f"{root}/one/train/a.txt: bad") == f"{tmp_path}/one.zip/one/train/a.txt: bad"
        assert displayed(f"{root}/two/train/a.txt") == f"{tmp_path}/two.tar.gz/train/a.txt"
    assert displayed(str(root)) == str(root)


def test_single_folder_of_the_archives_name_is_its_content(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "cars.zip", {f"cars/{name}": data for name, data in FILES.items()})
    with unpacked(path) as root:
        assert content(root) == FILES
        assert displayed(str(root / "x")) == f"{path}/cars/x"
    other = make_zip(tmp_path / "other.zip", FILES)
    with unpacked(other) as root:
        assert content(root).keys() == FILES.keys()


def test_error_while_it_is_read_names_the_archive(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "d.zip", FILES)
    with pytest.raises(DataError) as error, unpacked(path) as root:
        raise DataError(f"{root / 'train' / 'a.txt'}: bad")
    assert str(error.value) == f"{path}/train/a.txt: bad"
    assert not root.exists()


@pytest.mark.skipif(not OMNIGLOT.exists(), reason="the shared data is not here")
def test_omniglot_has_5840_pictures_in_two_archives() -> None:
    with unpacked(OMNIGLOT) as root:
        assert sum(path.suffix == ".png" for path in root.rglob("*")) == 5840
        assert sorted(path.name for path in root.iterdir()) == ["images_background_small1", "images_background_small2"]
        assert not (root / "images_background_small1" / "images_background_small1").exists()


# ---- refused


@pytest.mark.parametrize("make", [make_zip, make_tar])
@pytest.mark.parametrize("name", ["../out.txt", "a/../../out.txt", "/tmp/out.txt", "..\\out.txt", "C:\\out.txt"])
def test_name_that_leads_out_is_refused(tmp_path: Path, make: Callable[..., Path], name: str) -> None:
    path = make(tmp_path / ("d.zip" if make is make_zip else "d.tar"), {"good.txt": b"1", name: b"2"})
    with pytest.raises(DataError, match="outside"), unpacked(path):
        pass
    assert not (tmp_path / "out.txt").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_link_or_device_in_a_tar_is_refused(tmp_path: Path, kind: bytes) -> None:
    entry = tarfile.TarInfo("x")
    entry.type, entry.linkname = kind, "/etc/hostname"
    with tarfile.open(tmp_path / "d.tar", "w") as file:
        file.addfile(entry)
    with pytest.raises(DataError, match="link or a device"), unpacked(tmp_path / "d.tar"):
        pass


def test_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    entry = zipfile.ZipInfo("x")
    entry.create_system, entry.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "d.zip", "w") as file:
        file.writestr(entry, "/etc/hostname")
    with pytest.raises(DataError, match="link or a device"), unpacked(tmp_path / "d.zip"):
        pass


def test_encrypted_zip_is_refused(tmp_path: Path) -> None:
    data = bytearray(make_zip(tmp_path / "d.zip", {"a.txt": b"1"}).read_bytes())
    data[6] |= 1  # the flag in the file's own header, and in the directory at the end
    data[data.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "d.zip").write_bytes(bytes(data))
    with pytest.raises(DataError, match="encrypted"), unpacked(tmp_path / "d.zip"):
        pass


@pytest.mark.parametrize("name", ["d.zip", "d.tar.gz"])
def test_bomb_is_refused_before_it_fills_the_disk(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "FREE_BYTES", 2**20)
    make = make_zip if name.endswith(".zip") else make_tar
    path = make(tmp_path / name, {f"{number}.txt": bytes(2**21) for number in range(8)})
    with pytest.raises(DataError, match="times its size"), unpacked(path):
        pass


def test_more_files_or_bytes_than_the_bounds_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_zip(tmp_path / "d.zip", FILES)
    monkeypatch.setattr(archive, "MOST_FILES", 1)
    with pytest.raises(DataError, match="more than 1 files"), unpacked(path):
        pass
    monkeypatch.setattr(archive, "MOST_BYTES", 100)
    with pytest.raises(DataError, match="unpacks to more than"), unpacked(path):
        pass


def test_name_twice_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "d.zip", "w") as file:
        file.writestr("a.txt", "1")
        with pytest.warns(UserWarning):
            file.writestr("a.txt", "2")
    with pytest.raises(DataError, match="twice"), unpacked(tmp_path / "d.zip"):
        pass


def test_two_archives_of_one_name_are_refused(tmp_path: Path) -> None:
    make_zip(tmp_path / "d.zip", FILES)
    make_tar(tmp_path / "d.tar", FILES)
    with pytest.raises(DataError, match="two archives"), unpacked(tmp_path):
        pass


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data(), name=st.sampled_from(["d.zip", "d.tar", "d.tar.gz", "d.tar.xz", "d.tar.bz2"]))
def test_damaged_archive_is_a_data_error_and_leaves_nothing(data: st.DataObject, tmp_path: Path, name: str) -> None:
    (tmp_path / "in").mkdir(exist_ok=True)
    path = (make_zip if name == "d.zip" else make_tar)(tmp_path / "in" / name, FILES)
    whole = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(whole[: data.draw(st.integers(1, len(whole)))]))
    try:
        with unpacked(path) as root:
            pass
        assert not root.exists()
    except DataError as error:
        assert str(error).startswith(str(path))
    path.unlink()
    assert content(tmp_path) == {}
