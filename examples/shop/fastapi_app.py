"""The shop on asyncio, for uvicorn: ``application(Places)`` has the page, GraphQL, and what is to be seen of both."""

from __future__ import annotations

from fastapi import FastAPI

from examples.shop import web
from examples.shop.asyncio_client import AsyncioClient
from examples.shop.graphql import graphql
from examples.shop.limits import BUFFER, WORKERS
from examples.shop.monitor import monitored
from examples.shop.start_backends import Places
from examples.shop.traces import Collector, traced
from rio_chain import Balancer


def application(places: Places) -> FastAPI:
    """All of it."""
    collector, runs = Collector(), web.Runs()
    balancer = Balancer(workers=WORKERS, buffer=BUFFER, observers=[traced(collector), runs.observe])
    shop = web.Shop(AsyncioClient(places), balancer, runs=runs)
    app = web.application(shop)
    app.include_router(graphql(shop))
    app.include_router(monitored(shop, places, collector))
    return app
