class ReplicaRouter:
    """
    Only the default alias is written to and migrated. A queryset reads from the replica where it says so with
    `using("replica")`, and an object that was read there is still saved to the default alias.
    """

    def db_for_write(self, model, **hints):
        return "default"

    def allow_relation(self, obj1, obj2, **hints):
        # Both aliases are the same database.
        return True

    def allow_migrate(self, db, app_label, **hints):
        return db == "default"
