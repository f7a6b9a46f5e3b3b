"""WSGI: the HTTP status for an Outcome or an error, for Flask, Django and other synchronous applications.

WSGI has no message for a client that leaves. So there is no ``handle`` and no ``ClientGone``: a request whose client
has left runs until it ends or its deadline passes. The table is that of ``contrib.asgi``.
"""

from rio_chain.contrib._statuses import Reply, respond_to

__all__ = ["Reply", "respond_to"]
