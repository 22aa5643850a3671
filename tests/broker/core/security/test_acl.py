"""Access rules: who may do what, against a plain definition."""

from hypothesis import given
from hypothesis import strategies as st

from broker.core.security.acl import Authorizer, Filter, Operation, Pattern, Permission, Question, ResourceType, Rule

USERS = ["User:a", "User:b"]
HOSTS = ["10.0.0.1", "10.0.0.2"]
NAMES = ["t", "t1", "x"]
OPERATIONS = [Operation.READ, Operation.WRITE, Operation.DESCRIBE, Operation.ALTER_CONFIGS, Operation.DESCRIBE_CONFIGS]

rules = st.builds(
    Rule,
    resource_type=st.sampled_from([ResourceType.TOPIC, ResourceType.GROUP]),
    resource_name=st.sampled_from([*NAMES, "*"]),
    pattern=st.sampled_from([Pattern.LITERAL, Pattern.PREFIXED]),
    principal=st.sampled_from([*USERS, "User:*"]),
    host=st.sampled_from([*HOSTS, "*"]),
    operation=st.sampled_from([*OPERATIONS, Operation.ALL]),
    permission=st.sampled_from([Permission.ALLOW, Permission.DENY]),
)
questions = st.builds(
    Question,
    st.sampled_from(USERS),
    st.sampled_from(HOSTS),
    st.sampled_from(OPERATIONS),
    st.sampled_from([ResourceType.TOPIC, ResourceType.GROUP]),
    st.sampled_from(NAMES),
)
IMPLIED = {
    Operation.DESCRIBE: [Operation.READ, Operation.WRITE, Operation.DELETE, Operation.ALTER],
    Operation.DESCRIBE_CONFIGS: [Operation.ALTER_CONFIGS],
}


def rule(operation=Operation.READ, permission=Permission.ALLOW, name="t", pattern=Pattern.LITERAL, who="User:a"):
    return Rule(
        resource_type=ResourceType.TOPIC,
        resource_name=name,
        pattern=pattern,
        principal=who,
        host="*",
        operation=operation,
        permission=permission,
    )


def asks(operation=Operation.READ, name="t", who="User:a"):
    return Question(who, "10.0.0.1", operation, ResourceType.TOPIC, name)


def allows(given, question, *, supers=(), open_=False):
    return Authorizer(supers, allow_if_no_rule=open_).allows({one.key: one for one in given}, 1, question)


def by_definition(given, question, open_):
    """The text of Kafka's documentation, rule by rule."""

    def about(one):
        literal = one.pattern == Pattern.LITERAL and one.resource_name in {question.name, "*"}
        prefix = one.pattern == Pattern.PREFIXED and question.name.startswith(one.resource_name)
        wildcard = one.pattern == Pattern.PREFIXED and one.resource_name == "*"
        return one.resource_type == question.resource_type and (literal or (prefix and not wildcard))

    def mine(one):
        return one.principal in {question.principal, "User:*"} and one.host in {question.host, "*"}

    present = [one for one in given if about(one)]
    if not present:
        return open_
    for one in present:
        if mine(one) and one.permission == Permission.DENY and one.operation in {question.operation, Operation.ALL}:
            return False
    wanted = {question.operation, Operation.ALL, *IMPLIED.get(question.operation, [])}
    return any(mine(one) and one.permission == Permission.ALLOW and one.operation in wanted for one in present)


@given(st.lists(rules, max_size=6), questions, st.booleans())
def test_the_decision_is_the_one_of_the_definition(given_rules, question, open_):
    assert allows(given_rules, question, open_=open_) == by_definition(given_rules, question, open_)


def test_without_a_rule_nobody_may_anything():
    assert not allows([], asks())
    assert allows([], asks(), open_=True)
    assert not allows([rule(who="User:b")], asks(), open_=True), "there is a rule about the topic"


def test_a_super_user_may_everything_even_what_is_denied():
    assert allows([rule(permission=Permission.DENY)], asks(), supers=["User:a"])


def test_what_denies_wins():
    assert not allows([rule(), rule(permission=Permission.DENY, who="User:*")], asks())


def test_who_may_read_may_describe_but_not_the_other_way_round():
    assert allows([rule(Operation.READ)], asks(Operation.DESCRIBE))
    assert not allows([rule(Operation.DESCRIBE)], asks(Operation.READ))
    assert allows([rule(), rule(Operation.DESCRIBE, Permission.DENY)], asks()), "reading itself was not denied"


def test_a_decision_is_forgotten_when_a_rule_comes_or_goes():
    authorizer = Authorizer((), allow_if_no_rule=False)
    present = {rule().key: rule()}
    assert authorizer.allows(present, 1, asks())
    assert not authorizer.allows({}, 2, asks())


def test_any_resource_is_one_that_no_rule_takes_away_whole():
    anything = asks(name=None)
    assert allows([rule(name="p", pattern=Pattern.PREFIXED)], anything)
    assert not allows([rule(), rule(permission=Permission.DENY)], anything)
    assert not allows([rule(), rule(permission=Permission.DENY, name="*")], anything)
    assert allows([rule(), rule(permission=Permission.DENY, name="x")], anything)
    prefixed = rule(name="p", pattern=Pattern.PREFIXED)
    assert allows([prefixed, rule(permission=Permission.DENY, name="p")], anything), "p1 is left"
    assert not allows([prefixed, rule(permission=Permission.DENY, name="p", pattern=Pattern.PREFIXED)], anything)


def test_any_resource_is_one_without_a_rule_where_that_means_yes():
    anything = asks(name=None)
    assert allows([], anything, open_=True)
    assert allows([rule(permission=Permission.DENY)], anything, open_=True)
    assert not allows([rule(who="User:b", name="*")], anything, open_=True), "a rule is about all"


def test_a_filter_by_match_finds_every_rule_that_affects_the_name():
    literal, prefix, wildcard, other = (
        rule(name="orders"),
        rule(name="ord", pattern=Pattern.PREFIXED),
        rule(name="*"),
        rule(name="x"),
    )
    wanted = Filter(resource_name="orders", pattern=Pattern.MATCH)
    assert [wanted.matches(one) for one in (literal, prefix, wildcard, other)] == [True, True, True, False]
    assert [Filter(resource_name="ord", pattern=Pattern.PREFIXED).matches(one) for one in (literal, prefix)] == [
        False,
        True,
    ]
