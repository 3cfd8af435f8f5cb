"""Evidence judged: passwords, challenges and certificates become evidence for the policy, or a problem."""

from server.credentials.credentials import Authenticators, Credentials
from server.credentials.files import load_challenge, load_passwords

__all__ = ["Authenticators", "Credentials", "load_challenge", "load_passwords"]
