"""The guarded door in front of a model process: the authenticated control port, metrics and health.

It runs beside the model process in the same pod and talks to it over a unix socket, so that nothing in
the model process has to listen on the network for orders. It knows neither torch nor Kubernetes.

The way of an order, and the file of each step:

    listener.py     a connection is accepted and counted
    connection.py   it has shaken hands in time (limits.py) and may live for one request
    tls.py          its certificate is one of those that trust.py read from the mounted folder
    streams.py      TLS itself, on what OpenSSL checks
    http1.py        one request is read from it
    control.py      the request is an order (orders.py) for this pod
    upstream.py     the model process answers it over the unix socket
    problems.py     whatever went wrong on the way (errors.py) becomes a problem+json answer
"""

from .server import Sidecar
from .settings import Settings

__all__ = ["Settings", "Sidecar"]
