"""Bounds of the values that API and agents exchange, for their types: what does not fit is refused at decoding.

An id becomes a part of paths and of names of the machine, an address a part of rules: the reader checks them where they
arrive, whoever sent them.
"""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

from linkspan.core import printable

_UUID: Final = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"

ObjectId = Annotated[str, Meta(pattern=rf"^{_UUID}\Z")]
"""The id of an object, in lower case."""
OptionalId = Annotated[str, Meta(pattern=rf"^({_UUID})?\Z")]
Counter = Annotated[int, Meta(ge=0, le=2**63 - 1)]
"""A revision, a generation, a number of objects."""
Number = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]
"""An attribute, in the range of its column."""
ShortText = Annotated[str, Meta(max_length=255)]
Reason = Annotated[str, Meta(max_length=1000)]
Keyword = Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,32}\Z")]
"""The name of an algorithm."""
Word = Annotated[str, Meta(pattern=r"^[ -~]{0,64}\Z")]
"""A version, the name of an algorithm, or a code."""
Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]

_PRINTABLE: Final = printable.pattern(r"\x00-\x1f").replace("$", r"\Z")
ShownText = Annotated[str, Meta(max_length=255, pattern=_PRINTABLE)]
"""Words of peers and of charon, which reach terminals."""
ShownReason = Annotated[str, Meta(max_length=1000, pattern=_PRINTABLE)]
