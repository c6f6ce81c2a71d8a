"""Dry runs in the OpenAPI document: the parameter, and the answer beside that of the request itself."""

from __future__ import annotations

from typing import Final

import msgspec

from linkspan.api.http.operation import Operation, closed, ref
from linkspan.api.openapi.crud import parameter
from linkspan.core.foresight import dry_runs
from linkspan.core.schema.attribute_types import Boolean

_SCHEMA: Final = "DryRun"
PARAMETER: Final = parameter(
    dry_runs.PARAMETER,
    Boolean().schema(),
    "true: check the request, carry nothing out, and answer which connections would feel it",
)


def with_dry_run(operation: Operation) -> Operation:
    """The operation, which may also be asked for a dry run."""
    return msgspec.structs.replace(
        operation,
        parameters=(*operation.parameters, PARAMETER),
        schemas={**operation.schemas, _SCHEMA: dry_runs.ANSWER},
        rehearsed=closed(**{dry_runs.ENVELOPE: ref(_SCHEMA)}),
    )
