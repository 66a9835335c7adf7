"""Who is known, and what they may: users with passwords, tokens, sessions.

roles.py      the roles, in order                                          messages
rules.py      what names and passwords may be                              errors
secret.py     random secrets, found by their hash                          nothing
throttle.py   who may try a password now; the clock is handed in           networks
passwords.py  Argon2, and a desk where passwords are checked               errors, rules
known.py      what is known, as it lies in the tables                      roles
file.py       the file, which its owner alone may read                     disk, errors, known, rules
accounts.py   what is done to it; blocking                                 file, known, passwords, roles, rules, secret
access.py     Access: all of it, in the event loop                         all of the above, errors, networks
"""

from dog.auth.accounts import Accounts, NoAccounts, Session, Token, User, find_place
from dog.auth.login_throttle import Throttle
from dog.auth.name_and_password_rules import AccessError, check_name, check_password
from dog.auth.roles import ROLES, Role, allows
from dog.auth.service import KNOWN_WITHIN, AuthService, Identity

__all__ = [
    "KNOWN_WITHIN",
    "ROLES",
    "AccessError",
    "Accounts",
    "AuthService",
    "Identity",
    "NoAccounts",
    "Role",
    "Session",
    "Throttle",
    "Token",
    "User",
    "allows",
    "check_name",
    "check_password",
    "find_place",
]
