"""Limits: which one holds for whom, how far it is used, and how it is set and told."""

from hypothesis import given
from hypothesis import strategies as st

from broker.core.controller.quotas import ClientQuotas
from broker.core.describe.quotas import ANY, DEFAULT, EXACT, describe
from broker.core.errors import Code
from broker.core.metadata.image import Image, load
from broker.core.quota.limits import CLIENT, CONSUMER, PRODUCER, USER, Limit, key_of, limit
from broker.core.quota.usage import MAX_DELAY_MS, Usage
from broker.wire.messages.alter_client_quotas import AlterClientQuotasRequest, EntityPart, OpData, QuotaChange
from broker.wire.messages.describe_client_quotas import ComponentData, DescribeClientQuotasRequest

LEVELS = [
    ((USER, "u"), (CLIENT, "c")),
    ((USER, "u"), (CLIENT, None)),
    ((USER, "u"),),
    ((USER, None), (CLIENT, "c")),
    ((USER, None), (CLIENT, None)),
    ((USER, None),),
    ((CLIENT, "c"),),
    ((CLIENT, None),),
]


@given(st.sets(st.sampled_from(range(len(LEVELS))), min_size=1))
def test_the_most_special_limit_holds(levels):
    quotas = {key_of(LEVELS[level]): {PRODUCER: float(level + 1)} for level in levels}
    found = limit(quotas, PRODUCER, "u", "c")
    assert found is not None
    assert found.bytes_per_s == min(levels) + 1
    assert limit(quotas, CONSUMER, "u", "c") is None


def test_clients_of_a_user_share_its_limit_but_not_that_of_the_default_client():
    shared = {key_of(((USER, "u"),)): {PRODUCER: 1.0}}
    assert limit(shared, PRODUCER, "u", "a").shared_by == limit(shared, PRODUCER, "u", "b").shared_by
    own = {key_of(((CLIENT, None),)): {PRODUCER: 1.0}}
    assert limit(own, PRODUCER, "u", "a").shared_by != limit(own, PRODUCER, "u", "b").shared_by


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=60), st.integers(1000, 10_000))
def test_whoever_waits_as_told_keeps_to_the_limit(sizes, rate):
    usage, now_ms = Usage(), 0
    for size in sizes:
        now_ms += usage.used(Limit(float(rate), ("p", "u", "c")), size, now_ms) + 1
    allowed = rate * (now_ms / 1000 + 1) + max(sizes)
    assert sum(sizes) <= allowed


def test_a_burst_of_a_second_costs_nothing_and_more_is_waited_for():
    usage, one = Usage(), Limit(1000.0, ("p", "u", "c"))
    assert usage.used(one, 1000, 0) == 0
    assert usage.used(one, 500, 0) == 500
    assert usage.used(one, 1, 5000) == 0, "it has run out again"


def test_no_wait_is_longer_than_the_bound_and_nothing_is_owed_for_ever():
    usage, one = Usage(), Limit(10.0, ("p", "u", "c"))
    assert usage.used(one, 1 << 30, 0) == MAX_DELAY_MS
    assert usage.used(one, 1, 3 * MAX_DELAY_MS) == 0


class Pipeline:
    def __init__(self):
        self.image = Image()

    def stage(self, record):
        self.image.apply(record)

    def commit(self, now_ms):
        pass


def entity(**parts):
    names = {"user": USER, "client": CLIENT}
    return tuple(EntityPart(entity_type=names.get(kind, kind), entity_name=name) for kind, name in parts.items())


def alter(pipeline, who, *ops, validate_only=False):
    change = QuotaChange(entity=who, ops=ops)
    (result,) = (
        ClientQuotas(pipeline)
        .alter(AlterClientQuotasRequest(entries=(change,), validate_only=validate_only), 0)
        .entries
    )
    return result.error_code


def described(image, *components, strict=False):
    answer = describe(image, DescribeClientQuotasRequest(components=components, strict=strict))
    return [
        (
            tuple((part.entity_type, part.entity_name) for part in entry.entity),
            {one.key: one.value for one in entry.values},
        )
        for entry in answer.entries or ()
    ]


def test_limits_are_set_told_and_taken_away():
    pipeline = Pipeline()
    assert alter(pipeline, entity(client="c", user="u"), OpData(key=PRODUCER, value=5.0)) == 0
    assert alter(pipeline, entity(user=None), OpData(key=CONSUMER, value=7.0)) == 0
    image = load(pipeline.image.dump())
    both, anybody = (((CLIENT, "c"), (USER, "u")), {PRODUCER: 5.0}), (((USER, None),), {CONSUMER: 7.0})
    assert sorted(described(image), key=str) == sorted([both, anybody], key=str)
    assert described(image, ComponentData(entity_type=USER, match_type=EXACT, match="u")) == [both]
    assert described(image, ComponentData(entity_type=USER, match_type=DEFAULT)) == [anybody]
    any_user = ComponentData(entity_type=USER, match_type=ANY)
    assert len(described(image, any_user)) == 2
    assert described(image, any_user, strict=True) == [anybody]
    assert alter(pipeline, entity(client="c", user="u"), OpData(key=PRODUCER, remove=True)) == 0
    assert described(pipeline.image) == [anybody]


def test_quotas_that_hold_nobody_back_are_kept_and_told():
    pipeline = Pipeline()
    assert alter(pipeline, entity(client="c"), OpData(key="request_percentage", value=12.5)) == 0
    assert alter(pipeline, entity(user="u"), OpData(key="controller_mutation_rate", value=10.0)) == 0
    assert alter(pipeline, entity(ip="10.0.0.1"), OpData(key="connection_creation_rate", value=5.0)) == 0
    assert alter(pipeline, entity(ip=None), OpData(key="connection_creation_rate", value=6.0)) == 0
    image = load(pipeline.image.dump())
    any_address = ComponentData(entity_type="ip", match_type=ANY)
    assert sorted(described(image, any_address), key=str) == [
        ((("ip", "10.0.0.1"),), {"connection_creation_rate": 5.0}),
        ((("ip", None),), {"connection_creation_rate": 6.0}),
    ]
    assert len(described(image)) == 4
    assert limit(image.quotas, PRODUCER, "u", "c") is None


def test_what_makes_no_sense_is_refused_and_changes_nothing():
    pipeline = Pipeline()
    good = OpData(key=PRODUCER, value=5.0)
    for who, ops in (
        (entity(user="u"), (good, OpData(key="no_such", value=1.0))),
        (entity(user="u"), (OpData(key=PRODUCER, value=0.0),)),
        (entity(ip="10.0.0.1"), (good,)),
        (entity(ip="nowhere at all"), (OpData(key="connection_creation_rate", value=1.0),)),
        (entity(ip="10.0.0.1", user="u"), (OpData(key="connection_creation_rate", value=1.0),)),
        (entity(user="u"), (OpData(key=PRODUCER, value=5.5),)),
        (entity(user="u"), (OpData(key=PRODUCER, value=float("inf")),)),
        (entity(user="u"), (OpData(key="connection_creation_rate", value=1.0),)),
        (entity(user=""), (good,)),
        ((), (good,)),
    ):
        assert alter(pipeline, who, *ops) == Code.INVALID_REQUEST
    assert alter(pipeline, entity(user="u"), good, validate_only=True) == 0
    assert pipeline.image.quotas == {}
