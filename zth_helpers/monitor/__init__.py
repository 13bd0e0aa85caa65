"""See inside a network while it trains: `Monitor` records, `diagnose` says in words what is wrong."""

from zth_helpers.monitor.core import Monitor
from zth_helpers.monitor.diagnosis import Finding, Findings, diagnose

__all__ = ["Finding", "Findings", "Monitor", "diagnose"]
