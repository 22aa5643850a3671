"""One work of the bench, alone in its process; prints its figures as JSON.

python -m bench.checkers.one kafka|list-append|MODEL FILE | analysis FILE | appends FILE
python -m bench.checkers.one monitor MODEL OPERATIONS PROCESSES | published GLOB | import
"""

from __future__ import annotations

import gc
import json
import resource
import sys
import time


def judged(workload: str, path: str) -> dict[str, object]:
    from checkers.judge import judge  # noqa: PLC0415  its import is part of what is measured
    from checkers.options import CheckOptions  # noqa: PLC0415

    judgement = judge(path, CheckOptions(workload=workload))
    return {"valid": judgement.validity.wire, "ops": judgement.ops, "judge_s": judgement.seconds}


def analysed(path: str) -> dict[str, object]:
    """The queue checkers alone, from columns that are in memory already."""
    from checkers.findings import Findings  # noqa: PLC0415
    from checkers.options import CheckOptions  # noqa: PLC0415
    from checkers.queue import case_of, judge_case  # noqa: PLC0415
    from checkers.source import lines_of  # noqa: PLC0415

    gc.disable()
    blocks, name = lines_of(path, print)
    case = case_of(blocks, name, CheckOptions())
    start = time.process_time()
    judge_case(case, Findings())
    return {"analysis_cpu_s": round(time.process_time() - start, 3)}


def appends(path: str) -> dict[str, object]:
    """The list-append check alone, of a history that is loaded already."""
    from checkers.append.check import asked_for, judge_appends  # noqa: PLC0415
    from checkers.append.history import build_appends  # noqa: PLC0415
    from checkers.findings import Findings  # noqa: PLC0415
    from checkers.options import CheckOptions  # noqa: PLC0415
    from checkers.source import lines_of  # noqa: PLC0415

    gc.disable()
    history = build_appends(*lines_of(path, print))
    start = time.process_time()
    found, _ = judge_appends(history, asked_for(CheckOptions()), Findings())
    return {"found": len(found), "check_cpu_s": round(time.process_time() - start, 3)}


def monitored(model: str, operations: int, processes: int) -> dict[str, object]:
    from bench.checkers.make_models import table  # noqa: PLC0415
    from checkers.linear.check import MONITORS  # noqa: PLC0415
    from checkers.linear.model import MODELS  # noqa: PLC0415
    from checkers.options import CheckOptions  # noqa: PLC0415

    made = table(model, operations, processes, 1)
    start = time.process_time()
    found = MONITORS[model](made, MODELS[model], CheckOptions(fresh=True))
    return {"found": found is True, "check_cpu_s": round(time.process_time() - start, 3)}


def published(pattern: str) -> dict[str, object]:
    from checkers.linear.search import Answer, search_keys  # noqa: PLC0415
    from tests.checkers.linear.published import FOLDER, load  # noqa: PLC0415

    files = [load(path) for path in sorted(FOLDER.glob(f"{pattern}.jsonl"))]
    worst = right = 0.0
    gc.disable()  # as a judgement does
    for model, _, by_key in files:  # once to warm up
        search_keys(model, by_key, 5_000_000)
    start = time.process_time()
    for model, valid, by_key in files:
        began = time.process_time()
        _, outcome = search_keys(model, by_key, 5_000_000)
        right += (outcome.answer is Answer.LINEARIZABLE) == valid
        worst = max(worst, time.process_time() - began)
    return {
        "histories": len(files),
        "right": int(right),
        "check_cpu_s": round(time.process_time() - start, 3),
        "worst_cpu_s": round(worst, 3),
    }


def main(arguments: list[str]) -> None:
    kind, *rest = arguments
    if kind == "import":
        import checkers.judge  # noqa: F401, PLC0415

        figures: dict[str, object] = {}
    elif kind == "monitor":
        figures = monitored(rest[0], int(rest[1]), int(rest[2]))
    elif kind == "appends":
        figures = appends(rest[0])
    elif kind == "analysis":
        figures = analysed(rest[0])
    elif kind == "published":
        figures = published(rest[0])
    else:
        figures = judged(kind, rest[0])
        figures["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    figures.setdefault("peak_mb", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
    print(json.dumps(figures))


if __name__ == "__main__":
    main(sys.argv[1:])
