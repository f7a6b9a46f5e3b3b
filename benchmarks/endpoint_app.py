"""The page of ``examples/shop`` with nothing around it: what ``benchmarks.endpoint`` holds against the one by hand."""

from __future__ import annotations

import os
import time

from examples.shop.asyncio_client import AsyncioClient
from examples.shop.limits import BUFFER, QUEUE_TIMEOUT, WORKERS
from examples.shop.start_backends import Places
from examples.shop.web import Shop, application
from rio_chain import Balancer

client = AsyncioClient(Places.from_env(), float(os.environ.get("SHOP_ATTEMPT", "300")))
queue_timeout = float(os.environ.get("SHOP_QUEUE_TIMEOUT", QUEUE_TIMEOUT))
app = application(Shop(client, Balancer(workers=WORKERS, buffer=BUFFER), queue_timeout))


@app.get("/cpu")
async def cpu() -> dict[str, float]:
    """Seconds of processor time so far, of this process."""
    return {"seconds": time.process_time()}
