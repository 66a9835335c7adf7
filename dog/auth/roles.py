"""The roles in order: each has the rights of the ones before it."""

from typing import get_args

from dog.protocol import Role

__all__ = ["ROLES", "Role", "allows"]

ROLES: tuple[Role, ...] = get_args(Role)


def allows(role: Role | None, needed: Role | None) -> bool:
    """Return True if `role` has the rights of `needed`. None needs no role."""
    return needed is None or (role is not None and ROLES.index(role) >= ROLES.index(needed))
