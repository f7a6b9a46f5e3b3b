"""WSGI: which HTTP status an Outcome or an error becomes, for Flask, Django and other synchronous applications.

WSGI does not say when a client leaves, so there is no ``handle`` and no ``ClientGone``: a request whose client has left
runs on to its end or to its deadline. The table is that of ``contrib.asgi``.
"""

from rio_chain.contrib._statuses import Reply, respond_to

__all__ = ["Reply", "respond_to"]
