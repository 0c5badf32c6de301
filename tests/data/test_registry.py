"""Sets by name: unknown names, options that do not apply, downloads that work, fail or break off."""

import http.client
import io
import shutil
import urllib.error
import urllib.request

import pytest

from graphprune import data
from graphprune.data.files.download import fetch
from graphprune.data.sets.bundled import path_of


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


def test_a_name_like_no_other_gets_the_list():
    with pytest.raises(ValueError, match=r"embedded are ogbg-molhiv, .*root=FOLDER"):
        data.load("qqqqqqqq")


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
@pytest.mark.parametrize(
    "fault", [urllib.error.URLError("no route"), http.client.IncompleteRead(b"x"), TimeoutError("slow")]
)
def test_without_a_network_set_file_and_remedy_are_named(cache, monkeypatch, name, file, expected, fault):
    def broken(*args, **kwargs):
        raise fault

    monkeypatch.setattr(urllib.request, "urlopen", broken)
    with pytest.raises(ConnectionError, match=rf"data set {name}: .*{file}.*{expected}.*root=FOLDER"):
        data.load(name)
    assert not [path for path in cache.rglob("*") if path.is_file()]


def test_a_download_that_breaks_off_leaves_nothing(cache, monkeypatch):
    content = path_of("MUTAG.zip").read_bytes()
    monkeypatch.setattr(urllib.request, "urlopen", lambda *args, **kwargs: io.BytesIO(content[:-200]))
    with pytest.raises(ConnectionError, match="not a complete zip archive"):
        data.load("NCI1")
    assert not [path for path in cache.rglob("*") if path.is_file()]


def test_a_download_is_kept_and_used_again(cache, monkeypatch):
    asked = []

    def answer(url, timeout):
        asked.append(url)
        return path_of("MUTAG.zip").open("rb")

    monkeypatch.setattr(urllib.request, "urlopen", answer)
    # The archive of another set: the download works, the set is not in it.
    for _ in range(2):
        with pytest.raises(FileNotFoundError, match=r"NCI1_graph_indicator\.txt is missing"):
            data.load("NCI1")
    [url] = asked
    assert url.endswith("/NCI1.zip")
    assert [path.name for path in cache.rglob("*") if path.is_file()] == ["NCI1.zip"]


def test_a_fetched_archive_is_the_one_at_the_address(tmp_path):
    source = shutil.copy(path_of("MUTAG.zip"), tmp_path / "there.zip")
    target = fetch("MUTAG", source.as_uri(), tmp_path / "new" / "here.zip", "MUTAG_A.txt")
    assert target.read_bytes() == source.read_bytes()
    assert data.load("MUTAG", root=target).digest() == data.load("MUTAG").digest()
