"""A cluster that takes only connections with a certificate of its authority, as the guide sets it up."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from extras.dask.bodies import plus

from rio_chain import Balancer, DaskExecutor, Task, UsageError, each

OPENSSL = shutil.which("openssl")


def certificates(folder: Path) -> dict[str, str]:
    """An authority, and a certificate that it has signed: ``ca.pem``, ``me.pem`` and ``key.pem``."""

    def openssl(*args: str) -> None:
        subprocess.run([str(OPENSSL), *args], cwd=folder, check=True, capture_output=True)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", "-x509", *key, "-keyout", "ca-key.pem", "-out", "ca.pem", "-subj", "/CN=authority", "-days", "1")
    openssl("req", *key, "-keyout", "key.pem", "-out", "me.csr", "-subj", "/CN=cluster")
    signed = ("-CA", "ca.pem", "-CAkey", "ca-key.pem", "-CAcreateserial", "-days", "1")
    openssl("x509", "-req", "-in", "me.csr", *signed, "-out", "me.pem")
    return {name: str(folder / f"{name}.pem") for name in ("ca", "me", "key")}


@pytest.mark.skipif(OPENSSL is None, reason="needs the command openssl")
def test_a_cluster_with_tls_takes_only_clients_with_a_certificate(distributed: Any, tmp_path: Path) -> None:
    files = certificates(tmp_path)
    security = distributed.Security(
        require_encryption=True,
        tls_ca_file=files["ca"],
        **{f"tls_{role}_cert": files["me"] for role in ("client", "scheduler", "worker")},
        **{f"tls_{role}_key": files["key"] for role in ("client", "scheduler", "worker")},
    )
    options: dict[str, Any] = {"n_workers": 1, "threads_per_worker": 2, "dashboard_address": "127.0.0.1:0"}
    with distributed.LocalCluster(**options, protocol="tls://", security=security) as cluster:
        address = cluster.scheduler_address
        assert address.startswith("tls://")
        with Balancer(DaskExecutor(address, security=security)) as balancer:
            assert balancer.run(each(Task(plus))([1, 2])).unwrap() == [2, 3]
        began = time.monotonic()
        with pytest.raises(UsageError, match=r"no Dask scheduler answers at tls://.*look whether .* `security=`"):
            Balancer(DaskExecutor(address, connect_timeout=1_000)).__enter__()
        with pytest.raises(UsageError, match="no Dask scheduler answers"):
            Balancer(DaskExecutor(address.replace("tls", "tcp"), connect_timeout=1_000)).__enter__()
        assert time.monotonic() - began < 10
