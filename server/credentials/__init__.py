"""Evidence judged: passwords, challenges and certificates become evidence for the policy, or a problem."""

from server.credentials.anchors import ThirdParty
from server.credentials.credentials import Authenticators, Credentials
from server.credentials.files import load_challenge, load_passwords
from server.credentials.redeeming import Redeemable
from server.credentials.sealing import Sealer, Unsealable

__all__ = [
    "Authenticators",
    "Credentials",
    "Redeemable",
    "Sealer",
    "ThirdParty",
    "Unsealable",
    "load_challenge",
    "load_passwords",
]
