from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

Evaluate = Callable[..., Any]

IMAGE = "192.0.2.41:5000/shop@sha256:" + "0" * 64


def test_the_registrys_password_is_for_root_and_for_that_registry(evaluate: Evaluate) -> None:
    (file,) = evaluate("django", "_django_login_files", django_name="shop", django_image=IMAGE, django_registry_password="p:w")
    assert (file["path"], file["mode"], file["secret"]) == ("/run/shop-registry/config.json", "0600", True)
    login = base64.b64encode(b"pull:p:w").decode()
    assert json.loads(file["content"]) == {"auths": {"192.0.2.41:5000": {"auth": login}}}


def test_another_account_makes_no_other_release(evaluate: Evaluate) -> None:
    names = {evaluate("django", "_django_release", django_image=IMAGE, django_registry_password=word) for word in ("", "a", "b")}
    assert len(names) == 1


def test_all_that_the_container_is_made_of_makes_another_release(evaluate: Evaluate) -> None:
    """Or the running container would be replaced in its place."""
    given = [{}, {"django_start_timeout_seconds": 90}, {"django_stop_timeout_seconds": 90}, {"django_health_path": "/other"}]
    names = {evaluate("django", "_django_release", django_image=IMAGE, **variables) for variables in given}
    assert len(names) == len(given)
