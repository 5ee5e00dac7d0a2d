"""Schemathesis's accounts, and what it must not touch; scripts/test-api sets the environment."""

import json
import os
import urllib.request
import uuid

import schemathesis

URL = os.environ["API_URL"]
PASSWORD = os.environ["API_PASSWORD"]
COOKIE = "galera_console_session"

# Wrong passwords and codes are throttled, and these operations end sessions: each with an account of its own.
PROVER = {"step_up", "change_own_password", "confirm_enrolment"}
LEAVER = {"sign_out", "end_own_sessions", "end_own_session"}
ACCOUNTS = ("robot", "prover", "leaver")

devices = {}


def account_of(case):
    operation = case.operation.definition.raw.get("operationId")
    if operation in PROVER:
        return "prover"
    return "leaver" if operation in LEAVER else "robot"


def cache_key(case, _context):
    account = account_of(case)
    # An ended session is of no use for the next request.
    return f"{account} {uuid.uuid4()}" if account == "leaver" else account


# As long as a run may take, and less than the lifetime of a session.
@schemathesis.auth(refresh_interval=3600, cache_by_key=cache_key)
class Session:
    def get(self, case, _context):
        account = account_of(case)
        body = json.dumps({"username": account, "password": PASSWORD}).encode()
        headers = {"Content-Type": "application/json", "Origin": URL}
        # A known device is not throttled with the wrong passwords of this address.
        if account in devices:
            headers["Cookie"] = devices[account]
        request = urllib.request.Request(f"{URL}/api/v1/session", body, headers)
        with urllib.request.urlopen(request, timeout=30) as response:
            cookies = [value.split(";")[0] for value in response.headers.get_all("Set-Cookie")]
        for cookie in cookies:
            name, value = cookie.split("=", 1)
            if name == COOKIE:
                session = value
            else:
                devices[account] = cookie
        return session

    def set(self, case, session, _context):
        case.cookies = {**(case.cookies or {}), COOKIE: session}


@schemathesis.hook
def filter_case(_context, case):
    """The accounts of the run itself stay as they are."""
    return (case.path_parameters or {}).get("name") not in ACCOUNTS


@schemathesis.hook
def before_call(_context, case, _kwargs):
    """Nothing is sent to hosts that a generated URL happens to name."""
    if isinstance(case.body, dict) and isinstance(case.body.get("url"), str):
        scheme, separator, _ = case.body["url"].partition("://")
        if separator:
            case.body["url"] = f"{scheme}://receiver.invalid/"
