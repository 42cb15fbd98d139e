"""None: Django tells only apps that have this module that a migration has ended."""
