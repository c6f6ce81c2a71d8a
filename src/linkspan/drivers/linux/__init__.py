"""Linux facilities: namespaces, netlink, nftables, processes, interface names, and which ESP there is."""
