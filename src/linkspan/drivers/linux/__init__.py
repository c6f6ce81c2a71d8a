"""Linux facilities: network namespaces, netlink, nftables, processes, interface names, detection of the ESP backend."""
