"""experiments.cluster: Ray Tune with the same objective, on a cluster of two nodes on this machine."""

from __future__ import annotations

import os

import pytest

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.sweep


def test_two_nodes_share_the_trials(tmp_path, monkeypatch):
    from ray.cluster_utils import Cluster

    from experiments import cluster
    from tools.lesson import ROOT

    for name, value in {"ZTH_NAMES": "shipped", "RAY_DEDUP_LOGS": "0", "PYTHONPATH": str(ROOT)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    two = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        two.add_node(num_cpus=1)
        two.wait_for_nodes()
        # Most of the time goes into the start of one process a node, which loads torch.
        found = cluster.search("mlp", {"steps": 100, "checks": 2}, 3, tmp_path, address=two.address)
        assert len(found) == 3 and not found.errors
        assert all(result.metrics["dev"] < 3.3 and result.metrics["state"] == "done" for result in found)
        assert len({result.metrics["node"] for result in found}) == 2
        assert len({str(result.config) for result in found}) == 3
    finally:
        ray.shutdown()
        two.shutdown()
        os.environ.pop("RAY_ADDRESS", None)
