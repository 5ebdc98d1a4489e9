"""A user model as sites have them: a UUID as its key, an e-mail address to log in with, and no name but a nickname."""

import uuid
from typing import Any

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.db import models


class Members(BaseUserManager["Member"]):
    def create_user(self, email: str, password: str | None = None, **fields: Any) -> "Member":
        member = self.model(email=self.normalize_email(email), **fields)
        member.set_password(password)
        member.save()
        return member

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> "Member":
        return self.create_user(email, password, is_superuser=True, **fields)


class Member(AbstractBaseUser, PermissionsMixin):
    """Deliberately without `get_full_name`, `username` and `objects`; `is_staff` is no column."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    email = models.EmailField(unique=True)
    nickname = models.CharField(max_length=200, blank=True)
    is_active = models.BooleanField(default=True)

    members = Members()

    USERNAME_FIELD = "email"

    @property
    def is_staff(self) -> bool:
        return True

    def get_short_name(self) -> str:
        return self.nickname
