"""The same on trio, for hypercorn. FastAPI, the chains and the balancer are those of asyncio; the client is httpx2."""

from __future__ import annotations

from fastapi import FastAPI

from examples.shop import web
from examples.shop.limits import BUFFER, WORKERS
from examples.shop.monitor import monitored
from examples.shop.start_backends import Places
from examples.shop.traces import Collector, traced
from examples.shop.trio_client import TrioClient
from rio_chain import Balancer


def application(places: Places) -> FastAPI:
    """The page, and what is to be seen of it."""
    collector, runs = Collector(), web.Runs()
    balancer = Balancer(workers=WORKERS, buffer=BUFFER, observers=[traced(collector), runs.observe])
    shop = web.Shop(TrioClient(places), balancer, runs=runs)
    app = web.application(shop)
    app.include_router(monitored(shop, places, collector))
    return app
