"""Linearizability by its definition: try every order of every choice of undecided operations. Small histories only."""

from __future__ import annotations

from checkers.linear.model import IMPOSSIBLE, NEVER


def linearizable(model, operations):
    """Return whether some order respects real time and the model; undecided operations may be left out."""

    def extend(state, left):
        if all(op.ret == NEVER for op in left):
            return True
        earliest = min(op.ret for op in left)
        for op in left:
            if op.call < earliest:
                after = model.step(state, op)
                if after is not IMPOSSIBLE and extend(after, [other for other in left if other is not op]):
                    return True
        # leave an undecided operation out
        return any(extend(state, [other for other in left if other is not op]) for op in left if op.ret == NEVER)

    return extend(model.initial, list(operations))
