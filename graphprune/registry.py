"""Things by name: the package's own, and plug-ins that other packages register as entry points."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import suppress
from importlib.metadata import entry_points
from typing import TypeVar

T = TypeVar("T")


class Registry(MutableMapping[str, T]):
    """The package's things of one kind and those of an entry-point group.

    A plug-in's code is imported when its name is looked up. In its ``pyproject.toml``::

        [project.entry-points."graphprune.methods"]
        mine = "my_package.pruning:Mine"

    Without a package, ``registry["mine"] = Mine`` does the same in this process; that raises TypeError where it is
    nothing of this kind, and ValueError where the name is taken.

    Looking up a plug-in raises ImportError if its code cannot be imported, and TypeError if it is nothing of this kind;
    the text names the plug-in. :meth:`faults` finds these out, and :meth:`working` has the others.

    Args:
        group: of the entry points.
        own: the package's things; a plug-in cannot take their names.
        fits: whether something is of this kind and may go by that name: (name, thing) -> bool.
        kind: what is looked for, in words, for the error.
    """

    def __init__(self, group: str, own: Mapping[str, T], fits: Callable[[str, object], bool], kind: str) -> None:
        self.group = group
        self._own, self._fits, self._kind = dict(own), fits, kind

    def __getitem__(self, name: str) -> T:
        if name in self._own:
            return self._own[name]
        for plugin in entry_points(group=self.group, name=name):
            try:
                thing: T = plugin.load()
            except Exception as error:  # whatever its code raises while it is imported
                raise ImportError(
                    f"plug-in {name!r} ({plugin.value}) fails to import: {type(error).__name__}: {error}; mend or "
                    f"uninstall the package that registers it in {self.group}"
                ) from error
            if not self._fits(name, thing):
                raise TypeError(
                    f"plug-in {name!r} ({plugin.value}) of {self.group}: not {self._kind.format(name=name)}"
                )
            return thing
        raise KeyError(name)

    def __setitem__(self, name: str, thing: T) -> None:
        if not self._fits(name, thing):
            raise TypeError(f"{thing!r}: not {self._kind.format(name=name)}")
        if name in self and self[name] is not thing:
            raise ValueError(f"{name!r} is {self[name]!r} already; take another name")
        self._own[name] = thing

    def __delitem__(self, name: str) -> None:
        del self._own[name]

    def __iter__(self) -> Iterator[str]:
        yield from self._own
        yield from sorted({plugin.name for plugin in entry_points(group=self.group)} - self._own.keys())

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def find(self, name: str, option: str) -> T:
        """The thing of this name, for an option that asks for it.

        Raises:
            ValueError: there is none; the text has all names, and the nearest one.
        """
        if name in self:
            return self[name]
        near = difflib.get_close_matches(name, self, n=1, cutoff=0.5)
        guess = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"{option} must be one of {', '.join(self)}, got {name!r}{guess}")

    def name_of(self, thing: T) -> str | None:
        """The name by which a thing is found; None: it has none."""
        for name in self:
            with suppress(ImportError, TypeError):  # of plug-ins that cannot be used
                if self[name] is thing:
                    return name
        return None

    def working(self) -> dict[str, T]:
        """All but the plug-ins that cannot be used."""
        broken = self.faults().keys() - self._own.keys()
        return {name: self[name] for name in self if name not in broken}

    def faults(self) -> dict[str, str]:
        """The plug-ins that cannot be used, with the reason."""
        found = {
            plugin.name: f"plug-in {plugin.name!r} ({plugin.value}) is not used: graphprune has one of that name"
            for plugin in entry_points(group=self.group)
            if plugin.name in self._own
        }
        for name in self:
            try:
                self[name]
            except (ImportError, TypeError) as error:
                found[name] = str(error)
        return found
