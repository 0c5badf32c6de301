from pathlib import Path

import pytest

from graphprune.grids.marked import Marked


def read(folder: Path, text: str) -> Marked:
    file = folder / "some.yaml"
    file.write_text(text)
    return Marked.read(file)


def test_values_and_the_lines_they_stand_on(tmp_path: Path) -> None:
    marked = read(tmp_path, "# a comment\na: &x\n  b: 1\n  c: [1,\n    two]\nd:\n  <<: *x\n  b: 0.5\n")
    assert marked.content == {"a": {"b": 1, "c": [1, "two"]}, "d": {"b": 0.5, "c": [1, "two"]}}
    lines = {("a",): 2, ("a", "b"): 3, ("a", "c", 1): 5, ("d", "b"): 8, ("d", "c"): 4}
    assert {place: marked.line(place) for place in lines} == lines
    assert marked.line(("d", "b", "deeper", 3)) == 8
    assert str(marked.error(("a", "c"), "is wrong")).endswith("some.yaml, line 4: is wrong")


def test_an_empty_file_holds_nothing(tmp_path: Path) -> None:
    marked = read(tmp_path, "")
    assert marked.content is None
    assert marked.line(("a",)) == 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\nb: 2\na: 3\n", "line 3: a stands here twice"),
        ("a:\n  - [1, 2\nb: 3\n", "line 3: "),
        ("a: *nobody\n", "line 1: found undefined alias"),
        ("a: 1\n---\nb: 2\n", "line 2: but found another document"),
        ("a: 1\nb: !!python/object:os.system x\n", "line 2: could not determine a constructor"),
        ("a: 1\n[1, 2]: 3\n", "line 2: a key must be a word"),
        ("a: &a [*a]\n", "is not YAML"),
        ("a: \x00", "is not YAML"),
    ],
)
def test_what_is_no_yaml_is_told_with_its_line(text: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"some\.yaml") as error:
        read(tmp_path, text)
    assert problem in str(error.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.yaml"):
        Marked.read(tmp_path / "nowhere.yaml")
    with pytest.raises(ValueError, match="cannot be read"):
        Marked.read(tmp_path)
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(ValueError, match="cannot be read"):
        Marked.read(tmp_path / "bytes.yaml")
