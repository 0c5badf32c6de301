"""Sets by name: unknown names, options that do not apply, downloads that work, fail or break off."""

import pytest
import requests

from graphprune import data
from graphprune.data.files.download import fetch
from graphprune.data.sets.bundled import path_of
from tests.data.loopback import serve


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("mutag", "MUTAG"),
        ("ogbg-molhvi", "ogbg-molhiv"),
        ("ogbg-moltox", "ogbg-moltox21"),
        ("PROTEIN", "PROTEINS"),
        ("planted_motif", "planted-motif"),
    ],
)
def test_unknown_names_get_the_nearest(name, nearest):
    with pytest.raises(ValueError, match=f"unknown data set '{name}': did you mean .*{nearest}"):
        data.load(name)


@pytest.mark.parametrize("name", ["qqqqqqqq", "~qqqqqqqq", "q" * 999, "q\0"])
def test_a_name_like_no_other_gets_the_list(name):
    with pytest.raises(ValueError, match=r"embedded are ogbg-molhiv, .*root=FOLDER"):
        data.load(name)


@pytest.mark.parametrize("options", [{"fold": 1}, {"split_seed": 1}, {"features": "raw"}])
@pytest.mark.parametrize("name", ["ogbg-molbace", "planted-motif"])
def test_fixed_sets_refuse_the_options_of_folds(name, options):
    with pytest.raises(ValueError, match=f"{name} has one fixed split"):
        data.load(name, **options)


def test_folds_and_seeds_change_the_split():
    digests = {data.load("MUTAG", fold=fold, split_seed=seed).digest() for fold in (0, 1) for seed in (12345, 1)}
    assert len(digests) == 4
    with pytest.raises(ValueError, match="fold must be 0 to 9, got 10"):
        data.load("MUTAG", fold=10)


# ---------------------------------------------------------------------------- downloads


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GRAPHPRUNE_DATA", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize(
    ("name", "file", "expected"),
    [("NCI1", "NCI1.zip", "NCI1_A.txt"), ("ogbg-molclintox", "clintox.zip", "raw/edge.csv.gz")],
)
@pytest.mark.parametrize("fault", [requests.ConnectionError("no route"), requests.Timeout("slow"), OSError("no room")])
def test_without_a_network_set_file_and_remedy_are_named(cache, monkeypatch, name, file, expected, fault):
    def broken(*args, **kwargs):
        raise fault

    monkeypatch.setattr(requests, "get", broken)
    with pytest.raises(ConnectionError, match=rf"data set {name}: .*{file}.*{expected}.*root=FOLDER"):
        data.load(name)
    assert not [path for path in cache.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("content", "cut", "message"),
    [
        (path_of("MUTAG.zip").read_bytes(), 5000, "IncompleteRead"),
        (path_of("MUTAG.zip").read_bytes()[:-200], None, "not a complete zip archive"),
        (b"<html>", None, "not a complete zip archive"),
        (None, None, "404 .*Not Found"),
    ],
)
def test_a_download_that_breaks_off_leaves_nothing(cache, content, cut, message):
    files = {} if content is None else {"NCI1.zip": content}
    with (
        serve(files, {} if cut is None else {"NCI1.zip": cut}),
        pytest.raises(ConnectionError, match=rf"downloading https://.*/NCI1\.zip to {cache}.*{message}.*root=FOLDER"),
    ):
        data.load("NCI1")
    assert not [path for path in cache.rglob("*") if path.is_file()]


def test_a_download_is_kept_and_used_again(cache):
    # The archive of another set: the download works, the set is not in it.
    with serve({"NCI1.zip": path_of("MUTAG.zip").read_bytes()}) as asked:
        for _ in range(2):
            with pytest.raises(FileNotFoundError, match=r"NCI1_graph_indicator\.txt is missing"):
                data.load("NCI1")
    [url] = asked
    assert url.endswith("/NCI1.zip")
    assert [path.name for path in cache.rglob("*") if path.is_file()] == ["NCI1.zip"]


def test_a_fetched_archive_is_the_one_at_the_address(tmp_path):
    content = path_of("MUTAG.zip").read_bytes()
    with serve({"there.zip": content}):
        target = fetch("MUTAG", "http://far.away/there.zip", tmp_path / "new" / "here.zip", "MUTAG_A.txt")
    assert target == tmp_path / "new" / "here.zip" and target.read_bytes() == content
    assert data.load("MUTAG", root=target).digest() == data.load("MUTAG").digest()


def test_a_file_with_another_checksum_is_not_believed(tmp_path):
    file = tmp_path / "here.bin"
    file.write_bytes(b"half a fi")
    sums = {"md5": "4cf8d0ce3b19646eb2ab24e8cbea82c0", "check": bool}
    with serve({"a.bin": b"a whole file", "b.bin": b"another file"}) as asked:
        for _ in range(2):
            assert fetch("x", "http://far.away/a.bin", file, "here.bin", **sums).read_bytes() == b"a whole file"
        assert len(asked) == 1
        with pytest.raises(ConnectionError, match="hash of downloaded file"):
            fetch("x", "http://far.away/b.bin", tmp_path / "b.bin", "b.bin", **sums)
    assert [path.name for path in tmp_path.iterdir()] == ["here.bin"]


@pytest.mark.parametrize("terminal", [True, False])
def test_a_terminal_shows_progress(tmp_path, monkeypatch, capfd, terminal):
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal)
    with serve({"a.bin": b"a whole file"}):
        fetch("x", "http://far.away/a.bin", tmp_path / "a.bin", "a.bin", check=bool)
    shown = capfd.readouterr()
    assert ("100%" in shown.err) == terminal and shown.out == ""


# ---------------------------------------------------------------------------- stored sets


def test_a_stored_set_is_loaded_by_name_from_its_folder(tmp_path):
    bace = data.load("ogbg-molbace")
    small = bace.with_splits(train=bace.train.select(range(9)))
    data.store(small, tmp_path / "set")
    assert data.load("ogbg-molbace", root=tmp_path / "set").digest() == small.digest()
    with pytest.raises(ValueError, match="set holds the stored set 'ogbg-molbace', not 'mine'"):
        data.load("mine", root=tmp_path / "set")
    with pytest.raises(ValueError, match="mine has one fixed split and fixed features: leave out fold"):
        data.load("mine", root=tmp_path / "set", fold=1)
    with pytest.raises(ValueError, match=r"set is the folder of a stored set: load its name with root='.*set'"):
        data.load(str(tmp_path / "set"))
