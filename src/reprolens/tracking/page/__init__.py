"""A trial as a page: the self-contained reports/index.html, and the parts of it that a sweep's pages share."""

from reprolens.tracking.page.render import PAGE, environment, render_page, write_page

__all__ = ["PAGE", "environment", "render_page", "write_page"]
