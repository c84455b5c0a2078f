"""What an issuer issues and for how long, what its metadata say, and its limits on failures."""

from pydantic import Field

from consent_server.settings.section import Section


class LifetimesSettings(Section):
    """Lifetimes in seconds. The number advertised is the number enforced, without leeway."""

    pushed_request: int = Field(90, ge=5, le=599, description="A request_uri (FAPI 2.0: under 600).")
    code: int = Field(60, ge=5, le=60, description="An authorization code (FAPI 2.0: at most 60).")
    access_token: int = Field(600, ge=30, le=600, description="An access token.")
    journey_idle: int = Field(900, ge=60, description="A journey without a request from its browser.")
    journey: int = Field(3600, ge=60, description="A journey from start to decision.")
    portal_idle: int = Field(1800, ge=60, description="A signed-in portal session without a request from its browser.")
    sign_in_code: int = Field(600, ge=60, description="A sign-in code sent by e-mail.")


class TokensSettings(Section):
    bind_to_certificate: bool = Field(
        False,
        description=(
            "Add cnf.x5t#S256 to access tokens and enforce it (RFC 8705); otherwise tokens are bound to the "
            "application's URL only."
        ),
    )


class MetadataSettings(Section):
    authorization_alias: bool = Field(
        True,
        description="Repeat authorization_endpoint in mtls_endpoint_aliases, as IB1 does and RFC 8705 section 5 does not.",
    )


class LimitsSettings(Section):
    """Budgets of failures, each counted over `window_s` seconds, or over a day (UTC) where its name says so.

    A budget that is used up slows further tries and ends none; docs/guessing.md has the arithmetic. The budgets by network and
    in all are counted for each kind of guess by itself: meters, sign-in codes, passwords, mails asked for, invitations.
    """

    window_s: int = Field(600, ge=10, description="The window in which failures are counted.")
    pause_s: int = Field(60, ge=1, le=60, description="Seconds between two tries beyond a budget.")
    pause_in_all_s: int = Field(1, ge=1, le=60, description="The same beyond a budget in all.")
    own_tries_per_day: int = Field(
        3, ge=1, description="Failures of one network (IPv6: /48) in a day that make it wait for no budget."
    )
    tries_per_known_browser_per_day: int = Field(
        10, ge=1, description="Failures of a browser in which this owner has proved itself before."
    )
    tries_per_network: int = Field(30, ge=1, description="Failures of one network (IPv4 address, IPv6 /64).")
    tries_per_network_per_day: int = Field(200, ge=1, description="The same in a day.")
    tries_in_all: int = Field(
        300, ge=1, description="Failures of all clients together: ten times those of a usual day, say."
    )
    tries_in_all_per_day: int = Field(3000, ge=1, description="The same in a day.")
    tries_per_meter_per_day: int = Field(10, ge=1, description="Failed identifications by one meter's number.")
    tries_per_postcode_per_day: int = Field(30, ge=1, description="Failed identifications with one postcode.")
    tries_per_account_per_day: int = Field(10, ge=1, description="Wrong sign-in codes or passwords for one account.")
    mails_per_mailbox: int = Field(5, ge=1, description="Sign-in codes sent to one mailbox and not used.")
    mails_per_mailbox_per_day: int = Field(20, ge=1, description="The same in a day.")
    mail_pause_s: int = Field(
        3600, ge=600, description="Seconds between two mails beyond a mailbox's budget; their codes last as long."
    )
    unknown_links_per_network: int = Field(
        200, ge=1, description="Unknown request_uris from one network, and unknown pages of evidence or receipts."
    )
    pushed_requests_per_client: int = Field(3000, ge=1, description="Pushed requests of one client, good ones as well.")
    reports_per_account: int = Field(60, ge=1, description="Reports to a bank made for one account, in any format.")
