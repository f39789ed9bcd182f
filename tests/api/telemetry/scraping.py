"""Reading ``/metrics`` as Prometheus does."""

import httpx
from prometheus_client.parser import text_string_to_metric_families

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


async def scrape(client: httpx.AsyncClient) -> Samples:
    response = await client.get("/metrics")
    assert response.status_code == 200
    return read_samples(response.text)


def read_samples(text: str) -> Samples:
    families = list(text_string_to_metric_families(text))
    assert len({family.name for family in families}) == len(families)
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    """The sum of the samples that have these labels, whatever others they have."""
    return sum(found for (sample, its), found in samples.items() if sample == name and labels.items() <= set(its))


def label_values(samples: Samples, label: str) -> set[str]:
    return {content for _, labels in samples for name, content in labels if name == label}
