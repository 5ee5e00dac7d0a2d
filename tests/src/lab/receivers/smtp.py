"""An SMTP server that keeps what it takes in a Maildir: aiosmtpd with the encryption and the account that a test wants.

The command of that name has no accounts, and offers none on connections that are encrypted from the beginning.
"""

import argparse
import asyncio
import hmac
import ssl

from aiosmtpd.handlers import Mailbox
from aiosmtpd.smtp import SMTP, AuthResult

parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int, required=True)
parser.add_argument("--mailbox", required=True)
parser.add_argument("--tls", choices=["none", "starttls", "implicit"], default="none")
parser.add_argument("--certificate")
parser.add_argument("--key")
parser.add_argument("--account", help="NAME:PASSWORD; nobody else is let in")
settings = parser.parse_args()


def authenticate(server, session, envelope, mechanism, given):
    name, password = settings.account.encode().split(b":", 1)
    right = hmac.compare_digest(given.login, name) and hmac.compare_digest(given.password, password)
    # Not handled: the server says 535 itself.
    return AuthResult(success=right, handled=False)


context = None
if settings.tls != "none":
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(settings.certificate, settings.key)
starttls = settings.tls == "starttls"
handler = Mailbox(settings.mailbox)


def connection():
    return SMTP(
        handler,
        tls_context=context if starttls else None,
        require_starttls=starttls,
        authenticator=authenticate if settings.account else None,
        auth_required=settings.account is not None,
        # It knows of STARTTLS only.
        auth_require_tls=starttls,
    )


async def serve():
    implicit = context if settings.tls == "implicit" else None
    server = await asyncio.get_running_loop().create_server(connection, "127.0.0.1", settings.port, ssl=implicit)
    await server.serve_forever()


asyncio.run(serve())
