"""The web pages: what the addresses open that W&B's client prints. ``routes`` is their public face.

Every page is rendered here from the store; scripts only draw figures. Who may see them is settled before
(``backend/access.py``).
"""

from .routes import routes

__all__ = ["routes"]
