"""What must not be shown: keys and tokens in addresses."""

import re


def without_secrets(text: str) -> str:
    """Return the text with its URLs bare of user, password and query, where keys and tokens stand."""
    bare = re.sub(r"\b(\w+://)[^/\s\"'@]*@", r"\1", text)
    # By \b and the optional end the time is linear in the length: an error may be very long.
    return re.sub(r"\b(\w+://[^\s\"'?]*)(?:\?[^\s\"']*)?", r"\1", bare)
