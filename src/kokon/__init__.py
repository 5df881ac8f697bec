"""kokon isolates processes on Linux: a library, a command, an OCI runtime."""
