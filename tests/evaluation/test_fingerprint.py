"""What makes two results comparable, field by field."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fusion import Dataset
from fusion.data.splits import Split, leave_last_out, temporal
from fusion.errors import FingerprintError
from fusion.evaluation.fingerprint import Fingerprint, hash_queries, require_same
from fusion.ragged import Ragged


@pytest.fixture
def fingerprint(tiny: Dataset, split: Split) -> Fingerprint:
    return Fingerprint.of(tiny, split, config="c1")


def test_what_it_says(tiny: Dataset, fingerprint: Fingerprint) -> None:
    assert fingerprint.data == tiny.fingerprint
    assert fingerprint.split == "leave_last_out(events=3, min_history=1)"
    assert fingerprint.seen == "excluded"
    assert fingerprint.candidates == "full catalogue"
    assert dict(fingerprint.versions)["numpy"] == np.__version__


def test_equal_inputs_give_equal_hashes(tiny: Dataset, fingerprint: Fingerprint) -> None:
    again = Fingerprint.of(tiny, leave_last_out(tiny, events=3), config="c1")
    assert again == fingerprint
    assert again.digest == fingerprint.digest


def test_config_and_model_libraries_may_differ(fingerprint: Fingerprint) -> None:
    versions = {**dict(fingerprint.versions), "torch": "0.1"}
    other = replace(fingerprint, config="c2", versions=tuple(sorted(versions.items())))
    assert other.protocol == fingerprint.protocol
    assert other.digest != fingerprint.digest
    require_same([fingerprint, other])


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ("data", "the data set"),
        ("order", "the order of a user's events"),
        ("split", "the split"),
        ("seen", "whether seen items are excluded"),
        ("candidates", "the candidate set"),
        ("queries", "the queries or their targets"),
    ],
)
def test_every_part_of_the_protocol_counts(fingerprint: Fingerprint, field, words) -> None:
    other = replace(fingerprint, **{field: "another"})
    assert other.protocol != fingerprint.protocol
    with pytest.raises(
        FingerprintError, match=f"'ease' and 'bert': .*differences in {words} "
    ) as e:
        require_same([fingerprint, fingerprint, other], ["ease", "knn", "bert"])
    assert str(e.value).count("against") == 1


@pytest.mark.parametrize("library", ["recfusion", "numpy"])
def test_versions_of_the_protocol_count(fingerprint: Fingerprint, library) -> None:
    versions = {**dict(fingerprint.versions), library: "0.0.1"}
    other = replace(fingerprint, versions=tuple(sorted(versions.items())))
    with pytest.raises(FingerprintError, match=rf"the {library} version \(.* against 0\.0\.1\)"):
        require_same([fingerprint, other])


def test_several_differences_are_all_named(tiny: Dataset, fingerprint: Fingerprint) -> None:
    other = Fingerprint.of(tiny, temporal(tiny))
    found = fingerprint.differences(other)
    assert len(found) == 2
    assert found[0] == (
        "the split (leave_last_out(events=3, min_history=1) against "
        "temporal(events_per_user=10, fraction=0.2, seed=0))"
    )
    assert found[1].startswith("the queries or their targets (")


def test_queries_hash_sees_every_part(tiny: Dataset, split: Split) -> None:
    base = hash_queries(split.queries, split.targets)
    changed_target = split.targets.values.copy()
    changed_target[0] += 1
    others = [
        hash_queries(split.queries.newest(2), split.targets),
        hash_queries(replace(split.queries, now=split.queries.now + 1), split.targets),
        hash_queries(replace(split.queries, users=split.queries.users[::-1]), split.targets),
        hash_queries(replace(split.queries, excluded=Ragged.empty(len(split))), split.targets),
        hash_queries(split.queries, replace(split.targets, values=changed_target)),
    ]
    assert len({base, *others}) == 6


def test_included_seen_items_are_noticed(tiny: Dataset, split: Split) -> None:
    open_queries = replace(split.queries, excluded=Ragged.empty(len(split)))
    assert Fingerprint.of(tiny, replace(split, queries=open_queries)).seen == "included"


def test_json_round_trip(fingerprint: Fingerprint) -> None:
    assert Fingerprint.from_json(fingerprint.to_json()) == fingerprint


def test_altered_json_is_refused(fingerprint: Fingerprint) -> None:
    with pytest.raises(FingerprintError, match="expected hash"):
        Fingerprint.from_json({**fingerprint.to_json(), "split": "temporal()"})
    value = fingerprint.to_json()
    del value["seen"]
    with pytest.raises(FingerprintError, match=r"no \['seen'\]"):
        Fingerprint.from_json(value)


def test_nothing_to_compare_is_fine(fingerprint: Fingerprint) -> None:
    require_same([])
    require_same([fingerprint])
