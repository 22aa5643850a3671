"""The process that the harness is: its signals, exit statuses and crashes, and other processes that work for it."""
