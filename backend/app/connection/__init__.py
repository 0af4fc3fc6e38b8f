"""uvicorn's HTTP protocol with limits on what a client may send, hold and leave unread.

The image selects `Connection` through UVICORN_HTTP. `Connections`, which the lifespan hands over in
its state, counts the connections of this process.
"""

from app.connection.limits import LANE, STATE, Connections, client_name, raise_descriptors
from app.connection.protocol import REQUEST_ID, SECURITY_HEADERS, TIMEOUT, Connection

__all__ = [
    "LANE",
    "REQUEST_ID",
    "SECURITY_HEADERS",
    "STATE",
    "TIMEOUT",
    "Connection",
    "Connections",
    "client_name",
    "raise_descriptors",
]
