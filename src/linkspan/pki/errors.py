"""The error of this package."""

from __future__ import annotations


class PkiError(ValueError):
    """Something cannot be used as a certificate, key or revocation list. Its text is one sentence for a person, without
    a full stop, and never has a part of a key in it."""
