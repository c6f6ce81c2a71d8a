"""One per node: takes desired state from the API, makes the gateways so, and reports what they are."""
