"""Random plans give the same Results on Dask as on asyncio."""

from __future__ import annotations

from extras.dask.bodies import remote
from hypothesis import HealthCheck, given, settings
from laws.dag_parts import TIMELESS, Part, chain_of, named_tasks, parts
from laws.dag_runs import INPUT, sure
from laws.dag_uses import using
from laws.dag_values import said

from rio_chain import Balancer


@settings(deadline=None, max_examples=200, suppress_health_check=list(HealthCheck))
@given(part=using(parts(TIMELESS)))
def test_a_random_plan_gives_the_same_result_as_on_asyncio(balancer: Balancer, part: Part) -> None:
    sure(part, timeless=True)  # else two branches fail at once, and which one is first is a matter of time
    chain = chain_of(part, named_tasks(remote))
    there, here = balancer.run(chain(INPUT)), chain(INPUT).run(executor="asyncio")
    assert said(there.result) == said(here.result)
