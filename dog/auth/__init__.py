"""Users with passwords, tokens, sessions, and their roles.

Each file imports only files above it.

roles.py                    the roles, in order
name_and_password_rules.py  which names and passwords are allowed
secrets.py                  random tokens and session secrets, stored as digests
login_throttle.py           delays after wrong passwords; the caller passes the time
password_verifier.py        Argon2, and a queue of passwords to verify
accounts.py                 users, tokens and sessions in one SQLite file; blocking
service.py                  AuthService: all of it, in the event loop
"""

from dog.auth.accounts import Accounts, NoAccounts, accounts_path
from dog.auth.name_and_password_rules import AccountsError
from dog.auth.roles import ROLES, Role, allows
from dog.auth.secrets import TOKEN_PREFIX
from dog.auth.service import MAX_PROPAGATION_SECONDS, AuthService, Identity

__all__ = [
    "MAX_PROPAGATION_SECONDS",
    "ROLES",
    "TOKEN_PREFIX",
    "Accounts",
    "AccountsError",
    "AuthService",
    "Identity",
    "NoAccounts",
    "Role",
    "accounts_path",
    "allows",
]
