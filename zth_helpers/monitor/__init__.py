"""See inside a network while it trains: `Monitor` records, `diagnose` says in words what is wrong."""

from zth_helpers.monitor.core import Monitor
from zth_helpers.monitor.diagnosis import diagnose, stop_on
from zth_helpers.monitor.export import tensorboard, to_dict, to_json_lines, write_to
from zth_helpers.monitor.findings import Alarm, Finding, Findings
from zth_helpers.monitor.plain_layers import named_parameters
from zth_helpers.monitor.rules import Thresholds
from zth_helpers.monitor.statistics import statistic

__all__ = [
    "Alarm",
    "Finding",
    "Findings",
    "Monitor",
    "Thresholds",
    "diagnose",
    "named_parameters",
    "statistic",
    "stop_on",
    "tensorboard",
    "to_dict",
    "to_json_lines",
    "write_to",
]
