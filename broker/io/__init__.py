"""The broker's real driver: sockets, files, clock."""
