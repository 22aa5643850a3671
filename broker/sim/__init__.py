"""The broker on a virtual clock: nodes, network, disks and clients, everything drawn from one seed."""
