"""The only code that talks to Podman: the engine, worker containers and the shim inside them."""
