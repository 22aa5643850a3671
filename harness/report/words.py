"""What each anomaly and each verdict means, in a user's words: the only place where the report's prose lives.

An anomaly's entry says which guarantee is broken (a sentence about Kafka, not about the checker) and how to say in one
clause what happened. The order of `MEANINGS` is the order of the cards: root causes before what follows from them
(a log with two values at one offset makes every later order question arbitrary), lost and false data before order,
order before liveness. A class that is missing here is still shown, by its name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from checkers.append.consistency import WEAKER, strongest_left
from harness.report.meanings import MEANINGS, Meaning

LOSS = "lost-write"

VerdictWord = Literal["valid", "vacuous", "unknown", "invalid", "no verdict"]


_RANK = {name: rank for rank, name in enumerate(MEANINGS)}


def meaning(name: str) -> Meaning:
    """Return what the anomaly means; an unknown class gets its name as the title and no guarantee of ours."""
    known = MEANINGS.get(name) or MEANINGS.get(_base(name))
    if known is not None:
        return known
    title = name.replace("-", " ").capitalize()
    return Meaning(title, "", f"case of {name}", f"cases of {name}")


def severity(name: str, permitted_by: object) -> tuple[bool, int, str]:
    """Return a sort key: worst and root cause first; what the configuration permits after what nothing permits.

    A variant (`G1c-realtime`) stands right behind what it is a variant of.
    """
    return (bool(permitted_by), _RANK.get(name, _RANK.get(_base(name), len(_RANK))), name)


def _base(name: str) -> str:
    return name.removesuffix("-process").removesuffix("-realtime")


def verdict_word(valid: object) -> VerdictWord:
    """Return the verdict as a word for the value of "valid" in verdict.json; None (no verdict.json): no verdict."""
    if valid is True:
        return "valid"
    if valid is False:
        return "invalid"
    if valid == "vacuous":
        return "vacuous"
    return "no verdict" if valid is None else "unknown"


def counted(count: int, one: str, many: str) -> str:
    """Return "1 thing" or "1,234 things"."""
    return f"{count:,} {one if count == 1 else many}"


def happened(name: str, count: int) -> str:
    """Return what happened in a clause: "3 acknowledged records are gone"."""
    words = meaning(name)
    return counted(count, words.one, words.many)


def headline(word: VerdictWord, anomalies: Mapping[str, Any], reasons: Sequence[str], faults: int) -> str:
    """Return the one sentence that says what the verdict means for whoever runs this system.

    anomalies: name -> object of verdict.json; reasons: why the run is vacuous or undecided, in words; faults: how many
    were injected.
    """
    because = f": {reasons[0].rstrip('.')}." if reasons else "."
    match word:
        case "valid":
            under = f"while {counted(faults, 'fault was', 'faults were')} injected" if faults else "without any fault"
            return f"Every guarantee that was checked held, {under}."
        case "vacuous":
            return f"Nothing wrong was seen, but the run did not put the system to the test{because}"
        case "unknown":
            return f"The checkers could not decide; this is neither a pass nor a finding{because}"
        case "no verdict":
            return f"The harness failed before it could judge, which says nothing about the system under test{because}"
        case "invalid":
            return _invalid_headline(anomalies)


def _invalid_headline(anomalies: Mapping[str, Any]) -> str:
    ordered = sorted(anomalies, key=lambda name: severity(name, anomalies[name].get("permitted-by")))
    if not ordered:
        return "A guarantee was broken."
    # Cards begin with the root cause; a headline with what hurts: a reader asks first whether data is gone.
    unpermitted = [name for name in ordered if not anomalies[name].get("permitted-by")] or ordered
    worst, others = LOSS if LOSS in unpermitted else ordered[0], len(ordered) - 1
    sentence = happened(worst, int(anomalies[worst].get("count", 1)))
    if others:
        sentence += f", and {counted(others, 'other kind of anomaly was', 'other kinds of anomalies were')} found"
    permits = [str(anomalies[name].get("permitted-by") or "") for name in ordered]
    if all(permits):
        named = ", ".join(sorted(set(permits)))
        wrong = "what was read" if named == "read_uncommitted" else "the data"
        sentence += f". The configuration permits this ({named}), and {wrong} is wrong all the same"
    return sentence[0].upper() + sentence[1:] + "."


def models_text(models: object) -> str:
    """Return which consistency models the history rules out, and the strongest ones that it does not; "" for none."""
    told = models if isinstance(models, Mapping) else {}
    refuted, also = ([str(one) for one in told.get(name) or ()] for name in ("not", "also-not"))
    if not refuted:
        return ""
    text = f"This history is not {', '.join(refuted)}" + (f", so also not {', '.join(also)}." if also else ".")
    if not WEAKER.keys() >= {*refuted, *also}:
        return text
    left = strongest_left([*refuted, *also])
    return f"{text} The strongest that nothing found touches: {', '.join(left) or 'none'}."
