"""The digest of a JSON document: of what it says, not of how it is written."""

import hashlib
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphprune.files import parsed, unique
from graphprune.sealed import DIGEST, check_seal, digest, seal

leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=12
)
documents = st.dictionaries(st.text().filter(lambda name: name != DIGEST), values, max_size=5)


def written(document: Any, **layout: Any) -> Any:
    """As another program may write it, read back."""
    return parsed(json.dumps(document, **layout))


def finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: finite(each) for name, each in value.items()}
    if isinstance(value, list):
        return [finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@given(documents)
def test_order_and_white_space_do_not_matter(document: dict[str, Any]) -> None:
    sealed = finite(seal(document))
    turned = dict(reversed(sealed.items()))
    for layout in ({"indent": 3}, {"separators": (",", ":")}, {"ensure_ascii": False}):
        assert check_seal(written(turned, **layout))
    assert seal(sealed) == sealed


@given(documents, st.text(), values)
def test_what_a_document_says_matters(document: dict[str, Any], name: str, value: Any) -> None:
    sealed = written(finite(seal(document)))
    changed = sealed | {name: finite(value)}
    if json.dumps(changed) == json.dumps(sealed):
        assert check_seal(changed)
    elif name == DIGEST or name not in document or repr(changed[name]) != repr(sealed[name]):
        with pytest.raises(ValueError, match="altered since it was written"):
            check_seal(changed)


def test_it_is_the_sha_256_of_the_shortest_text() -> None:
    text = b'{"a":[1,2.5,null],"b":{"\\u00e9":true}}'
    assert digest({"b": {"é": True}, "a": [1, 2.5, None]}) == hashlib.sha256(text).hexdigest()
    assert seal({"b": {"é": True}, "a": (1, 2.5, math.nan)})[DIGEST] == hashlib.sha256(text).hexdigest()


def test_numbers_of_other_kinds_are_others() -> None:
    assert len({digest({"a": value}) for value in (1, 1.0, True, "1", [1], None)}) == 6


def test_a_document_without_one_is_not_refused() -> None:
    assert not check_seal({"a": 1})
    for wrong in (None, 7, "", digest({"a": 1}).upper(), [digest({"a": 1})]):
        with pytest.raises(ValueError, match="its digest does not fit"):
            check_seal({"a": 1, DIGEST: wrong})


@pytest.mark.parametrize("text", ['{"a": 1e999, "digest": "0"}', '{"a": NaN, "digest": "0"}'])
def test_what_is_no_json_does_not_fit(text: str) -> None:
    with pytest.raises(ValueError, match="NaN or infinite, which JSON has not"):
        check_seal(json.loads(text))


@given(st.lists(st.tuples(st.text(max_size=2), st.integers()), max_size=6))
def test_a_key_stands_once(members: list[tuple[str, int]]) -> None:
    if len(dict(members)) == len(members):
        assert unique(members) == dict(members)
    else:
        with pytest.raises(ValueError, match="stands twice in one object"):
            unique(members)


def test_nesting_beyond_measure_is_refused() -> None:
    deep: Any = {}
    for _ in range(100_000):
        deep = {"a": deep}
    with pytest.raises(ValueError, match="nested too deeply"):
        check_seal({"a": deep, DIGEST: ""})
