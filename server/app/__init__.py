"""The place where everything is wired; the only one that knows all names."""

from server.app.application import Application, bind_listeners, shared_ledger
from server.app.material import Material, load_material

__all__ = ["Application", "Material", "bind_listeners", "load_material", "shared_ledger"]
