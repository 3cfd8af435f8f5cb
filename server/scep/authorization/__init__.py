"""Who may have a first certificate: challenges, a list of devices, a webhook, Microsoft Intune, a person."""

from server.scep.authorization.admission import Admission, Asked, Authorizer
from server.scep.authorization.by_hand import ByHand
from server.scep.authorization.challenges import Challenges
from server.scep.authorization.devices import DeviceList, MalformedDeviceList, read_devices
from server.scep.authorization.intune import Intune, IntuneAccount
from server.scep.authorization.outside import Answered, NoAnswer, Outside
from server.scep.authorization.panel import Panel
from server.scep.authorization.webhook import Webhook

__all__ = [
    "Admission",
    "Answered",
    "Asked",
    "Authorizer",
    "ByHand",
    "Challenges",
    "DeviceList",
    "Intune",
    "IntuneAccount",
    "MalformedDeviceList",
    "NoAnswer",
    "Outside",
    "Panel",
    "Webhook",
    "read_devices",
]
