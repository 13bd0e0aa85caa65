"""What `diagnose` gives: findings, the worst first, and how they are printed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from zth_helpers.text import table

SEVERITIES = ("error", "warning", "note")


def rank(severity: str) -> int:
    """0 for the worst. Raises ValueError for what is no severity."""
    if severity not in SEVERITIES:
        raise ValueError(f"severity={severity!r}: give one of {', '.join(SEVERITIES)}")
    return SEVERITIES.index(severity)


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong; `str` gives it as a sentence. `layer` is "" for the whole network.

    since: the step from which on every sample shows it; samples: how many do. cause: the finding that it
    follows from, as "what, layer", or "" for one that stands for itself. Raises ValueError for a severity
    that is not "error", "warning" or "note".
    """

    severity: str
    layer: str
    what: str
    measured: str
    expected: str
    remedy: str
    since: int = 0
    samples: int = 1
    cause: str = ""

    def __post_init__(self) -> None:
        rank(self.severity)

    def __str__(self) -> str:
        subject = f"{self.layer}: {self.what}" if self.layer else self.what
        return f"{subject} {self.measured}, expected {self.expected}: {self.remedy}"

    @property
    def seen(self) -> str:
        """How sure it is: one sample is little."""
        return f"{self.samples} sample{'s' * (self.samples > 1)} from step {self.since}"

    @property
    def title(self) -> str:
        return f"{self.what}, {self.layer}" if self.layer else self.what


class Findings(list[Finding]):
    """A list of Finding, the worst first. Prints as a table of causes, each with what follows from it in one
    line below; or as "no findings"."""

    @property
    def causes(self) -> list[Finding]:
        """Those that follow from no other."""
        return [finding for finding in self if not finding.cause]

    def following(self, cause: Finding) -> list[Finding]:
        return [finding for finding in self if finding.cause == cause.title]

    def __str__(self) -> str:
        if not self:
            return "no findings"
        header = ("severity", "layer", "what", "measured", "expected", "seen", "remedy")
        causes = self.causes
        rows = [
            (f.severity, f.layer or "(network)", f.what, f.measured, f.expected, f.seen, f.remedy)
            for f in causes
        ]
        head, *lines = table(header, rows).splitlines()
        return "\n".join([head, *(line + self._folded(f) for line, f in zip(lines, causes))])

    __repr__ = __str__

    def _folded(self, cause: Finding) -> str:
        followers = self.following(cause)
        if not followers:
            return ""
        kinds = Counter(f.what for f in followers)
        named = []
        for what, count in kinds.items():
            layers = [f.layer for f in followers if f.what == what and f.layer]
            shown = ", ".join(layers[:3]) + (", …" if len(layers) > 3 else "")
            named.append(f"{what}{f' ({count}: {shown})' if shown else ''}")
        return f"\n  and so: {'; '.join(named)}"

    @property
    def sentences(self) -> str:
        """One line a cause, with how sure it is."""
        if not self:
            return "no findings"
        return "\n".join(f"{f} ({f.seen})" for f in self.causes)


class Alarm(RuntimeError):
    """What `stop_on` raises; `findings` holds what was found."""

    def __init__(self, findings: Findings):
        super().__init__(f"the Monitor found\n{findings}")
        self.findings = findings
