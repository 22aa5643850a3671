"""One partition's log: segments, indexes, leader epochs, producer state; bytes stay with the driver."""
