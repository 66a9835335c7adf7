"""What no setting can say of itself alone: nobody is let in from elsewhere by mistake, nor read along."""

from urllib.parse import urlsplit

from dog.client_addresses import is_loopback
from dog.settings.fields import Settings

__all__ = ["check_exposure", "find_warnings"]


def check_exposure(settings: Settings) -> None:
    """Raises SettingError where the service would be reached from other machines, and nobody has said who may come in.

    A proxy on this very machine is a way from elsewhere, too.
    """
    if settings.auth and settings.open:
        raise settings.error("open", "auth and open can't be used together. Remove one of them.")
    if settings.anonymous != "nothing" and not settings.auth:
        raise settings.error("anonymous", "this setting needs auth. Add --auth, or remove this setting.")
    if settings.auth or settings.open:
        return
    ways = {
        "host": None if _is_here(settings.host) else settings.host,
        "base_url": _find_elsewhere(settings.base_url),
        "trusted_proxies": ", ".join(settings.trusted_proxies) or None,
    }
    for name, way in ways.items():
        if way is not None:
            problem = (
                f"{way} lets other machines reach the service. Add --auth to require logins, or --open for everybody."
            )
            raise settings.error(name, problem)


def find_warnings(settings: Settings) -> list[str]:
    """What is allowed, and may be a mistake all the same: a sentence for each."""
    traps = []
    if settings.anonymous == "manage":
        traps.append(
            "Everybody who can reach this service may pin, delete and share photos without logging in"
            ' (anonymous = "manage").'
        )
    has_https = settings.tls_certificate or settings.trusted_proxies or (settings.base_url or "").startswith("https:")
    if settings.auth and not has_https and not _is_here(settings.host):
        traps.append(
            "Passwords and photos are sent over the network without encryption. Make a certificate with `dog cert` and"
            " name it with tls_certificate, or put a proxy with HTTPS in front of this service."
        )
    return traps


def _find_elsewhere(base_url: str | None) -> str | None:
    return base_url if base_url and not _is_here(urlsplit(base_url).hostname or "") else None


def _is_here(host: str) -> bool:
    """Whether only this machine gets there. A name that is not localhost may be anything."""
    return is_loopback(host) or host.lower().rstrip(".") == "localhost"
