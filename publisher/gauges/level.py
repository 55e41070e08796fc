"""A gauge as it is exported: its name, what it tells, and its value by label."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from prometheus_client.core import GaugeMetricFamily


class Level(NamedTuple):
    """One gauge as it was measured."""

    name: str
    text: str
    values: Mapping[str, float]
    """By the value of `label`; of a gauge without label, under the empty string."""
    label: str | None = None

    @classmethod
    def of(cls, name: str, text: str, value: float | None) -> Level:
        """A gauge without label; None is not exported."""
        return cls(name, text, {} if value is None else {"": value})

    def family(self) -> GaugeMetricFamily:
        """For an exporter."""
        from prometheus_client.core import GaugeMetricFamily  # which who shows a level himself does not wait for

        family = GaugeMetricFamily(self.name, self.text, labels=[self.label] if self.label else [])
        for label, value in self.values.items():
            family.add_metric([label] if self.label else [], value)
        return family
