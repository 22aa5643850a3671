"""List-append histories (append v to k, read k), judged as Elle does: orders, direct anomalies, cycles, models."""
