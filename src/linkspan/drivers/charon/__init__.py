"""charon, the IKE daemon of a gateway: its process, its configuration and its VICI socket."""
