"""The causes that a connection is not as desired: each is declared once, in `core.diagnosis.catalogue`.

The code is a stable API; sentences may change. docs/diagnosis.md lists them. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from linkspan.core.diagnosis.catalogue.authentication import AUTHENTICATION
from linkspan.core.diagnosis.catalogue.child import CHILD
from linkspan.core.diagnosis.catalogue.data import DATA
from linkspan.core.diagnosis.catalogue.declared import Declared, LayerName, Severity
from linkspan.core.diagnosis.catalogue.ike import IKE
from linkspan.core.diagnosis.catalogue.intent import INTENT
from linkspan.core.diagnosis.catalogue.life import LIFE
from linkspan.core.diagnosis.catalogue.node import NODE
from linkspan.core.diagnosis.catalogue.path import PATH
from linkspan.core.diagnosis.codes import Code

_UNKNOWN: Final = Declared(
    code="UNKNOWN",
    layer="ike",
    title="not known",
    sentence="the tunnel is not up, and nothing says why",
    confidence=0.0,
    ours="see the agent's log",
    peers="see its log",
)

CAUSES: Final[Mapping[Code, Declared]] = {
    cause.code: cause
    for cause in (
        *INTENT,
        *NODE,
        *PATH,
        *IKE,
        *AUTHENTICATION,
        *CHILD,
        *LIFE,
        *DATA,
        _UNKNOWN,
    )
}
"""Every cause by its code, in the order of the layers."""
_BY_TEXT: Final[Mapping[str, Declared]] = {cause.code: cause for cause in CAUSES.values()}


def sentence(code: Code, variant: str = "", **values: object) -> str:
    """The sentence of a cause with these values."""
    declared = CAUSES[code]
    return (declared.variants[variant] if variant else declared.sentence).format(**values)


def layer_of(code: str) -> LayerName | None:
    """The layer of a cause; None for a code that is not declared, such as that of a newer agent."""
    declared = declaration(code)
    return declared.layer if declared else None


def severity_of(code: str) -> Severity | None:
    """The severity of a cause; None as in `layer_of`."""
    declared = declaration(code)
    return declared.severity if declared else None


def declaration(code: str) -> Declared | None:
    """The declaration of a cause; None as in `layer_of`."""
    return _BY_TEXT.get(code)


def root(codes: Collection[Code]) -> Code | None:
    """The first of several causes that none of the others explains; None without any."""
    return next((code for code in codes if not set(CAUSES[code].depends_on) & set(codes)), next(iter(codes), None))
