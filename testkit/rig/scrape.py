"""A page of metrics, parsed by the parser of Prometheus's own client."""

import re

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

_NAME = re.compile(r"^[a-zA-Z_:][a-zA-Z0-9_:]*", re.MULTILINE)


class Scrape:
    """What one request of /metrics gave. Raises ValueError where the parser does."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.names: set[str] = set(_NAME.findall(text))
        """The names of all samples, exactly as they are exposed."""
        self._samples = [self._as_exposed(sample) for sample in _parse(text)]

    def _as_exposed(self, sample: Sample) -> Sample:
        # The parser gives every counter its "_total", whether it was there or not.
        if sample.name in self.names:
            return sample
        return sample._replace(name=sample.name.removesuffix("_total"))

    def total(self, name: str, **labels: str) -> float:
        """Return the sum over the samples of that name which have these labels; 0 for none."""
        return sum(
            sample.value
            for sample in self._samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def by(self, name: str, label: str, **labels: str) -> dict[str, float]:
        """Return the values of a metric by one of its labels, of samples with these others."""
        return {
            sample.labels[label]: sample.value
            for sample in self._samples
            if sample.name == name and labels.items() <= sample.labels.items()
        }


def _parse(text: str) -> list[Sample]:
    families = text_string_to_metric_families(text)
    return [sample for family in families for sample in family.samples]
