"""The addresses of logging in, as routes.py has them, and those by which a script learns who it is here."""

from dog.web import login
from dog.web.operations import FORM, Answer, Operation, page, told

__all__ = ["ACCESS"]

IN = (Answer(status=303, what="You are logged in.", headers=("Location", "Set-Cookie")),)

ACCESS = (
    Operation(
        method="GET",
        path="/login",
        handler=login.show_login,
        role=None,
        tag="access",
        summary="The login page",
        query=login.OfLogin,
        answers=(*page("The page."), Answer(status=303, what="You are logged in already.", headers=("Location",))),
        problems=("not_found",),
    ),
    Operation(
        method="POST",
        path="/login",
        handler=login.press_login,
        role=None,
        tag="access",
        summary="Log in (form)",
        body=login.LoginForm,
        body_type=FORM,
        needs_body=True,
        answers=IN,
        problems=("not_found", "wrong_password", "rate_limited"),
    ),
    Operation(
        method="POST",
        path="/logout",
        handler=login.press_logout,
        role=None,
        tag="access",
        summary="Log out",
        answers=(Answer(status=303, what="You are logged out.", headers=("Location", "Set-Cookie")),),
        problems=("not_found",),
    ),
    Operation(
        method="GET",
        path="/enter/{invitation}",
        handler=login.show_enter,
        role=None,
        tag="access",
        summary="The page of the setup link that a start prints",
        answers=page("The page."),
        problems=("not_found", "gone_invitation"),
    ),
    Operation(
        method="POST",
        path="/enter/{invitation}",
        handler=login.press_enter,
        role=None,
        tag="access",
        summary="Log one browser in by the setup link",
        answers=IN,
        problems=("not_found", "gone_invitation"),
    ),
    Operation(
        method="GET",
        path="/api/visitor",
        handler=login.show_visitor,
        role=None,
        tag="access",
        summary="Your name and role",
        answers=told("Your identity.", login.VisitorBody),
    ),
    Operation(
        method="POST",
        path="/api/tickets",
        handler=login.create_ticket,
        tag="access",
        summary="Create a ticket for a request that cannot have a token",
        description="Add it to a URL as `?ticket=`. It authenticates one request as you, within half a minute.",
        answers=(Answer(status=201, what="The ticket.", body=login.TicketBody),),
        problems=("not_found",),
    ),
)
