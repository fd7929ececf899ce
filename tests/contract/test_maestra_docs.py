"""The documentation and the routes are the same thing."""

from __future__ import annotations

from starlette.routing import Route

from app.server.dialects.maestra.operations import StreamsApi
from tests.fakes.maestra import MaestraVenue

SEED = {
    ("GET", "/streams/types"),
    ("POST", "/streams/types"),
    ("GET", "/streams"),
    ("GET", "/streams/{stream_id}"),
    ("POST", "/streams/advertise"),
    ("DELETE", "/streams/{stream_id}"),
    ("POST", "/streams/{stream_id}/heartbeat"),
    ("POST", "/streams/{stream_id}/request"),
    ("GET", "/streams/sessions"),
    ("GET", "/streams/sessions/history"),
    ("DELETE", "/streams/sessions/{session_id}"),
    ("POST", "/streams/sessions/{session_id}/heartbeat"),
    ("GET", "/streams/state"),
}
"""The seed's thirteen operations."""


def application(maestra: MaestraVenue) -> StreamsApi:
    """The dialect's application inside the broker's port."""
    from app.server.dialects.maestra.routes import build

    broker = maestra.running.broker
    app = build(broker.streams, broker.access, broker.audit)
    assert isinstance(app, StreamsApi)
    return app


async def test_routes_served_are_operations_documented(fresh_maestra: MaestraVenue) -> None:
    app = application(fresh_maestra)
    served = {
        (method, route.path) for route in app.routes if isinstance(route, Route) for method in route.methods or ()
    }
    document = app.openapi()
    documented = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
    assert served == documented == SEED
    hasty = {(method, operation.path) for (method, _, _), (_, operation, _, _) in app._hasty.items()}
    assert hasty < SEED
    assert len(hasty) == 4


async def test_the_document_of_the_port_has_them_with_statuses_and_examples(fresh_maestra: MaestraVenue) -> None:
    document = (await fresh_maestra.http.get("/openapi.json")).json()
    assert {(method.upper(), path) for path, item in document["paths"].items() for method in item} >= SEED
    statuses = {
        (method.upper(), path): set(operation["responses"])
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if (method.upper(), path) in SEED
    }
    everywhere = {"400", "403", "413", "503"}
    assert all(everywhere <= found for found in statuses.values())
    request = statuses["POST", "/streams/{stream_id}/request"]
    assert request == everywhere | {"201", "404", "422", "502", "504"}
    assert statuses["POST", "/streams/types"] == everywhere | {"201", "409", "422"}
    assert statuses["POST", "/streams/{stream_id}/heartbeat"] == everywhere | {"200", "404", "422"}
    schemas = document["components"]["schemas"]
    assert schemas["Advertise"]["examples"][0]["name"] == "Main Stage Camera A"
    assert schemas["Advertise"]["required"] == ["name", "stream_type", "publisher_id", "protocol", "address", "port"]
    assert schemas["Stream"]["properties"]["id"] == {"type": "string", "format": "uuid", "title": "Id"}
    path_id = document["paths"]["/streams/{stream_id}"]["get"]["parameters"][0]
    assert (path_id["in"], path_id["schema"]["format"]) == ("path", "uuid")
