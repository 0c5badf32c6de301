"""What the reference shows that a parser does not see: constructors of attrs classes, and plain names for roles."""

from __future__ import annotations

import inspect
import re
from typing import Any

import attrs
import griffe

_ROLE = re.compile(r":(?:attr|class|data|exc|func|meth|mod|obj):`~?([^`]+)`")


class Signatures(griffe.Extension):
    """Gives every attrs class the constructor that it has when it is imported, and writes roles as Markdown does."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Go through a package once it is parsed."""
        self._walk(pkg)

    def _walk(self, holder: griffe.Object) -> None:
        if holder.docstring:
            holder.docstring.value = _ROLE.sub(r"`\1`", holder.docstring.value)
        for member in list(holder.members.values()):
            if isinstance(member, griffe.Alias):
                continue
            if isinstance(member, griffe.Class) and any("attrs." in str(each.value) for each in member.decorators):
                member.set_member("__init__", _constructor(member))
            self._walk(member)


def _constructor(cls: griffe.Class) -> griffe.Function:
    signature = inspect.signature(griffe.dynamic_import(cls.path))
    parameters = [griffe.Parameter("self", kind=griffe.ParameterKind.positional_or_keyword)]
    for each in signature.parameters.values():
        given = each.default is not inspect.Parameter.empty
        kind = getattr(griffe.ParameterKind, each.kind.name.lower())
        annotation = None if each.annotation is inspect.Parameter.empty else str(each.annotation)
        default = ("..." if each.default is attrs.NOTHING else repr(each.default)) if given else None
        parameters.append(griffe.Parameter(each.name, annotation=annotation, kind=kind, default=default))
    return griffe.Function("__init__", parameters=griffe.Parameters(*parameters), parent=cls)
