"""Methods by name: the package's own, and plug-ins that other packages register."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points

from graphprune.methods.core.method import Method

GROUP = "graphprune.methods"


class Registry(Mapping[str, type[Method]]):
    """The package's methods and those of the entry-point group ``graphprune.methods``.

    A plug-in's code is imported when its method is looked up. In its ``pyproject.toml``::

        [project.entry-points."graphprune.methods"]
        mine = "my_package.pruning:Mine"

    Args:
        own: the package's methods; a plug-in cannot take their names.
    """

    def __init__(self, *own: type[Method]) -> None:
        self._own = {method.name: method for method in own}

    def __getitem__(self, name: str) -> type[Method]:
        if name in self._own:
            return self._own[name]
        for plugin in entry_points(group=GROUP, name=name):
            method = plugin.load()
            if not (isinstance(method, type) and issubclass(method, Method) and method.name == name):
                raise TypeError(f"plug-in {plugin.value}: not a Method with name = {name!r}")
            return method
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        yield from self._own
        yield from sorted({plugin.name for plugin in entry_points(group=GROUP)} - self._own.keys())

    def __len__(self) -> int:
        return sum(1 for _ in self)
