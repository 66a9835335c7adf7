"""The roles, in order: each may do what the ones before it may, and more."""

from typing import get_args

from dog.protocol import Role

__all__ = ["ROLES", "Role", "allows"]

ROLES: tuple[Role, ...] = get_args(Role)


def allows(role: Role | None, needed: Role | None) -> bool:
    """Whether who has `role` may do what takes `needed`; what takes None is everybody's."""
    return needed is None or (role is not None and ROLES.index(role) >= ROLES.index(needed))
