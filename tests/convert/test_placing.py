"""Laws of putting pictures into the VOC folder: the user's files and DVC's cache are never at risk."""

import hashlib
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from reprolens.convert.placing import clear_stale, dvc_caches, place
from reprolens.files import atomic_folder

NAMES = ("edited.jpg", "replaced.jpg", "deleted.jpg")


def _repository(root: Path, settings: str = "") -> Path:
    """Make a DVC repository without Git that holds pictures in data/."""
    for folder in (root / ".dvc", root / "data"):
        folder.mkdir(parents=True)
    (root / ".dvc" / "config").write_text(f"[core]\n    analytics = false\n    no_scm = True\n{settings}")
    for name in NAMES:
        (root / "data" / name).write_bytes(random.Random(name).randbytes(5000))
    return root


def _dvc(root: Path, *commands: str) -> str:
    """Run several commands of DVC in one process, since it takes a second to start; return what it says."""
    script = "import sys\nfrom dvc.cli import main\nfor line in sys.argv[1:]:\n    assert main(line.split()) == 0, line"
    environment = os.environ | {"DVC_SITE_CACHE_DIR": str(root / ".dvc" / "tmp" / "site")}
    command = [sys.executable, "-c", script, *commands]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _can_reflink(folder: Path) -> bool:
    (folder / "one").write_bytes(b"x" * 5000)
    return place(folder / "one", folder / "two") == "reflinked"


def _objects(cache: Path) -> dict[str, bytes]:
    """Return the content of every object of a cache by its name."""
    paths = [path for path in cache.glob("files/md5/*/*") if not path.name.startswith(".")]
    return {f"{path.parent.name}{path.name}": path.read_bytes() for path in paths}


@pytest.mark.parametrize("kind", ["copy", "hardlink", "symlink"])
def test_what_becomes_of_the_source_changes_neither_the_pictures_nor_the_cache(kind: str, tmp_path: Path) -> None:
    root = _repository(tmp_path / "repository", f"[cache]\n    type = {kind}\n")
    before = {name: (root / "data" / name).read_bytes() for name in NAMES}
    _dvc(root, "add -q data")
    (root / "out").mkdir()
    ways = {place(root / "data" / name, root / "out" / name, dvc_caches(root)) for name in NAMES}
    if not _can_reflink(tmp_path):
        assert ways == {"copied" if kind == "copy" else "linked"}
    _dvc(root, "add -q out", "unprotect -q data")

    with (root / "data" / "edited.jpg").open("r+b") as file:
        file.write(b"other")
    (root / "other").write_bytes(b"other")
    (root / "other").replace(root / "data" / "replaced.jpg")
    (root / "data" / "deleted.jpg").unlink()

    assert {name: (root / "out" / name).read_bytes() for name in NAMES} == before
    objects = _objects(root / ".dvc" / "cache")
    assert all(hashlib.md5(data).hexdigest() == name.removesuffix(".dir") for name, data in objects.items())
    assert set(before.values()) <= set(objects.values())
    said = _dvc(root, "status")
    assert "data.dvc" in said
    assert "out.dvc" not in said


def test_a_link_is_read_only_and_is_the_caches_own_file(tmp_path: Path) -> None:
    if _can_reflink(tmp_path):
        pytest.skip("this file system has reflinks, which need no links")
    root = _repository(tmp_path / "repository")
    cache, source = tmp_path / "shared", root / "data" / NAMES[0]
    object = _cache(cache, source)
    assert place(source, tmp_path / "picture.jpg", [cache]) == "linked"
    assert (tmp_path / "picture.jpg").samefile(object)
    assert not (tmp_path / "picture.jpg").stat().st_mode & 0o222


def _cache(cache: Path, source: Path, symlink: bool = False) -> Path:
    """Do to a file what DVC does when it takes it into its cache."""
    digest = hashlib.md5(source.read_bytes()).hexdigest()
    object = cache / "files" / "md5" / digest[:2] / digest[2:]
    object.parent.mkdir(parents=True, exist_ok=True)
    source.replace(object)
    object.chmod(0o444)
    if symlink:
        source.symlink_to(object)
    else:
        source.hardlink_to(object)
    return object


@pytest.mark.parametrize(
    "case", ["plain", "read-only", "own links", "writable link", "symlink", "unknown cache", "no cache"]
)
def test_a_file_that_dvc_does_not_protect_is_never_linked(case: str, tmp_path: Path) -> None:
    source, target, cache = tmp_path / "a.jpg", tmp_path / "placed.jpg", tmp_path / "cache"
    source.write_bytes(b"picture")
    caches = [] if case == "no cache" else [cache]
    if case == "read-only":
        source.chmod(0o444)
    if case == "own links":  # as rsync --link-dest or a backup program leaves them
        (tmp_path / "backup.jpg").hardlink_to(source)
        source.chmod(0o444)
    if case == "writable link":  # somebody made it so with chmod
        _cache(cache, source)
        source.chmod(0o644)
    if case == "symlink":
        (tmp_path / "real.jpg").write_bytes(source.read_bytes())
        (tmp_path / "real.jpg").chmod(0o444)
        source.unlink()
        source.symlink_to(tmp_path / "real.jpg")
    if case == "unknown cache":
        _cache(tmp_path / "other", source, symlink=True)
    if case == "no cache":
        _cache(cache, source)
    mode = source.stat().st_mode
    assert place(source, target, caches) in ("copied", "reflinked")
    assert not target.is_symlink()
    assert not target.samefile(source)
    assert target.stat().st_nlink == 1
    assert target.stat().st_mode & 0o200
    target.write_bytes(b"changed")
    assert source.read_bytes() == b"picture"
    assert source.stat().st_mode == mode


def test_a_link_to_a_repositorys_file_leads_to_the_cache_too(tmp_path: Path) -> None:
    if _can_reflink(tmp_path):
        pytest.skip("this file system has reflinks, which need no links")
    (tmp_path / "a.jpg").write_bytes(b"picture")
    (tmp_path / "b.jpg").write_bytes(b"another")
    objects = [_cache(tmp_path / "cache", tmp_path / "a.jpg"), _cache(tmp_path / "cache", tmp_path / "b.jpg", True)]
    for name, object in zip("ab", objects, strict=True):
        (tmp_path / f"link to {name}").symlink_to(tmp_path / f"{name}.jpg")
        assert place(tmp_path / f"link to {name}", tmp_path / f"placed {name}", [tmp_path / "cache"]) == "linked"
        assert (tmp_path / f"placed {name}").samefile(object)
        assert not (tmp_path / f"placed {name}").is_symlink()


def test_what_cannot_be_linked_is_copied(tmp_path: Path) -> None:
    other = Path("/dev/shm")
    if not (other.is_dir() and os.access(other, os.W_OK) and other.stat().st_dev != tmp_path.stat().st_dev):
        pytest.skip("there is no second file system here")
    folder = other / f"reprolens-{os.getpid()}"
    folder.mkdir()
    try:
        (folder / "a.jpg").write_bytes(b"picture")
        _cache(folder / "cache", folder / "a.jpg")
        assert place(folder / "a.jpg", tmp_path / "a.jpg", [folder / "cache"]) == "copied"
        assert (tmp_path / "a.jpg").read_bytes() == b"picture"
    finally:
        shutil.rmtree(folder)


def test_nothing_is_ever_overwritten(tmp_path: Path) -> None:
    (tmp_path / "own.jpg").write_bytes(b"own")
    (tmp_path / "link.jpg").symlink_to(tmp_path / "own.jpg")
    (tmp_path / "a.jpg").write_bytes(b"picture")
    for source in (tmp_path / "a.jpg", b"picture"):
        for target in ("own.jpg", "link.jpg", "a.jpg"):
            with pytest.raises(FileExistsError):
                place(source, tmp_path / target)
    assert (tmp_path / "own.jpg").read_bytes() == b"own"
    assert (tmp_path / "a.jpg").read_bytes() == b"picture"


def test_bytes_are_written_and_a_missing_source_leaves_nothing(tmp_path: Path) -> None:
    assert place(b"picture", tmp_path / "a.jpg") == "copied"
    assert (tmp_path / "a.jpg").read_bytes() == b"picture"
    for caches in ((), (tmp_path / "cache",)):
        with pytest.raises(FileNotFoundError):
            place(tmp_path / "missing.jpg", tmp_path / "b.jpg", caches)
    assert not (tmp_path / "b.jpg").exists()


# ---- caches


@pytest.mark.parametrize(
    ("config", "local", "expected"),
    [
        ("", "", ".dvc/cache"),
        ("[cache]\n    dir = ../shared\n", "", "shared"),
        ("[cache]\n    dir = ../shared  # of all\n", '[cache]\ndir = "{root}/own cache"\n', "own cache"),
        ("['remote \"store\"']\n    url = s3://bucket\n[cache]\n    type = hardlink\n", "", ".dvc/cache"),
        ("no configuration at all", "[cache]\ntype = reflink,copy\n", ".dvc/cache"),
    ],
)
def test_the_cache_is_where_dvc_has_it(config: str, local: str, expected: str, tmp_path: Path) -> None:
    root = tmp_path.resolve()
    (root / ".dvc").mkdir()
    (root / ".dvc" / "config").write_text(config)
    if local:
        (root / ".dvc" / "config.local").write_text(local.replace("{root}", str(root)))
    assert dvc_caches(root / "data" / "train") == (root / expected,)


def test_dvc_itself_says_the_same(tmp_path: Path) -> None:
    root = _repository(tmp_path.resolve() / "repository", "[cache]\n    dir = ../../shared\n")
    assert [Path(line) for line in _dvc(root, "cache dir").split()] == list(dvc_caches(root))


def test_data_that_is_a_link_into_another_repository_brings_that_ones_cache(tmp_path: Path) -> None:
    root = tmp_path.resolve()
    for name in ("repository", "workspace"):
        (root / name / ".dvc").mkdir(parents=True)
    (root / "repository" / "data").mkdir()
    (root / "workspace" / "data").symlink_to(root / "repository" / "data")
    expected = (root / "workspace" / ".dvc" / "cache", root / "repository" / ".dvc" / "cache")
    assert dvc_caches(root / "workspace" / "data") == expected
    (root / "workspace" / ".dvc" / "config.local").write_text(f'[cache]\ndir = "{expected[1]}"\n')
    assert dvc_caches(root / "workspace" / "data") == expected[1:]


def test_outside_of_a_repository_there_is_no_cache(tmp_path: Path) -> None:
    if any((folder / ".dvc").is_dir() for folder in tmp_path.resolve().parents):
        pytest.skip("temporary files lie in a DVC repository here")
    assert dvc_caches(tmp_path, tmp_path / "missing") == ()


# ---- what a killed conversion left

KILLED = """
import os, sys
from pathlib import Path
from reprolens.files import atomic_folder
out, moment = Path(sys.argv[1]), sys.argv[2]
replace = Path.replace
def die(self, target):
    if moment == "between" and self.name.startswith(".voc-"):
        os._exit(9)
    return replace(self, target)
Path.replace = die
with atomic_folder(out) as folder:
    (folder / "labels.txt").write_text("new")
    if moment == "writing":
        os._exit(9)
"""


@pytest.mark.parametrize("moment", ["writing", "between"])
def test_what_a_killed_conversion_left_goes_and_the_last_whole_one_stays(moment: str, tmp_path: Path) -> None:
    out = tmp_path / "data" / "voc"
    with atomic_folder(out) as folder:
        (folder / "labels.txt").write_text("old")
    kept = [".voc.index", ".voc-notes", ".voc-original", ".other-abcdefgh", ".voc-abcdefgh.txt"]
    for name in kept:
        (out.parent / name).mkdir()
    (out.parent / ".voc-abcdefgh").write_text("a file")
    (out.parent / ".voc-zzzzzzzz").symlink_to(out.parent / ".voc-notes")
    subprocess.run([sys.executable, "-c", KILLED, str(out), moment], check=False)
    assert len(list(out.parent.iterdir())) > len(kept) + 3 - (moment == "between")
    clear_stale(out)
    assert {path.name for path in out.parent.iterdir()} == {"voc", ".voc-abcdefgh", ".voc-zzzzzzzz", *kept}
    assert (out / "labels.txt").read_text() == "old"
    clear_stale(tmp_path / "nowhere" / "voc")
