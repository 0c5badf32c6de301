"""YAML files of options: what is read, what is refused and on which line, and that nothing stands for gigabytes."""

import json
import tracemalloc
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from graphprune.grids.file import read_grid
from graphprune.limits import VARIABLE, LimitExceeded
from graphprune.runs.config import RunConfig
from graphprune.runs.options import read_yaml
from graphprune.runs.yaml_text import parsed, read

WORDS = st.text("abcxyz", min_size=1, max_size=4)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=20,
)


@given(PLAIN)
def test_what_is_written_is_read(content: object) -> None:
    assert parsed(yaml.safe_dump(content), "here") == content


MERGED = {
    "a: &a {lr: 0.1}\nb: &b {<<: *a, lr: 0.2}\nc: *b\n": {"a": {"lr": 0.1}, "b": {"lr": 0.2}, "c": {"lr": 0.2}},
    "a: &a {lr: 0.1}\nb: &b {lr: 0.2, <<: *a}\nc: {<<: *b}\n": {"a": {"lr": 0.1}, "b": {"lr": 0.2}, "c": {"lr": 0.2}},
    "a: &a {x: 1}\nb: &b {x: 2, y: 3}\nc: {<<: [*a, *b]}\n": {
        "a": {"x": 1},
        "b": {"x": 2, "y": 3},
        "c": {"x": 1, "y": 3},
    },
    "a: &a {x: 1}\nb: &b {<<: *a, x: 2}\nc: &c {<<: *b, x: 3}\nd: [*b, *c, {<<: *c}]\n": {
        "a": {"x": 1},
        "b": {"x": 2},
        "c": {"x": 3},
        "d": [{"x": 2}, {"x": 3}, {"x": 3}],
    },
    "a: &a {x: {y: 1}}\nb: {<<: *a, x: {z: 2}}\n": {"a": {"x": {"y": 1}}, "b": {"x": {"z": 2}}},
    "a: &a {x: 1}\nb: {<<: *a, <<: *a, x: 2}\n": {"a": {"x": 1}, "b": {"x": 2}},
    "a: &a [1, 2]\nb: *a\nc: [*a, *a]\n": {"a": [1, 2], "b": [1, 2], "c": [[1, 2], [1, 2]]},
}


@pytest.mark.parametrize("text", MERGED)
def test_anchors_and_merge_keys(text: str) -> None:
    assert parsed(text, "here") == MERGED[text] == json.loads(json.dumps(yaml.safe_load(text)))


def test_merge_keys_in_a_run_and_in_a_grid(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(
        "method: {name: dense}\ndata: {name: MUTAG}\nfit: {<<: {lr: 0.1, epochs: 2}, lr: 0.2}\n"
        "model: {name: gin, hidden: 4}\n"
    )
    config = RunConfig.load(file)
    assert (config.fit["lr"], config.fit["epochs"]) == (0.2, 2)
    file.write_text(
        "data: [MUTAG]\nmodels: [{name: gin, hidden: 4}]\nmethods:\n"
        "- &a {name: imp, weight_rate: 0.1}\n- &b {<<: *a, weight_rate: 0.2, label: b}\n"
        "- {<<: *b, weight_rate: 0.3, label: c}\nseeds: [0]\n"
    )
    assert [cell.config.method["weight_rate"] for cell in read_grid(file).cells] == [0.1, 0.2, 0.3]


WRONG = {
    "x: 1\na: !!timestamp x\n": "line 2: 'x' is no timestamp",
    "a: !!timestamp\n": "line 1: '' is no timestamp",
    "a: !!bool maybe\n": "line 1: 'maybe' is no bool",
    "a: !!bool 1\n": "line 1: '1' is no bool",
    "a: 2024-13-45\n": "line 1: '2024-13-45' is no timestamp; a word needs quotes here",
    "a:\n- 2023-02-29\n": "line 2: '2023-02-29' is no timestamp",
    "a: 2024-01-01 99:00:00\n": "line 1: '2024-01-01 99:00:00' is no timestamp",
    "a: !!int x\n": "line 1: 'x' is no int",
    "a: !!int ''\n": "line 1: '' is no int",
    "a: !!float y\n": "line 1: 'y' is no float",
    "a: !!binary '='\n": "is not YAML",
    "a: !!set {x, y}\n": "no plain data, such as options are made of",
    "a: &a [*a]\n": "line 1: a holds itself",
    "a: &a {b: [1, {c: *a}]}\n": "line 1: a holds itself",
    "a: 1\nb: 2\na: 3\n": "line 3: a stands here twice",
    "a: {b: 1, b: 1}\n": "line 1: b stands here twice",
    "<<: 3\n": "expected a mapping or list of mappings",
}


@pytest.mark.parametrize("text", WRONG)
def test_what_cannot_be_read_is_told_with_file_and_line(text: str, tmp_path: Path) -> None:
    file = tmp_path / "it.yaml"
    file.write_text(text)
    for reader in (read, read_yaml, RunConfig.load, read_grid):
        with pytest.raises(ValueError, match=r"it\.yaml") as caught:
            reader(file)
        assert WRONG[text] in str(caught.value)


@given(st.text("a:{}[],&*!<- \n'\"0129.|>?#%", max_size=40))
def test_any_text_is_read_or_refused_by_name(text: str) -> None:
    try:
        parsed(text, "here")
    except ValueError as error:
        assert str(error).startswith("here")


def doubled(times: int, more: str = "") -> str:
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, times)]
    return "\n".join(lines) + more


BOMBS = {
    "lists": doubled(30),
    "nine times nine": "\n".join(
        ["a0: &a0 [lol,lol,lol,lol,lol,lol,lol,lol,lol]"]
        + [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    ),
    "mappings": "\n".join(["a0: &a0 {x: 1}"] + [f"a{n}: &a{n} {{x: *a{n - 1}, y: *a{n - 1}}}" for n in range(1, 30)]),
    "merged": "\n".join(["a0: &a0 {x: 1}"] + [f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}" for n in range(1, 30)]),
    "one long word": f"a: &a {'x' * 1_000_000}\nb: [{', '.join(['*a'] * 1000)}]",
    "many values": "a: [" + "1," * 200_000 + "]",
}


@pytest.mark.parametrize("kind", BOMBS)
def test_little_text_that_stands_for_much_is_refused(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "it.yaml"
    file.write_text(BOMBS[kind])
    tracemalloc.start()
    try:
        for reader in (read, read_yaml, read_grid):
            with pytest.raises(
                LimitExceeded, match=r"it\.yaml, line \d+: [\d,]+ values so far.* more than the 100,000 "
            ):
                reader(file)
        assert tracemalloc.get_traced_memory()[1] < 200_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("times", range(1, 8))
def test_an_alias_counts_as_what_it_stands_for(times: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def size(value: object) -> int:
        inner = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else []
        return 1 + sum(map(size, inner))

    text = doubled(times)
    whole = size(yaml.safe_load(text))
    monkeypatch.setenv(VARIABLE, f"yaml={whole}")
    parsed(text, "here")
    monkeypatch.setenv(VARIABLE, f"yaml={whole - 1}")
    with pytest.raises(LimitExceeded):
        parsed(text, "here")


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "it.yaml"
    with file.open("wb") as stream:
        stream.truncate(1 << 40)  # a hole
    for reader in (read, read_yaml, RunConfig.load, read_grid):
        with pytest.raises(LimitExceeded, match=r"it\.yaml has 1,099,511,627,776 bytes, more than the 16,777,216 that"):
            reader(file)
