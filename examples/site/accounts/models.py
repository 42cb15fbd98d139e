from django.contrib.auth.models import AbstractUser


class User(AbstractUser):
    """Django's own user. A model of our own from the first migration lets a site change it later."""

    @property
    def byline(self):
        return self.get_full_name() or self.username
