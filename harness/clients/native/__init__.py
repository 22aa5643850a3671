"""Our own client on real clusters: the coroutines that simulations run on, on real time and sockets."""
