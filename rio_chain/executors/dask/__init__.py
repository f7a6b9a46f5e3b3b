"""Dask distributed: pieces of chains run on the workers of a cluster. It needs the extra ``rio-chain[dask]``.

Only ``_cluster`` imports ``distributed``.
"""

from rio_chain.executors.dask._executor import DaskExecutor

__all__ = ["DaskExecutor"]
