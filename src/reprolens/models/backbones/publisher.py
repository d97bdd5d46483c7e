"""Which library a backbone's name belongs to."""

import difflib

from reprolens.errors import ConfigError

TIMM = "timm/"
"""The beginning of a name that is to be timm's although torchvision has one of that name, too."""


def torchvision_names() -> list[str]:
    """Return the names of torchvision's classifiers."""
    from torchvision import models

    return models.list_models(module=models)


def timm_name(name: str) -> str | None:
    """Return timm's name of a backbone, None if it is torchvision's, which win.

    Raises ConfigError if neither has one of that name.
    """
    own = torchvision_names()
    if name in own:
        return None
    import timm  # takes seconds

    bare = name.removeprefix(TIMM)
    if timm.is_model(bare) and _has_tag(bare):
        return bare
    if timm.is_model(bare):
        arch, _, tag = bare.partition(".")
        known = [f"{TIMM}{other}" for other in timm.list_pretrained(f"{arch}.*")]
        raise ConfigError(f"model.backbone: timm has no weights {tag!r} of {arch}; {_nearest(name, known)}")
    every = timm.list_models()
    known = [f"{TIMM}{other}" for other in every] if name.startswith(TIMM) else sorted({*own, *every})
    raise ConfigError(f"model.backbone: neither torchvision nor timm has {name!r}; {_nearest(name, known)}")


def _has_tag(name: str) -> bool:
    """Tell whether timm knows the part of its name behind the dot, which says how weights were trained."""
    import timm

    return "." not in name or name in timm.list_pretrained(f"{name.partition('.')[0]}.*")


def _nearest(name: str, known: list[str]) -> str:
    """Return the end of an error line. More than a thousand names are too many to list where none is near."""
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    return f"did you mean {' or '.join(near)}?" if near else "valid: resnet50, repvgg_a0, convnext_tiny and many more"
