from django.db import models


class Visit(models.Model):
    """The column note is in the database alone: a migration may take it away."""

    token = models.CharField(max_length=40)
