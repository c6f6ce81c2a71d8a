"""What touches the machine: namespaces, nftables and charon, behind three small protocols, and fakes of each."""
