"""The same as a synchronous Flask application: blocking functions, and a balancer on threads."""

from __future__ import annotations

from flask import Flask, Response, jsonify, request

from examples.shop.chains import Chains, Missing
from examples.shop.limits import DEADLINE, QUEUE_TIMEOUT, counts, urgency
from rio_chain import Balancer, Deadline, RioError
from rio_chain.contrib.asgi import readiness
from rio_chain.contrib.wsgi import Reply, respond_to


def application(chains: Chains, balancer: Balancer) -> Flask:
    """The page. The server has a thread for each request, which waits while the balancer's threads make the calls."""
    app = Flask("shop")

    @app.get("/products/<int:number>")
    def product(number: int) -> Response:
        try:
            outcome = balancer.run(
                chains.page(number),
                deadline=Deadline.from_headers(request.headers, default=DEADLINE, cap=DEADLINE),
                priority=urgency(request.headers.get("authorization")),
                queue_timeout=QUEUE_TIMEOUT,
                on_full="reject",
            )
        except RioError as error:
            return answered(respond_to(error))
        if outcome.ok:
            return jsonify(outcome.value)
        return answered(respond_to(outcome, statuses={Missing: 404}))

    @app.get("/ready")
    def ready() -> Response:
        return answered(readiness(balancer))

    @app.get("/stats")
    def stats() -> Response:
        return jsonify(counts(balancer.stats()))

    return app


def answered(reply: Reply) -> Response:
    """What is not the page, as JSON."""
    response = jsonify({"detail": reply.detail})
    response.status_code = reply.status
    response.headers.update(reply.headers)
    return response
