"""Events to HTTP callbacks: parameters, signature, checked addresses, delivery, dispatch."""
