"""Collections of Neutron of which Linkspan has no objects: clients list them beside routers, and read empty lists."""

from __future__ import annotations

from typing import Final

import msgspec

from linkspan.api.http.messages import Request, Response, ok
from linkspan.api.http.operation import Operation, closed
from linkspan.api.http.route import Route
from linkspan.core import printable
from linkspan.core.errors import ApiError


class Absent(msgspec.Struct, frozen=True):
    """A collection without objects. `not_found` and `message`: the 404 of one, the latter with a place for its id;
    `instead`: what to do in the place of creating one. Both are empty of what is only listed."""

    path: str
    plural: str
    help: str
    not_found: str = ""
    message: str = ""
    instead: str = ""

    def routes(self) -> list[Route]:
        """All paths."""
        path = f"/v2.0/{self.path}"
        routes = [Route("GET", path, self.list, operation=_list(self))]
        if self.not_found:
            routes += [
                Route("GET", f"{path}/{{id}}", self.find, operation=_show(self)),
                # Without an operation, because it always refuses.
                Route("POST", path, self.create, bodiless=True),
            ]
        return routes

    def list(self, _request: Request) -> Response:
        """No objects."""
        return ok({self.plural: []})

    def find(self, request: Request) -> Response:
        """Raises ApiError: there is no such object."""
        raise ApiError(self.not_found, self.message.format(printable.harmless(request.id)))

    def create(self, _request: Request) -> Response:
        """Raises ApiError, which says what to do."""
        raise ApiError("BadRequest", f"Linkspan has no {self.help}: {self.instead}.")


ABSENT: Final = (
    Absent(
        "floatingips",
        "floatingips",
        "floating IPs",
        "FloatingIPNotFound",
        "Floating IP {} could not be found",
        "its gateways do no NAT, so reach the hosts behind them through a VPN connection",
    ),
    Absent(
        "security-groups",
        "security_groups",
        "security groups",
        "SecurityGroupNotFound",
        "Security group {} does not exist",
        "gateways are guarded without any, so filter the traffic of hosts where they run",
    ),
    Absent(
        "security-group-rules",
        "security_group_rules",
        "security group rules",
        "SecurityGroupRuleNotFound",
        "Security group rule {} does not exist",
        "gateways are guarded without any, so filter the traffic of hosts where they run",
    ),
    Absent("availability_zones", "availability_zones", "availability zones"),
)


def routes() -> list[Route]:
    """The paths of every collection without objects."""
    return [route for absent in ABSENT for route in absent.routes()]


def _list(absent: Absent) -> Operation:
    return Operation(
        id=f"list_{absent.plural}",
        tag="about",
        summary=f"an empty list: there are no {absent.help}",
        answer=closed(**{absent.plural: {"type": "array", "maxItems": 0}}),
    )


def _show(absent: Absent) -> Operation:
    return Operation(
        id=f"show_{absent.plural.removesuffix('s')}",
        tag="about",
        summary=f"always a 404: there are no {absent.help}",
        refusals=(absent.not_found,),
    )
